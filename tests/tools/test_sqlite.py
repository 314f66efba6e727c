from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deskhand.tools import sqlite
from deskhand.tools.base import CallContext, ToolError, ToolResult
from deskhand.tools.sqlite import TOOL

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "shop ?#%.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, photo BLOB);"
            "CREATE INDEX by_name ON users (name);"
            "INSERT INTO users VALUES (1, 'Ada', x'00ff'), (2, NULL, NULL), (3, 'two\nlines', NULL);"
        )
    return path


def called(path: Path, query: str = "", *, write: bool = False) -> str:
    return asyncio.run(answer(path, query, write=write)).content[0]  # type: ignore[return-value]


async def answer(path: Path, query: str, *, write: bool = False) -> ToolResult:
    context = CallContext(session="s", call="c1", cwd=path.parent, outputs=path.parent)
    arguments: dict[str, Any] = {"database": path.name, "query": query, "write": write}
    return await sqlite.run(TOOL.parse(arguments), context)


def failed(path: Path, query: str = "", *, write: bool = False) -> str:
    with pytest.raises(ToolError) as raised:
        called(path, query, write=write)
    message = str(raised.value)
    assert "\n" not in message
    return message


def files_beside(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.parent.iterdir())


def test_without_a_query_the_schema_is_shown(database: Path) -> None:
    text = called(database)
    assert text.startswith("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, photo BLOB);")
    assert "CREATE INDEX by_name ON users (name);" in text


def test_rows_are_a_table_with_nulls_blobs_and_line_breaks_made_visible(database: Path) -> None:
    assert called(database, "SELECT * FROM users") == (
        "id | name | photo\n1 | Ada | <blob 2 bytes>\n2 | NULL | NULL\n3 | two\\nlines | NULL\n[3 rows]"
    )


def test_text_that_is_no_utf8_is_shown_all_the_same(database: Path) -> None:
    assert "a\\xffb" in called(database, "SELECT CAST(x'61ff62' AS TEXT)")


def test_rows_are_capped_and_say_how_to_go_on(database: Path) -> None:
    text = called(database, ENDLESS + "SELECT i FROM n")
    assert text.endswith("\n200\n[200 rows shown; there are more: OFFSET 200 goes on]")


