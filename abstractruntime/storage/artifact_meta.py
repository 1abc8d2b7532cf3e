"""The stored form of what is known of an artifact (`spec/02 §10.6`)."""

from __future__ import annotations

import json
from pathlib import Path

from .artifact_base import ArtifactMetadata, CorruptArtifactError
from .replaced_files import write_whole

__all__ = ["parse_metadata", "read_metadata", "write_metadata"]


def read_metadata(path: Path) -> ArtifactMetadata | None:
    """The metadata in the file, ``None`` when there is no file.

    Raises:
        json.JSONDecodeError: the file is not JSON.
        CorruptArtifactError: it is not an object with the required keys.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    return parse_metadata(text, str(path))


def parse_metadata(text: bytes, where: str) -> ArtifactMetadata:
    """The metadata in a stored text.

    Raises:
        json.JSONDecodeError: it is not JSON.
        CorruptArtifactError: it is not an object with the required keys.
    """
    try:
        data = json.loads(text)
    except UnicodeDecodeError as exc:
        raise CorruptArtifactError(f"artifact metadata {where} is not UTF-8: {exc}") from exc
    if not isinstance(data, dict):
        raise CorruptArtifactError(f"artifact metadata {where} is not a JSON object")
    try:
        return ArtifactMetadata.from_dict(data)
    except (KeyError, TypeError, ValueError) as exc:
        raise CorruptArtifactError(f"artifact metadata {where} has a bad or missing key: {exc}") from exc


def write_metadata(path: Path, metadata: ArtifactMetadata) -> None:
    """Replace the file."""
    write_whole(path, json.dumps(metadata.to_dict(), ensure_ascii=False, indent=2).encode())
