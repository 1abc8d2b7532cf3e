"""Payloads beside the checkpoints: large texts, files, evidence (`spec/02 §10`)."""

from __future__ import annotations

from .artifact_base import Artifact, ArtifactMetadata, ArtifactStore, CorruptArtifactError, resolve_artifact
from .artifact_files import FileArtifactStore
from .artifact_ids import (
    artifact_ref,
    compute_artifact_id,
    compute_blob_id,
    get_artifact_id,
    is_artifact_ref,
    validate_artifact_id,
)
from .artifact_memory import InMemoryArtifactStore

__all__ = [
    "Artifact",
    "ArtifactMetadata",
    "ArtifactStore",
    "CorruptArtifactError",
    "FileArtifactStore",
    "InMemoryArtifactStore",
    "artifact_ref",
    "compute_artifact_id",
    "compute_blob_id",
    "get_artifact_id",
    "is_artifact_ref",
    "resolve_artifact",
    "validate_artifact_id",
]
