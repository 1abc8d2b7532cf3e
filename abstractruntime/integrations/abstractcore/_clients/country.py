"""The two-letter country of this machine, as far as its settings tell (`spec/04 §4.1`)."""

from __future__ import annotations

import locale
import os
import re
import zoneinfo
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

__all__ = ["UNKNOWN_COUNTRY", "country_code"]

UNKNOWN_COUNTRY = "XX"

_OVERRIDES = ("ABSTRACT_COUNTRY", "ABSTRACTFRAMEWORK_COUNTRY")
_LOCALE_VARIABLES = ("LC_ALL", "LANG", "LC_CTYPE")
_ZONE_TABLES = ("zone.tab", "zone1970.tab")
_TIMEZONE_FILE = Path("/etc/timezone")
_LOCALTIME_LINK = Path("/etc/localtime")
_TWO_LETTERS = re.compile(r"[A-Za-z]{2}\Z")


def country_code() -> str:
    """Two upper-case letters, ``XX`` if nothing tells.

    Asked in this order, each time anew: ``ABSTRACT_COUNTRY``, ``ABSTRACTFRAMEWORK_COUNTRY`` (a code or a
    locale), the process's locale, ``LC_ALL``, ``LANG``, ``LC_CTYPE``, the country of the time zone. A bare
    language such as ``LANG=en`` is no country (the published package takes it for one).
    """
    return _from_overrides() or _from_locales() or _from_zones() or UNKNOWN_COUNTRY


def _from_overrides() -> str | None:
    for name in _OVERRIDES:
        value = os.environ.get(name, "").strip()
        if _TWO_LETTERS.match(value):
            return value.upper()
        region = _region(value)
        if region:
            return region
    return None


def _from_locales() -> str | None:
    return next((region for region in map(_region, _locales()) if region), None)


def _locales() -> Iterator[str]:
    try:
        yield locale.getlocale()[0] or ""
    except ValueError:  # LC_CTYPE names a locale that Python doesn't know
        yield ""
    for name in _LOCALE_VARIABLES:
        yield os.environ.get(name, "")


def _region(name: str) -> str | None:
    """``FR`` of ``fr_FR.UTF-8@euro``; ``None`` for ``C``, ``UTF-8``, ``en``."""
    _language, *rest = re.split(r"[_-]", re.split(r"[.@]", name.strip(), maxsplit=1)[0])
    return next((part.upper() for part in rest if _TWO_LETTERS.match(part)), None)


def _from_zones() -> str | None:
    for zone in _zones():
        country = _country_of_zone(zone, tuple(zoneinfo.TZPATH))
        if country:
            return country
    return None


def _zones() -> Iterator[str]:
    variable = os.environ.get("TZ", "").strip().lstrip(":")
    if "/" in variable:
        yield _zone_name(variable)
    with suppress(OSError, UnicodeDecodeError):  # many systems have none
        yield _TIMEZONE_FILE.read_text(encoding="utf-8").strip()
    with suppress(OSError):  # no link: a copy, or not this kind of system
        yield _zone_name(os.readlink(_LOCALTIME_LINK))


def _zone_name(path: str) -> str:
    """``Europe/Paris`` of ``/usr/share/zoneinfo/Europe/Paris``."""
    return path.rpartition("zoneinfo/")[2]


@lru_cache(maxsize=64)
def _country_of_zone(zone: str, folders: tuple[str, ...]) -> str | None:
    """Cached: the tables change with the operating system's updates, and a header is made for each call."""
    for folder in folders:
        for table in _ZONE_TABLES:
            try:
                with Path(folder, table).open(encoding="utf-8") as lines:
                    country = _country_in_table(zone, lines)
            except (OSError, UnicodeDecodeError):
                continue
            if country:
                return country
    return None


def _country_in_table(zone: str, lines: Iterable[str]) -> str | None:
    """Rows are: countries (comma-separated), coordinates, zone, comment; separated by tabs."""
    for line in lines:
        cells = line.rstrip("\n").split("\t")
        if line.startswith("#") or len(cells) < 3 or cells[2] != zone:
            continue
        first = cells[0].split(",")[0].strip()
        if _TWO_LETTERS.match(first):
            return first.upper()
    return None