def test_a_long_cell_and_a_long_result_are_cut(database: Path) -> None:
    text = called(database, ENDLESS + "SELECT printf('%.*c', 9000, 'x') FROM n")
    assert "… (9,000 characters)" in text
    assert len(text) < 40_000
    assert "there are more" in text


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO users (name) VALUES ('Eve')",
        "WITH x AS (SELECT 1) DELETE FROM users",
        "DELETE FROM users RETURNING id",
        "DROP TABLE users",
        "CREATE TABLE more (x)",
        "CREATE TEMP TABLE more (x)",
        "PRAGMA user_version = 7",
        "PRAGMA query_only = OFF",
        "PRAGMA journal_mode = WAL",
        "VACUUM",
        "VACUUM INTO 'copy.db'",
        "ATTACH 'made.db' AS made",
        "SELECT 1; ATTACH 'made.db' AS made; CREATE TABLE made.t (x)",
        "PRAGMA query_only = OFF; DELETE FROM users",
    ],
)
def test_a_query_changes_nothing_anywhere_unless_write_is_asked(
    database: Path, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(database.parent)
    before, files = database.read_bytes(), files_beside(database)
    assert "set write to true" in failed(database, query)
    assert database.read_bytes() == before
    assert files_beside(database) == files


@pytest.mark.parametrize(
    "query",
    [
        "SELECT name FROM pragma_table_info('users')",
        "PRAGMA table_info(users)",
        "PRAGMA user_version",
        "PRAGMA integrity_check",
        "EXPLAIN QUERY PLAN SELECT * FROM users",
        "SELECT value FROM json_each('[1, 2]')",
        "VALUES (1), (2)",
        "-- a remark\nSELECT 1;",
    ],
)
def test_all_kinds_of_reading_work_read_only(database: Path, query: str) -> None:
    assert called(database, query)


def test_full_text_tables_are_readable(database: Path) -> None:
    called(
        database, "CREATE VIRTUAL TABLE notes USING fts5(body); INSERT INTO notes VALUES ('hello world')", write=True
    )
    assert "hello world" in called(database, "SELECT * FROM notes WHERE notes MATCH 'hello'")


def test_several_queries_answer_in_order(database: Path) -> None:
    assert called(database, "SELECT 1 AS a; SELECT 2 AS b;") == "a\n1\n[1 row]\n\nb\n2\n[1 row]"


def test_a_write_reports_its_changes(database: Path) -> None:
    query = "UPDATE users SET name = 'x' WHERE id < 3; INSERT INTO users (name) VALUES ('Eve') RETURNING id"
    assert called(database, query, write=True) == "id\n4\n[1 row]\n\nDone: 3 rows changed."
    assert "Eve" in called(database, "SELECT name FROM users")


def test_statements_of_one_call_all_count_or_none_does(database: Path) -> None:
    message = failed(database, "DELETE FROM users WHERE id = 1; INSERT INTO nowhere VALUES (1)", write=True)
    assert "no such table: nowhere" in message
    assert "Nothing was changed" in message
    assert "Ada" in called(database, "SELECT * FROM users")


def test_transaction_words_are_refused_since_there_is_one_transaction(database: Path) -> None:
    message = failed(database, "BEGIN; DELETE FROM users WHERE id = 1; COMMIT", write=True)
    assert "Leave BEGIN out" in message
    assert "Ada" in called(database, "SELECT * FROM users")


@pytest.mark.parametrize("query", ["VACUUM", "ANALYZE", "REINDEX", "ALTER TABLE users ADD COLUMN age"])
def test_housekeeping_is_a_write(database: Path, query: str) -> None:
    assert "Done" in called(database, query, write=True)


def test_what_the_user_was_asked_about_runs(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(database.parent)
    assert "Done" in called(database, "ATTACH 'o.db' AS o; CREATE TABLE o.t AS SELECT * FROM users", write=True)
    assert "Done" in called(database, "DELETE FROM users; DROP TABLE users", write=True)
    assert called(database) == "The database is empty."
    assert "Ada" in called(database.with_name("o.db"), "SELECT * FROM t")


def test_a_database_is_made_only_by_a_create_statement_that_may_write(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    for query, write in [("", False), ("SELECT 1", False), ("SELECT 1", True), ("CREATE TABLE t (x)", False)]:
        assert "does not exist" in failed(path, query, write=write)
    assert "SQL error" in failed(path, "CREATE TABLE t (", write=True)
    assert not path.exists()
    assert "Done" in called(path, "CREATE TABLE t (x); INSERT INTO t VALUES (5)", write=True)
    assert "5" in called(path, "SELECT x FROM t")


def test_what_is_no_database_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("SELECT, but no database", encoding="utf-8")
    (tmp_path / "torn.db").write_bytes(b"SQLite format 3\0" + bytes(4080))
    os.mkfifo(tmp_path / "pipe.db")
    assert "not an SQLite database" in failed(tmp_path / "text.db")
    assert "torn.db" in failed(tmp_path / "torn.db")
    assert "named pipe" in failed(tmp_path / "pipe.db")
    assert "folder" in failed(tmp_path)


def test_a_damaged_database_is_named_as_such(database: Path) -> None:
    called(database, ENDLESS + "INSERT INTO users (name) SELECT printf('%.*c', 900, 'x') FROM n LIMIT 99", write=True)
    data = bytearray(database.read_bytes())
    data[4096 : len(data)] = b"\xa5" * (len(data) - 4096)
    database.write_bytes(data)
    assert "damaged" in failed(database, "SELECT * FROM users")


@pytest.mark.parametrize(
    "query", ["SELEC 1", "SELECT ?", "SELECT '", "SELECT 1 \0", "SELECT '\ud800'", "SELECT zeroblob(1e9)"]
)
def test_wrong_sql_is_one_sentence(database: Path, query: str) -> None:
    assert failed(database, query).startswith("SQL error")


def test_a_wrong_name_points_to_the_schema(database: Path) -> None:
    assert "without a query shows the schema" in failed(database, "SELECT nam FROM users")


def test_a_locked_database_is_waited_for_and_then_said(database: Path) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "locked by another program" in failed(database, "SELECT * FROM users")


def test_reading_a_wal_database_leaves_no_files_beside_it(database: Path) -> None:
    """SQLite's `mode=ro` alone leaves a -wal and a -shm file."""
    assert "wal" in called(database, "PRAGMA journal_mode = WAL", write=True)
    files = files_beside(database)
    assert "Ada" in called(database, "SELECT * FROM users")
    assert files_beside(database) == files


def test_a_wal_in_use_is_read_too(database: Path) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("INSERT INTO users (name) VALUES ('in the WAL')")
        assert "in the WAL" in called(database, "SELECT * FROM users")
        link = database.with_name("link.db")
        link.symlink_to(database)
        assert "in the WAL" in called(link, "SELECT * FROM users")


def test_a_call_that_is_ended_stops_at_once_and_changes_nothing(database: Path) -> None:
    async def stopped() -> float:
        task = asyncio.ensure_future(answer(database, ENDLESS + "INSERT INTO users (name) SELECT i FROM n", write=True))
        await asyncio.sleep(0.3)
        begin = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - begin

    assert asyncio.run(stopped()) < 2
    assert "\n3\n" in called(database, "SELECT count(*) FROM users")


def test_reading_is_free_and_writing_is_classed_by_its_words(tmp_path: Path) -> None:
    def klass(**arguments: Any) -> str:
        return TOOL.risk(TOOL.parse({"database": "a.db", **arguments}), tmp_path).klass

    assert klass(query="DROP TABLE t") == "read"  # it runs on a read-only connection
    assert klass(query="INSERT INTO t VALUES (1)", write=True) == "write"
    assert klass(query="DROP TABLE t", write=True) == "confirm"


def test_calls_on_one_database_wait_for_its_writer(tmp_path: Path) -> None:
    paths = frozenset({tmp_path / "a.db"})
    assert TOOL.resources(TOOL.parse({"database": "a.db"}), tmp_path).reads == paths
    assert TOOL.resources(TOOL.parse({"database": "a.db", "write": True}), tmp_path).writes == paths
    (tmp_path / "link.db").symlink_to("a.db")
    assert TOOL.resources(TOOL.parse({"database": "link.db"}), tmp_path).reads == paths, "one file under two names"


def test_a_name_that_is_no_utf_8_can_be_journalled(database: Path) -> None:
    odd = database.with_name(os.fsdecode(b"\xff.db"))
    database.rename(odd)
    link = database.with_name("link.db")
    link.symlink_to(odd)
    (location,) = asyncio.run(answer(link, "", write=False)).locations
    assert location.path.endswith("\\xff.db")


def test_the_description_is_cheap() -> None:
    assert len(TOOL.description) + len(msgspec.json.encode(TOOL.schema)) <= 800


def test_a_write_protected_database_is_not_written_even_by_root(database: Path) -> None:
    database.chmod(0o444)
    with pytest.raises(ToolError, match="write-protected"):
        called(database, "DELETE FROM users WHERE id = 1", write=True)
    assert "[3 rows]" in called(database, "SELECT * FROM users")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_database_in_a_protected_folder_cannot_be_made(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ToolError, match="Cannot make"):
        called(tmp_path / "new.db", "CREATE TABLE a (b)", write=True)
    tmp_path.chmod(0o700)
