from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deskhand.seam.sql import first_word, sqlite_risk, statements_of


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (1)",
        "UPDATE t SET a = 1 WHERE id = 2",
        "delete from t where id in (select 1)",
        "WITH old AS (SELECT 1) DELETE FROM t WHERE id IN old",
        "CREATE TABLE t (id); CREATE INDEX i ON t (id);",
        "CREATE TRIGGER g AFTER UPDATE ON t BEGIN UPDATE t SET a = 1; SELECT 1; END;",
        "INSERT INTO t VALUES ('DROP TABLE t; DELETE FROM t')",
        "INSERT INTO t VALUES (1) -- DROP TABLE t",
        "ALTER TABLE t ADD COLUMN drop_count",
        "VACUUM",
        "PRAGMA table_info(t)",
        "SELECT 1",
        "",
    ],
)
def test_what_can_be_brought_back_is_a_write(sql: str) -> None:
    assert sqlite_risk(sql).klass == "write"


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE t",
        "drop/* */table t",
        "/* why */ DROP INDEX i",
        "SELECT 1; DROP TABLE t",
        "ALTER TABLE t DROP COLUMN a",
        "DELETE FROM t",
        "DELETE FROM t -- WHERE id = 1",
        "DELETE FROM t RETURNING 'WHERE'",
        'DELETE FROM "where"',
        "UPDATE t SET a = (SELECT 1 WHERE 1)",
        "WITH old AS (SELECT 1 WHERE 1) DELETE FROM t",
        "WITH replace AS (SELECT 1) DELETE FROM t",
        "ATTACH 'other.db' AS other",
        "DETACH other",
        "VACUUM INTO 'copy.db'",
        "PRAGMA writable_schema = ON",
        "PRAGMA",
        "DROP",
        "(DELETE FROM t)",
        "?",
    ],
)
def test_what_destroys_reaches_further_or_is_unknown_is_put_to_the_user(sql: str) -> None:
    risk = sqlite_risk(sql)
    assert risk.klass == "confirm"
    assert risk.reason


def test_statements_are_split_where_sqlite_splits_them() -> None:
    trigger = "CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM t WHERE 1; SELECT 2; END;"
    sql = f"INSERT INTO t VALUES ('a;b'); -- one; two\n{trigger} ;; /* ; */ SELECT \"x;y\""
    found = statements_of(sql)
    assert [first_word(statement) for statement in found] == ["INSERT", "CREATE", "SELECT"]


@given(st.text(alphabet="aD;'\"`[](/*-\n\0é\ud800 ", max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_text_has_a_class(sql: str) -> None:
    assert sqlite_risk(sql).klass in ("write", "confirm")
