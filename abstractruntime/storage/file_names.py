"""Ids as parts of file names: what can't be one is refused before anything is written (`spec/02 §15.4`)."""

from __future__ import annotations

from functools import lru_cache

from abstractruntime.core.errors import InvalidInputError

__all__ = ["MAX_BYTES", "checked_id", "is_file_id"]

MAX_BYTES = 200
"""Leaves room for prefix, suffix and a temporary name within the 255 bytes of a file name."""

_REFUSED = frozenset("/\\")
_OTHER_BLANKS = {code: " " for code in (0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000)}
"""What Unicode counts among the spaces (as U+00A0, which people copy from texts): not printable for Python,
yet no file system minds it."""


def is_file_id(text: str) -> bool:
    """Whether files can be named after this id: nothing else was ever stored under it."""
    return len(text) <= MAX_BYTES and _is_part_of_a_name(text)


@lru_cache(maxsize=1024)  # a step of a run asks several times
def _is_part_of_a_name(text: str) -> bool:
    try:
        short_enough = len(text.encode()) <= MAX_BYTES
    except UnicodeEncodeError:  # a lone surrogate
        return False
    is_printable = text.isprintable() or text.translate(_OTHER_BLANKS).isprintable()
    return short_enough and text == text.strip() and is_printable and not _REFUSED & set(text)


def checked_id(text: str, field: str, *, may_be_empty: bool = False) -> str:
    """``text``, fit for a file name; ``field`` names it in the error.

    Raises:
        InvalidInputError: it is not text, empty, too long, or holds separators, control characters or outer
            blanks.
    """
    if not isinstance(text, str) or not is_file_id(text) or not (text or may_be_empty):
        raise InvalidInputError(
            f"{field} {text!r} can't be stored in files: it must be 1 to {MAX_BYTES} bytes of printable "
            "text without '/', '\\' and outer blanks"
        )
    return text
