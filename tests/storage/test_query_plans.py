"""Hot statements go through an index, however long a ledger is or however many runs there are."""

from __future__ import annotations

import pytest

from abstractruntime.storage.sql.engine import Database
from abstractruntime.storage.sql.statements import COMPLETED_RECORD


@pytest.mark.weakness("spec/02 P-1")
def test_a_prior_result_is_found_through_the_index_of_keys(database: Database) -> None:
    dialect = database.dialect.name
    fill = {
        "sqlite": "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)",
        "postgresql": "WITH n AS (SELECT generate_series(1, 5000) AS i)",
    }[dialect]
    explain = {"sqlite": "EXPLAIN QUERY PLAN ", "postgresql": "EXPLAIN "}[dialect]
    text = COMPLETED_RECORD.sqlite if dialect == "sqlite" else COMPLETED_RECORD.postgresql
    with database.engine.begin() as connection:
        connection.exec_driver_sql(
            f"{fill} INSERT INTO ledger (run_id, seq, record_json, status, idempotency_key)"
            " SELECT 'r', i, '{}', 'completed', 'key-' || i FROM n"
        )
        connection.exec_driver_sql("ANALYZE")
        plan = connection.exec_driver_sql(explain + text, {"run_id": "r", "key": "key-7"}).fetchall()
    assert "idx_ledger_completed_key" in str(plan)
