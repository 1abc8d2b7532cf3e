"""Values by the identity of objects."""

from __future__ import annotations

import gc
from dataclasses import dataclass

from abstractruntime.core.per_object import PerObject


@dataclass
class Owner:
    """Equal to others, and without a hash."""

    name: str = ""


class Slotted:
    __slots__ = ()


def test_each_object_has_a_value_of_its_own() -> None:
    values: PerObject[object] = PerObject()
    one, equal = Owner(), Owner()
    mine = values.of(one, object)
    assert values.of(one, object) is mine
    assert values.of(equal, object) is not mine


def test_a_value_goes_with_its_object() -> None:
    values: PerObject[Owner] = PerObject()
    one = Owner()
    value = values.of(one, Owner)
    value.name = "kept"
    del one
    gc.collect()
    assert values._values == {}
    assert [values.of(Owner(), Owner).name for _ in range(100)] == [""] * 100


def test_an_object_without_weak_references_shares_nothing() -> None:
    values: PerObject[object] = PerObject()
    one = Slotted()
    assert values.of(one, object) is not values.of(one, object)
    assert values._values == {}
