"""Replacing what is large in JSON-like data by references to artifacts (`spec/02 §8.3`)."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

from .artifact_base import ArtifactMetadata, ArtifactStore, CorruptArtifactError
from .artifact_ids import artifact_ref, compute_artifact_id, get_artifact_id, is_artifact_ref

__all__ = [
    "DEFAULT_MAX_INLINE_BYTES",
    "AllowOffload",
    "max_inline_from_environment",
    "offload_large_values",
    "resolve_offloaded",
]

logger = logging.getLogger(__name__)

DEFAULT_MAX_INLINE_BYTES = 256 * 1024

_SIZE_VARIABLE = "ABSTRACTRUNTIME_MAX_INLINE_BYTES"
_TYPES = {"bytes": "application/octet-stream", "text": "text/plain", "json": "application/json"}
_SOURCES = "_offload"

AllowOffload = Callable[[str, Any], bool]


def max_inline_from_environment() -> int:
    """``ABSTRACTRUNTIME_MAX_INLINE_BYTES``; the default when it is blank or no integer."""
    text = os.environ.get(_SIZE_VARIABLE, "").strip()
    if not text:
        return DEFAULT_MAX_INLINE_BYTES
    try:
        return int(text)
    except ValueError:
        logger.warning("%s=%r is not an integer; using %d", _SIZE_VARIABLE, text, DEFAULT_MAX_INLINE_BYTES)
        return DEFAULT_MAX_INLINE_BYTES


def offload_large_values(
    value: Any,
    *,
    artifact_store: ArtifactStore,
    run_id: str,
    max_inline_bytes: int,
    base_tags: Mapping[str, str] | None = None,
    root_path: str = "",
    allow_offload: AllowOffload | None = None,
    allow_root_replace: bool = False,
) -> Any:
    """``value`` with everything larger than the limit replaced by ``{"$artifact": id}``.

    The input is never modified; the same object comes back if nothing changed. Bytes are always replaced,
    because JSON has none.

    Args:
        value: JSON-like data. References in it are left alone; other kinds of objects are not looked into,
            except tuples, whose large items are replaced (the result is a list, as after JSON).
        artifact_store: where the large values go.
        run_id: the run they belong to.
        max_inline_bytes: the largest size, in bytes of UTF-8 or compact JSON, that stays. 0 and less switch
            everything off.
        base_tags: tags of each artifact, beside ``path`` and ``kind``.
        root_path: what paths start with; then ``.key`` and ``[index]``.
        allow_offload: asked with path and value before text or a container is replaced. An error in it
            means no (and is logged).
        allow_root_replace: whether ``value`` itself may be replaced.

    Raises:
        ValueError: the value contains itself.
        UnicodeEncodeError: text in it is broken (lone surrogates).
    """
    if max_inline_bytes <= 0:
        return value
    offload = _Offload(artifact_store, run_id, max_inline_bytes, dict(base_tags or {}), allow_offload)
    return offload.value(value, root_path, may_replace=allow_root_replace)


class _Offload:
    def __init__(
        self,
        store: ArtifactStore,
        run_id: str,
        limit: int,
        tags: dict[str, str],
        allow: AllowOffload | None,
    ) -> None:
        self._store = store
        self._run_id = run_id
        self._limit = limit
        self._tags = tags
        self._allow = allow
        self._entered: set[int] = set()

    def value(self, value: Any, path: str, *, may_replace: bool = True) -> Any:
        if is_artifact_ref(value):
            return value
        if isinstance(value, (bytes, bytearray)):
            return self._put(bytes(value), path, "bytes")
        if isinstance(value, str):
            return self._text(value, path) if may_replace else value
        if isinstance(value, (dict, list, tuple)):
            return self._container(value, path, may_replace)
        return value

    def _text(self, text: str, path: str) -> Any:
        content = text.encode()
        if len(content) <= self._limit or not self._may(path, text):
            return text
        return self._put(content, path, "text")

    def _container(self, value: Any, path: str, may_replace: bool) -> Any:
        if id(value) in self._entered:
            raise ValueError(f"Cycle detected while offloading at {path}")
        self._entered.add(id(value))
        try:
            result = self._dict(value, path) if isinstance(value, dict) else self._items(value, path)
        finally:
            self._entered.discard(id(value))
        if not may_replace or isinstance(result, tuple) or not self._may(path, result):
            return result
        try:
            text = json.dumps(result, ensure_ascii=False, separators=(",", ":"))
        except (TypeError, ValueError):  # has no JSON form: its children were replaced, it stays
            return result
        content = text.encode()
        return self._put(content, path, "json") if len(content) > self._limit else result

    def _dict(self, value: dict[Any, Any], path: str) -> dict[Any, Any]:
        items = {key: self.value(item, f"{path}.{key}") for key, item in value.items()}
        if all(items[key] is item for key, item in value.items()):
            return value
        return {str(key): item for key, item in items.items()}

    def _items(self, value: list[Any] | tuple[Any, ...], path: str) -> list[Any] | tuple[Any, ...]:
        items = [self.value(item, f"{path}[{index}]") for index, item in enumerate(value)]
        unchanged = all(new is old for new, old in zip(items, value, strict=True))
        return value if unchanged else items

    def _may(self, path: str, value: Any) -> bool:
        if self._allow is None:
            return True
        try:
            return bool(self._allow(path, value))
        except Exception:
            logger.warning("allow_offload failed at %s; the value stays", path, exc_info=True)
            return False

    def _put(self, content: bytes, path: str, kind: str) -> dict[str, str]:
        artifact_id = compute_artifact_id(content, run_id=self._run_id)
        there = self._known(artifact_id)
        if there is not None and (there.tags.get("kind") != kind or "path" not in there.tags):
            # The same bytes, but somebody else's artifact or of another kind: both are kept (D-11).
            artifact_id = f"{artifact_id}-{kind}"
            explicit: str | None = artifact_id
        else:
            explicit = None
        metadata = self._store.store(
            content,
            content_type=_TYPES[kind],
            run_id=self._run_id,
            tags={**self._tags, "path": path, "kind": kind},
            artifact_id=explicit,
        )
        return artifact_ref(metadata.artifact_id)

    def _known(self, artifact_id: str) -> ArtifactMetadata | None:
        """What the store knows of the artifact; a host's own store may not be able to say."""
        get_metadata = getattr(self._store, "get_metadata", None)
        if get_metadata is None:
            return None
        try:
            known: ArtifactMetadata | None = get_metadata(artifact_id)
        except ValueError as exc:  # damaged: storing it again mends it
            logger.warning("what is known of artifact '%s' can't be read, stored anew: %s", artifact_id, exc)
            return None
        return known


