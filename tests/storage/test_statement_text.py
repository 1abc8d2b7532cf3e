"""How parameters are handed to the drivers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import Connection

from abstractruntime.storage.sql.driver import Dialect, JoinedSession
from abstractruntime.storage.sql.statements import FEW_RECORDS, commit_statement, statement


def test_a_text_array_goes_to_psycopg_in_binary() -> None:
    """In text psycopg escapes every quote of it in Python: most of a tick of many steps."""
    made = statement("SELECT :one, unnest(:many::text[]), 'a'::text, :bare::text")
    assert made.postgresql == "SELECT %(one)s, unnest(%(many)b::text[]), 'a'::text, %(bare)s::text"


def test_the_records_of_a_tick_of_many_steps_are_binary() -> None:
    text = commit_statement(FEW_RECORDS + 1, 1, still=True).postgresql
    assert all(f"%({name})b::text[]" in text for name in ("jsons", "statuses", "keys"))


@pytest.mark.parametrize(
    ("driver", "sent"), [("psycopg", "%(many)b::text[]"), ("psycopg2", "%(many)s::text[]")]
)
def test_a_joined_transaction_of_psycopg2_has_no_binary_parameters(driver: str, sent: str) -> None:
    texts: list[str] = []

    def execute(text: str, params: dict[str, object]) -> Any:
        texts.append(text)

    connection = SimpleNamespace(dialect=SimpleNamespace(driver=driver), exec_driver_sql=execute)
    session = JoinedSession(cast(Connection, connection), cast(Dialect, SimpleNamespace(name="postgresql")))
    session.execute(statement("SELECT unnest(:many::text[])"), {"many": ["a"]})
    assert texts == [f"SELECT unnest({sent})"]
