"""The class of SQL for SQLite, going by its words alone, before any database is open.

A judgement of words can be deceived, so whoever runs the statements has SQLite check what they really do.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator

from deskhand.seam.risk import WRITE, Risk, worst

TRANSACTION_WORDS = {"BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE"}

READING_PRAGMAS = {
    *("table_info", "table_xinfo", "index_list", "index_info", "index_xinfo", "foreign_key_list"),
    *("foreign_key_check", "integrity_check", "quick_check"),
}
"""Pragmas that only read, even with an argument."""

_ORDINARY = {
    "SELECT",
    "VALUES",
    "EXPLAIN",
    "WITH",
    "INSERT",
    "REPLACE",
    "CREATE",
    "ALTER",
    "ANALYZE",
    "REINDEX",
    "VACUUM",
}

_TOKEN = re.compile(
    r"""--[^\n]* | /\*.*?(?:\*/|\Z) | '(?:[^']|'')*' | "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\] | \w+ | \s+ | .""",
    re.DOTALL | re.VERBOSE,
)


def sqlite_risk(sql: str) -> Risk:
    """Return the class of statements that may write: `write`, or `confirm` for what destroys or reaches further."""
    return worst(WRITE, *(_statement_risk(_words(statement)) for statement in statements_of(sql)))


def statements_of(sql: str) -> list[str]:
    """Split `sql` at the semicolons between statements, not those of strings, comments or trigger bodies."""
    found: list[str] = []
    pending = ""
    for part in _tokens(sql):
        pending += part
        if part == ";" and _is_complete(pending):
            found.append(pending)
            pending = ""
    found.append(pending)
    return [statement for statement in found if statement.strip("; \t\r\n\f")]


def first_word(statement: str) -> str:
    """Return the word that says what a statement does, in upper case; an empty string where it has none."""
    return next(iter(_words(statement)), "")


def _tokens(sql: str) -> Iterator[str]:
    """Yield the tokens of `sql`: words, quoted strings and names, single characters; a comment is a space."""
    for match in _TOKEN.finditer(sql):
        found = match.group()
        yield " " if found.startswith(("--", "/*")) else found


def _is_complete(sql: str) -> bool:
    """Tell whether the semicolon at the end of `sql` ends a statement: SQLite knows the bodies of triggers."""
    return sqlite3.complete_statement(sql.encode("ascii", "replace").decode().replace("\0", "?"))


def _words(statement: str) -> list[str]:
    """Return the bare words of a statement in upper case, those in parentheses left out."""
    words = []
    depth = 0
    for part in _tokens(statement):
        depth += {"(": 1, ")": -1}.get(part, 0)
        if depth <= 0 and (part[0].isalnum() or part[0] == "_"):
            words.append(part.upper())
    return words


def _statement_risk(words: list[str]) -> Risk:
    first = words[0] if words else "?"
    # After WITH the verb may be anywhere, since a common table's name may look like one.
    verbs = set(words) if first == "WITH" else {first}
    for verb in ("DELETE", "UPDATE"):
        if verb in verbs:
            return WRITE if "WHERE" in words else Risk("confirm", f"{verb} without WHERE touches every row")
    if first == "DROP" or (first == "ALTER" and "DROP" in words):
        return Risk("confirm", f"{first} … DROP destroys data" if first == "ALTER" else "DROP destroys data")
    if first == "VACUUM" and "INTO" in words:
        return Risk("confirm", "VACUUM INTO writes another file")
    if first == "ATTACH":
        return Risk("confirm", "ATTACH opens another database file")
    if first in _ORDINARY | TRANSACTION_WORDS or (first == "PRAGMA" and _only_reads(words)):
        return WRITE
    return Risk("confirm", f"{first} is not a statement known to be harmless")


def _only_reads(pragma: list[str]) -> bool:
    return len(pragma) > 1 and pragma[1].lower() in READING_PRAGMAS