def resolve_offloaded(value: Any, store: ArtifactStore, *, may_be_gone: bool = False) -> Any:
    """``value`` with what a store decorator replaced put back, at any depth (`spec/02 §15.2`, D-5).

    References that were in the data before are left alone: they are what the node was given.

    Args:
        value: JSON-like data; it is not changed.
        store: where the offloaded values are.
        may_be_gone: for what is only shown. The reference to a value that is gone or damaged stays, and the
            log says so.

    Raises:
        CorruptArtifactError: an offloaded value is gone.
    """
    if is_artifact_ref(value):
        return _shown(value, store) if may_be_gone else _resolve_ref(value, store)
    if isinstance(value, dict):
        return {key: resolve_offloaded(item, store, may_be_gone=may_be_gone) for key, item in value.items()}
    if isinstance(value, list):
        return [resolve_offloaded(item, store, may_be_gone=may_be_gone) for item in value]
    return value


def _shown(ref: dict[str, Any], store: ArtifactStore) -> Any:
    try:
        return _resolve_ref(ref, store, may_be_gone=True)
    except ValueError as exc:  # CorruptArtifactError among them
        logger.warning("an offloaded value is shown as its reference: %s", exc)
        return ref


def _resolve_ref(ref: dict[str, Any], store: ArtifactStore, *, may_be_gone: bool = False) -> Any:
    if len(ref) != 1 or not isinstance(get_artifact_id(ref), str):
        return ref  # ours have one key and an id
    try:
        artifact = store.load(get_artifact_id(ref))
    except CorruptArtifactError:
        raise
    except ValueError:  # not an id at all
        return ref
    if artifact is None:
        raise CorruptArtifactError(
            f"artifact '{get_artifact_id(ref)}', to which a recorded result refers, is gone; restore it, or "
            "the step can't take its recorded result"
        )
    tags = artifact.metadata.tags
    if not tags.get("source", "").endswith(_SOURCES) or "path" not in tags:
        return ref
    kind = tags.get("kind")
    if kind == "text":
        return artifact.as_text()
    if kind != "json":
        return artifact.content
    return resolve_offloaded(artifact.as_json(), store, may_be_gone=may_be_gone)
