"""`sqlite`: SQL on a database file, read-only unless asked otherwise, and never more than was classed.

SQLite itself is the judge: `mode=ro` and `query_only` guard the database, an authorizer guards the rest of the
disk (with `mode=ro` alone, ATTACH and VACUUM INTO still create files).
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import msgspec

from deskhand.journal.events import Class, Location
from deskhand.seam.risk import READ, Risk
from deskhand.seam.sql import READING_PRAGMAS, TRANSACTION_WORDS, first_word, sqlite_risk, statements_of
from deskhand.tools.base import CallContext, Resources, ToolError, ToolResult, built_in
from deskhand.tools.files import check_writable, name_of, open_regular, reads, real, writes
from deskhand.tools.text import visible

ROWS = 200
CELL = 500
"""Characters of one cell."""

TEXT = 30_000
"""Characters of one result: no further row is added after them."""

BUSY = 5.0
"""Seconds to wait for another program's lock."""

LARGEST_VALUE = 100_000_000
"""Bytes of the largest string or blob that a statement may handle."""

SCHEMA = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type = 'table' DESC, rowid"


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    database: str
    query: str = ""
    write: bool = False


async def run(arguments: Parameters, context: CallContext) -> ToolResult:
    """Answer in a thread. A call that is ended is rolled back, unless the change was already made."""
    path = real(context.path(arguments.database))  # the files of a WAL are beside the real one
    stop = threading.Event()
    work = asyncio.ensure_future(asyncio.to_thread(_answer, arguments, path, stop))
    try:
        text = await asyncio.shield(work)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait({work}, timeout=0.5)
        if not work.done() or work.exception() is not None:
            raise
        text = work.result()
    return ToolResult((text,), locations=(Location(name_of(path)),))


def _answer(arguments: Parameters, path: Path, stop: threading.Event) -> str:
    statements = statements_of(arguments.query)
    create = arguments.write and _may_create(path, statements)
    header = b"" if create else _header(path)
    if arguments.write and not create:
        check_writable(path, path.stat())
    try:
        with closing(_connect(path, header, write=arguments.write, create=create)) as connection:
            connection.set_progress_handler(stop.is_set, 10_000)
            refusals = _guard(connection, _risk(arguments).klass)
            try:
                return _execute(connection, statements, arguments.write) if statements else _schema(connection)
            except (sqlite3.Error, ValueError) as error:  # ValueError: a NUL, or half a surrogate pair, in the query
                raise ToolError(refusals[0] if refusals else _sentence(error, path, arguments.write)) from None
    except sqlite3.Error as error:
        raise ToolError(_sentence(error, path, arguments.write)) from None
    finally:
        if create and path.is_file() and path.stat().st_size == 0:
            path.unlink()  # the CREATE failed, and left an empty file


def _may_create(path: Path, statements: list[str]) -> bool:
    """Tell whether the statements begin a database where there is no file yet."""
    return bool(statements) and first_word(statements[0]) == "CREATE" and path.parent.is_dir() and not path.exists()


def _header(path: Path) -> bytes:
    """Return the first 20 bytes of a database, none for an empty one. Raises `ToolError` where it is no database."""
    with open_regular(path) as file:
        header = file.read(20)
    if header and not header.startswith(b"SQLite format 3\0"):
        raise ToolError(f"{path} is not an SQLite database, or it is encrypted.")
    return header


def _connect(path: Path, header: bytes, *, write: bool, create: bool) -> sqlite3.Connection:
    mode = "rwc" if create else "rw" if write else "ro"
    unchanging = "&immutable=1" if not write and _is_closed_wal(path, header) else ""
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={mode}{unchanging}", uri=True, timeout=BUSY, isolation_level=None
    )
    connection.text_factory = lambda data: data.decode("utf-8", "backslashreplace")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_VALUE)
    return connection


def _is_closed_wal(path: Path, header: bytes) -> bool:
    """Tell a database in WAL mode that nobody has open, going by its header (SQLite's file format, 1.3.3).

    A read-only connection would leave `-wal` and `-shm` files beside it, or fail where it may not make them.
    Without a WAL the file is complete, and can be read as it stands.
    """
    return header[18:20] == b"\2\2" and not path.with_name(f"{path.name}-wal").exists()


_DROPS = {
    sqlite3.SQLITE_DROP_INDEX,
    sqlite3.SQLITE_DROP_TABLE,
    sqlite3.SQLITE_DROP_TRIGGER,
    sqlite3.SQLITE_DROP_VIEW,
    sqlite3.SQLITE_DROP_VTABLE,
}


def _guard(connection: sqlite3.Connection, klass: Class) -> list[str]:
    """Let SQLite refuse what the class of the call does not cover; the list fills with the reasons."""
    refusals: list[str] = []
    refusal = {"read": _refusal_to_read, "write": _refusal_to_write}.get(klass)

    def authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
        reason = refusal(action, first, second) if refusal else ""
        if reason:
            refusals.append(reason)
        return sqlite3.SQLITE_DENY if reason else sqlite3.SQLITE_OK

    if klass == "read":
        connection.execute("PRAGMA query_only = ON")
    connection.set_authorizer(authorize)
    return refusals


