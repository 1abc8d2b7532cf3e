"""Doors of the in-process runtime for hosts and integrations. Everything is off unless it is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from .access import AccessPolicy, SessionAccess
from .errors import InvalidInputError
from .handler_parts import GROUNDING_CHOICES, Grounding, PayloadTransformer
from .models import EffectType, RunState
from .redaction import Redactor

__all__ = ["EvidenceRecorder", "Hooks", "NodeErrors", "PayloadTransformer"]

NodeErrors = Literal["raise", "record", "fail"]


class EvidenceRecorder(Protocol):
    """Keeps what tools returned (`spec/03 §15`).

    One whose attribute ``is_idempotent`` is true is also shown results that are taken from the ledger; one
    with an attribute ``tool_names`` only batches in which these tools occur.
    """

    def record_tool_calls(
        self, *, run: RunState, node_id: str, tool_calls: list[Any], tool_results: list[Any]
    ) -> Any:
        """Store evidence, index it in ``run.vars``; may rewrite the results in place."""
        ...


@dataclass(slots=True)
class Hooks:
    """Attributes may be set until the first tick.

    Attributes:
        access: who may reach into another run; default: same session or run tree (`spec/01 §19.17`).
        redactor: what is stored instead of what was said; default: everything as it is. A later step of the
            same `tick` still sees the clear value, a step after a reload the stored one, so leave what steps
            need. Read once, when the runtime is made (`spec/01 §19.18`).
        evidence: keeps tool results as evidence (`spec/01 §11.3`); its failures never fail a run.
        payload_transformers: by effect type, after the idempotency key and before the STARTED record
            (`spec/01 §11.4`), instead of what the effect's handler brings.
        node_errors: what an exception of a node leaves behind, beside reaching the caller: ``raise`` nothing,
            ``record`` a FAILED ledger record (the run stays RUNNING), ``fail`` that and a FAILED run
            (`spec/01 §3.4`).
        durable_backoff_s: a wait between attempts of at least this many seconds parks the run until then
            instead of blocking the thread; ``None`` never does (`spec/01 §19.13`).
        record_transitions: pure transitions, limit updates, `Runtime.pause_run` and `Runtime.resume_run` get
            ledger records of their own types, ``transition``, ``limits``, ``pause`` and ``unpause``, which
            readers skip (`spec/01 §19.16`). Without it they are written to the checkpoint only (`spec/01
            §10.12`).
        grounding: time and country in front of the user's turn of LLM calls (`spec/01 §11.4`). ``auto``:
            where the handler brings that along (AbstractCore's does), and where AbstractCore is installed;
            ``on``: always; ``off``: never.

    Raises:
        InvalidInputError: a value that is not one of these.
    """

    access: AccessPolicy = field(default_factory=SessionAccess)
    redactor: Redactor | None = None
    evidence: EvidenceRecorder | None = None
    payload_transformers: dict[EffectType, PayloadTransformer] = field(default_factory=dict)
    node_errors: NodeErrors = "raise"
    durable_backoff_s: float | None = None
    record_transitions: bool = False
    grounding: Grounding = "auto"

    def __post_init__(self) -> None:
        if self.node_errors not in ("raise", "record", "fail"):
            raise InvalidInputError(
                f"Hooks.node_errors is {self.node_errors!r}; use 'raise', 'record' or 'fail'"
            )
        if self.grounding not in GROUNDING_CHOICES:
            raise InvalidInputError(f"Hooks.grounding is {self.grounding!r}; use 'auto', 'on' or 'off'")
        if self.durable_backoff_s is not None and self.durable_backoff_s < 0:
            raise InvalidInputError(
                f"Hooks.durable_backoff_s is {self.durable_backoff_s}; use 0 or more seconds, or None"
            )
