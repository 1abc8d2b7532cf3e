"""Text out of documents, by AbstractCore's media handler where it is installed (`spec/04 §9.5`)."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

__all__ = ["MARKDOWN", "DocumentTextError", "document_text"]

MARKDOWN = "text/markdown"


class DocumentTextError(RuntimeError):
    """The document's text can't be had here; the message says why."""


def document_text(content: bytes, suffix: str) -> str:
    """The text of a document as Markdown.

    Args:
        content: the file.
        suffix: its extension with the dot; it tells the handler what the file is.

    Raises:
        DocumentTextError: AbstractCore is not installed, or can't read the document.
    """
    try:
        from abstractcore.media.auto_handler import AutoMediaHandler
    except ImportError as exc:
        raise DocumentTextError(
            "text of documents needs AbstractCore: pip install 'abstractruntime[abstractcore]'"
        ) from exc
    with tempfile.TemporaryDirectory(prefix="abstractruntime-") as folder:
        path = Path(folder) / f"document{suffix}"
        path.write_bytes(content)
        try:
            result = AutoMediaHandler(enable_events=False).process_file(path, glyph_compression="never")
        except Exception as exc:  # whatever its backends raise
            logging.getLogger(__name__).info("document of %d bytes not read", len(content), exc_info=True)
            raise DocumentTextError(f"{type(exc).__name__}: {exc}".replace(folder, "")) from exc
    media = getattr(result, "media_content", None)
    text = getattr(media, "content", None)
    facts = getattr(media, "metadata", None)
    if not getattr(result, "success", False) or not isinstance(text, str):
        reason = str(getattr(result, "error_message", None) or "no text found").replace(folder, "")
        raise DocumentTextError(reason)
    if isinstance(facts, dict) and facts.get("fallback_processing"):  # a placeholder instead of the text
        raise DocumentTextError("AbstractCore can't read this document; its log says why")
    return text