def _refusal_to_read(action: int, first: str | None, second: str | None) -> str:
    if action == sqlite3.SQLITE_ATTACH:
        return "ATTACH and VACUUM write files: set write to true for that."
    if action == sqlite3.SQLITE_PRAGMA and second is not None and first not in READING_PRAGMAS:
        return f"PRAGMA {first} with a value changes a setting: set write to true for that."
    return ""


def _refusal_to_write(action: int, first: str | None, _second: str | None) -> str:
    """Refuse what `sqlite_risk` would have put to the user, had it seen it."""
    # VACUUM attaches a nameless file of its own.
    if (action == sqlite3.SQLITE_ATTACH and first) or action in _DROPS:
        return "The statement drops or attaches something, but does not begin so: write it plainly."
    return ""


def _schema(connection: sqlite3.Connection) -> str:
    lines = [f"{visible(sql)};" for (sql,) in connection.execute(SCHEMA)]
    if not lines:
        return "The database is empty."
    text = "\n".join(lines)
    if len(text) <= TEXT:
        return text
    return f"{text[:TEXT]}\n[… {len(text) - TEXT:,} characters more; query sqlite_master for the rest …]"


def _execute(connection: sqlite3.Connection, statements: list[str], write: bool) -> str:
    before = connection.total_changes
    parts = []
    together = len(statements) > 1  # one alone is atomic anyway, and VACUUM must be
    if together:
        connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
    for statement in statements:
        word = first_word(statement)
        if word in TRANSACTION_WORDS:
            raise ToolError(f"Leave {word} out: all statements of a call run in one transaction.")
        with closing(connection.execute(statement)) as cursor:
            if cursor.description is not None:
                parts.append(_table(cursor))
    if together:
        connection.execute("COMMIT")
    if write:
        changes = connection.total_changes - before
        parts.append(f"Done: {changes:,} row{'s' if changes != 1 else ''} changed.")
    return "\n\n".join(parts)


def _table(cursor: sqlite3.Cursor) -> str:
    lines = [" | ".join(_cell(column[0]) for column in cursor.description)]
    size = 0
    for row in cursor:
        if len(lines) > ROWS or size > TEXT:
            shown = len(lines) - 1
            return "\n".join([*lines, f"[{shown} rows shown; there are more: OFFSET {shown} goes on]"])
        lines.append(" | ".join(_cell(value) for value in row))
        size += len(lines[-1])
    count = len(lines) - 1
    return "\n".join([*lines, f"[{count} row{'s' if count != 1 else ''}]"])


def _cell(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"<blob {len(value):,} bytes>"
    text = str(value)
    shown = visible(text[:CELL]).replace("\n", "\\n").replace("\t", "\\t")
    return shown if len(text) <= CELL else f"{shown}… ({len(text):,} characters)"


def _sentence(error: Exception, path: Path, write: bool) -> str:
    """Put SQLite's error into a sentence that says what to do, where that is known."""
    message = str(error).rstrip(".")
    name = getattr(error, "sqlite_errorname", "")
    if name == "SQLITE_READONLY" and not write:
        return "The statement would change the database: set write to true for that."
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"{path} is locked by another program, and was for {BUSY:.0f} s: try again later."
    if name == "SQLITE_NOTADB":
        return f"{path} is not an SQLite database, or it is encrypted."
    if name == "SQLITE_CORRUPT":
        return f"{path} is damaged ({message}): work on a copy, and try `sqlite3 COPY .recover`."
    if name == "SQLITE_CANTOPEN" and not path.exists():
        return f"Cannot make {path}: the system does not permit it."
    if name in ("SQLITE_CANTOPEN", "SQLITE_READONLY_CANTINIT", "SQLITE_READONLY_ROLLBACK", "SQLITE_READONLY_DIRECTORY"):
        return f"SQLite cannot open {path} ({message}): it needs files beside it that it may not make; copy it first."
    if message.startswith(("no such table", "no such column")):
        message += ". A call without a query shows the schema"
    return f"SQL error: {message}.{' Nothing was changed.' if write else ''}"


def _risk(arguments: Parameters) -> Risk:
    return sqlite_risk(arguments.query) if arguments.write else READ


def _resources(arguments: Parameters, cwd: Path) -> Resources:
    return writes(arguments.database, cwd) if arguments.write else reads(arguments.database, cwd)


def _title(arguments: Parameters) -> str:
    name = Path(arguments.database).name
    if not arguments.query.strip():
        return f"Schema of {name}"
    return f"{'Change' if arguments.write else 'Query'} {name}"


TOOL = built_in(
    __file__,
    Parameters,
    kind="execute",
    run=run,
    risk=lambda arguments, cwd: _risk(arguments),
    resources=_resources,
    title=_title,
)
