"""SQLite: without the contract's index of the ledger that its primary key already is (`spec/02 §6.2`).

Every record was written into both. Published programs that open the file may make it again; it does no harm.
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("DROP INDEX IF EXISTS idx_ledger_run_seq")
