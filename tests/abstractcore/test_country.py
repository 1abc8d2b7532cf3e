"""Where the country of the turn header comes from (`spec/04 §4.1`)."""

from __future__ import annotations

import locale
import zoneinfo
from pathlib import Path

import pytest

from abstractruntime.integrations.abstractcore._clients import country as _country


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine that says nothing about where it is; what the test adds is all there is."""
    for name in ("ABSTRACT_COUNTRY", "ABSTRACTFRAMEWORK_COUNTRY", "TZ", "LC_ALL", "LANG", "LC_CTYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(locale, "getlocale", lambda: (None, None))
    monkeypatch.setattr(_country, "_TIMEZONE_FILE", tmp_path / "timezone")
    monkeypatch.setattr(_country, "_LOCALTIME_LINK", tmp_path / "localtime")
    monkeypatch.setattr(zoneinfo, "TZPATH", (str(tmp_path / "zones"),))
    (tmp_path / "zones").mkdir()
    return tmp_path


def test_nothing_known_is_xx(bare: Path) -> None:
    assert _country.country_code() == "XX"


@pytest.mark.parametrize(("value", "country"), [("fr", "FR"), (" de ", "DE"), ("fr_CA.UTF-8", "CA")])
def test_a_code_or_a_locale_overrides_everything(
    bare: Path, monkeypatch: pytest.MonkeyPatch, value: str, country: str
) -> None:
    monkeypatch.setenv("LANG", "en_US.UTF-8")
    monkeypatch.setenv("ABSTRACTFRAMEWORK_COUNTRY", value)
    assert _country.country_code() == country
    monkeypatch.setenv("ABSTRACT_COUNTRY", "JP")
    assert _country.country_code() == "JP"


@pytest.mark.parametrize("junk", ["", "France", "F", "12", "UTF-8"])
def test_an_override_that_is_no_country_is_passed_over(
    bare: Path, monkeypatch: pytest.MonkeyPatch, junk: str
) -> None:
    monkeypatch.setenv("ABSTRACT_COUNTRY", junk)
    monkeypatch.setenv("LANG", "it_IT")
    assert _country.country_code() == "IT"


def test_the_process_locale_comes_before_the_variables(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "en_US.UTF-8")
    assert _country.country_code() == "US"
    monkeypatch.setattr(locale, "getlocale", lambda: ("pt_BR", "UTF-8"))
    assert _country.country_code() == "BR"


def test_the_order_of_the_variables(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_CTYPE", "es_ES")
    assert _country.country_code() == "ES"
    monkeypatch.setenv("LANG", "nl_NL@euro")
    assert _country.country_code() == "NL"
    monkeypatch.setenv("LC_ALL", "zh_Hans_CN")
    assert _country.country_code() == "CN"


@pytest.mark.parametrize("value", ["UTF-8", "C", "POSIX", "C.UTF-8", "en", "en.UTF-8"])
def test_encodings_and_bare_languages_are_no_country(
    bare: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("LANG", value)
    assert _country.country_code() == "XX"


def test_a_locale_that_python_does_not_know_is_passed_over(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown() -> None:
        raise ValueError("unknown locale: UTF-8")

    monkeypatch.setattr(locale, "getlocale", unknown)
    monkeypatch.setenv("LANG", "sv_SE.UTF-8")
    assert _country.country_code() == "SE"


TABLE = "# a comment\nFR,MC\t+4852+00220\tEurope/Paris\tmost of it\nJP\t+353916+1394441\tAsia/Tokyo\n"


@pytest.mark.parametrize("table", ["zone.tab", "zone1970.tab"])
@pytest.mark.parametrize("zone", ["Europe/Paris", ":Europe/Paris", "/usr/share/zoneinfo/Europe/Paris"])
def test_the_zone_variable(bare: Path, monkeypatch: pytest.MonkeyPatch, table: str, zone: str) -> None:
    (bare / "zones" / table).write_text(TABLE)
    monkeypatch.setenv("TZ", zone)
    assert _country.country_code() == "FR"


def test_a_zone_without_a_country_gives_way_to_the_machines(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare / "zones" / "zone.tab").write_text(TABLE)
    (bare / "timezone").write_text("Asia/Tokyo\n")
    monkeypatch.setenv("TZ", "Etc/UTC")
    assert _country.country_code() == "JP"


def test_the_localtime_link(bare: Path) -> None:
    (bare / "zones" / "zone.tab").write_text(TABLE)
    (bare / "localtime").symlink_to("../usr/share/zoneinfo/Asia/Tokyo")
    assert _country.country_code() == "JP"


def test_a_broken_table_is_passed_over(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bare / "zones" / "zone.tab").write_bytes(b"\xff\xfe broken")
    (bare / "zones" / "zone1970.tab").write_text(TABLE)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert _country.country_code() == "JP"
