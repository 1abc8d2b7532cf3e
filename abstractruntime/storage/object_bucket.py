"""The little that payloads need of an object store, over ``obstore``: S3, Google, Azure, files, memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from abstractruntime.core.errors import ConfigurationError, ServiceUnavailableError

if TYPE_CHECKING:
    from obstore import UpdateVersion
    from obstore.store import ObjectStore

__all__ = ["Bucket", "Entry", "Found"]


@dataclass(frozen=True, slots=True)
class Found:
    """An object's content, and what tells this version of it from all others."""

    content: bytes
    e_tag: str | None
    version: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    """An object in a listing."""

    name: str
    size: int
    e_tag: str | None
    modified: datetime


_first_user: int | None = None
"""The process in which obstore was used first: its threads don't live on in a forked child."""


class Bucket:
    """Objects by key."""

    def __init__(self, store: ObjectStore) -> None:
        try:
            import obstore
            from obstore import exceptions
        except ImportError as exc:
            raise _missing() from exc
        self._objects = obstore
        self._errors = exceptions
        self._store = store
        self.address = repr(store)

    @classmethod
    def from_url(cls, url: str) -> Bucket:
        """See `ObjectArtifactStore.from_url`."""
        try:
            from obstore import exceptions
            from obstore.store import LocalStore, from_url
        except ImportError as exc:
            raise _missing() from exc
        try:
            if url.startswith("file:"):
                return cls(LocalStore.from_url(url, mkdir=True))
            return cls(from_url(url))
        except (exceptions.BaseError, ValueError, OSError) as exc:
            # The URL may hold a secret, so only what is before it is quoted.
            raise ConfigurationError(
                f"the object store at '{url.partition('://')[0]}://...' can't be used: {_first_line(exc)}. "
                "Write it like s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, "
                "file:///directory or memory:///."
            ) from exc

    def get(self, key: str) -> Found | None:
        """The object, or ``None`` when there is none."""
        with self._translated():
            try:
                result = self._objects.get(self._store, key)
                content = bytes(result.bytes())
            except FileNotFoundError:
                return None
            return Found(content, result.meta["e_tag"], result.meta["version"])

    def has(self, key: str) -> bool:
        """Whether there is an object."""
        with self._translated():
            try:
                self._objects.head(self._store, key)
            except FileNotFoundError:
                return False
            return True

    def put(self, key: str, content: bytes) -> None:
        """Write the object, whatever was there."""
        with self._translated():
            self._objects.put(self._store, key, content)

    def put_over(self, key: str, content: bytes, before: Found | None) -> bool:
        """Write the object if it is still what ``before`` says (``None``: not there); whether it was.

        Where the store has no such condition (local directories) it is just written.
        """
        with self._translated():
            try:
                if before is None:
                    self._objects.put(self._store, key, content, mode="create")
                else:
                    self._objects.put(self._store, key, content, mode=_version(before))
            except (self._errors.AlreadyExistsError, self._errors.PreconditionError):
                return False
            except (NotImplementedError, self._errors.NotSupportedError):
                self._objects.put(self._store, key, content)
            return True

    def delete(self, key: str) -> None:
        """Remove the object if it is there."""
        with self._translated():
            try:
                self._objects.delete(self._store, key)
            except FileNotFoundError:
                return

    def copy(self, source: str, target: str) -> bool:
        """Copy within the store; ``False`` when there is nothing to copy."""
        with self._translated():
            try:
                self._objects.copy(self._store, source, target)
            except FileNotFoundError:
                return False
            return True

    def entries(self, directory: str) -> list[Entry]:
        """All objects below ``directory``, their names without it; in no order."""
        with self._translated():
            found = self._objects.list(self._store, directory).collect()
            start = len(directory) + 1
            return [
                Entry(each["path"][start:], each["size"], each["e_tag"], each["last_modified"])
                for each in found
            ]

    @contextmanager
    def _translated(self) -> Iterator[None]:
        _refuse_after_fork()
        try:
            yield
        except (self._errors.PermissionDeniedError, self._errors.UnauthenticatedError) as exc:
            raise ServiceUnavailableError(
                f"{self.address}: {_first_line(exc)}. Its credentials must allow read, write, list, delete."
            ) from exc
        except (self._errors.BaseError, OSError) as exc:
            raise ServiceUnavailableError(
                f"{self.address}: {_first_line(exc)}. Check its address, region and credentials; try again."
            ) from exc


def _refuse_after_fork() -> None:
    """obstore itself would end the process."""
    global _first_user
    if _first_user is None:
        _first_user = os.getpid()
    elif _first_user != os.getpid():
        raise ConfigurationError(
            "Object stores were used in a process that was forked afterwards (prefork workers, "
            "multiprocessing): use them first in the child, or start it by 'spawn'"
        )


def _version(found: Found) -> UpdateVersion:
    version: UpdateVersion = {}  # a part that is None is refused
    if found.e_tag is not None:
        version["e_tag"] = found.e_tag
    if found.version is not None:
        version["version"] = found.version
    return version


def _missing() -> ConfigurationError:
    return ConfigurationError(
        "Object stores need obstore; install it with: pip install 'abstractruntime[objects]'"
    )


def _first_line(error: Exception) -> str:
    """What follows is the library's own debug output."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
