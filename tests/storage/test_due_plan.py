"""What is due is found through its index, however many runs wait (`spec/02 §15`, P-4)."""

from __future__ import annotations

import pytest

from abstractruntime.storage.sql.door_statements import DUE_RUNS
from abstractruntime.storage.sql.engine import Database


@pytest.mark.weakness("spec/02 P-4")
def test_due_runs_are_found_through_their_index(database: Database) -> None:
    dialect = database.dialect.name
    fill = {
        "sqlite": "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)",
        "postgresql": "WITH n AS (SELECT generate_series(1, 5000) AS i)",
    }[dialect]
    explain = {"sqlite": "EXPLAIN QUERY PLAN ", "postgresql": "EXPLAIN "}[dialect]
    text = DUE_RUNS.sqlite if dialect == "sqlite" else DUE_RUNS.postgresql
    with database.engine.begin() as connection:
        connection.exec_driver_sql(
            f"{fill} INSERT INTO runs (run_id, workflow_id, status, wait_reason, due_at, run_json)"
            " SELECT 'r' || i, 'w', 'waiting', 'event', CASE WHEN i > 4000 THEN i END, '{}' FROM n"
        )
        connection.exec_driver_sql("ANALYZE")
        values = {"now": 4010.0, "due": 0.0, "run_id": "", "limit": 100}
        plan = connection.exec_driver_sql(explain + text, values).fetchall()
        due = connection.exec_driver_sql(text, values).fetchall()
    assert "idx_runs_due" in str(plan)
    assert [run_id for _, run_id, _ in due] == [f"r{i}" for i in range(4001, 4011)]
