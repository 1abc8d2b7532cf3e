"""How parameters are handed to the drivers."""

from __future__ import annotations

from abstractruntime.storage.sql.statements import FEW_RECORDS, commit_statement, statement


def test_a_text_array_goes_to_psycopg_in_binary() -> None:
    """In text psycopg escapes every quote of it in Python: most of a tick of many steps."""
    made = statement("SELECT :one, unnest(:many::text[]), 'a'::text, :bare::text")
    assert made.postgresql == "SELECT %(one)s, unnest(%(many)b::text[]), 'a'::text, %(bare)s::text"


def test_the_records_of_a_tick_of_many_steps_are_binary() -> None:
    text = commit_statement(FEW_RECORDS + 1, 1, still=True).postgresql
    assert all(f"%({name})b::text[]" in text for name in ("jsons", "statuses", "keys"))
