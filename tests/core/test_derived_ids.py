"""Ids that are computed (`spec/01 §2.5`)."""

from __future__ import annotations

from uuid import RFC_4122, UUID

from abstractruntime.core.derived_ids import derived_id


def test_a_name_has_one_id_in_the_form_of_a_random_one() -> None:
    assert derived_id("parent|step") == derived_id("parent|step") != derived_id("parent|other")
    for name in ("", "parent|step", "ä|1"):
        found = UUID(derived_id(name))
        assert (found.version, found.variant, str(found)) == (4, RFC_4122, derived_id(name))


def test_ids_never_change() -> None:
    """A parent that went down with one release finds its child with the next."""
    assert derived_id("parent|step") == "f884a13c-9aa1-4528-977a-55e8e749cfaa"
