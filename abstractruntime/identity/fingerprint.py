"""An id for an actor, derived from what is known about it (`spec/01 §15`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

__all__ = ["ActorFingerprint", "sha256_hex"]

_ID_LENGTH = 24


def sha256_hex(text: str) -> str:
    """The SHA-256 of the UTF-8 bytes of ``text``, as 64 lowercase hex characters."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


@dataclass(frozen=True)
class ActorFingerprint:
    """A deterministic identifier of an actor. Not a signature: whoever knows the metadata can make it.

    Attributes:
        actor_id: ``ar_`` and 24 hex characters when made by `from_metadata`.
        kind: ``agent``, ``human`` or ``service`` by convention; not checked.
        display_name: for people to read.
        metadata: JSON-like facts the id was made of.
    """

    actor_id: str
    kind: str
    display_name: str | None = None
    metadata: dict[str, Any] | None = None

    @classmethod
    def from_metadata(
        cls, *, kind: str, display_name: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> ActorFingerprint:
        """The same arguments always give the same ``actor_id``. ``metadata`` is copied; none becomes ``{}``.

        Raises:
            TypeError, ValueError: JSON can't encode ``metadata``.
        """
        facts = deepcopy(dict(metadata)) if metadata else {}
        text = json.dumps(
            {"kind": kind, "display_name": display_name, "metadata": facts},
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=False,
        )
        return cls(
            actor_id=f"ar_{sha256_hex(text)[:_ID_LENGTH]}",
            kind=kind,
            display_name=display_name,
            metadata=facts,
        )

    def to_dict(self) -> dict[str, Any]:
        """The four fields; the metadata is a copy."""
        return {
            "actor_id": self.actor_id,
            "kind": self.kind,
            "display_name": self.display_name,
            "metadata": deepcopy(self.metadata),
        }
