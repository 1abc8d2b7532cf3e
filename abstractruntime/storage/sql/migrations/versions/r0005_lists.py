"""Lists by workflow on PostgreSQL; its indexes of parents and sessions leave out runs that have none.

SQLite files keep the contract's indexes, which published readers share.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    script = Path(__file__).with_name("0005_postgresql.sql").read_text(encoding="utf-8")
    for statement in script.split(";\n"):
        if statement.strip():
            connection.exec_driver_sql(statement)
