"""What a resume record shows of the payload (`spec/01 §10.14`)."""

from __future__ import annotations

import logging
from typing import Any

from .extensions import lent
from .tally import Tally

__all__ = ["recorded_payload"]

logger = logging.getLogger(__name__)


def recorded_payload(run_id: str, payload: Any, artifact_store: Any, tally: Tally) -> Any:
    """The payload with large values as artifact references, if there is an artifact store.

    The record is best effort and the value is in the checkpoint anyway, so a store that fails leaves the
    value inline.
    """
    offload = None if artifact_store is None else lent("offload_large_values")
    if offload is None:
        return payload
    try:
        return offload(
            payload,
            artifact_store=artifact_store,
            run_id=run_id,
            max_inline_bytes=lent("max_inline_bytes")(),
            base_tags={"source": "resume"},
            root_path="resume.payload",
        )
    except Exception:
        logger.warning("resume payload of run %s not offloaded", run_id, exc_info=True)
        tally.add("resume_offload")
        return payload
