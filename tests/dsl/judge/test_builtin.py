"""Built-in names, and time zones."""

from __future__ import annotations

import shutil
import zoneinfo
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from dsl import Span
from dsl.judge.builtin import BUILTINS, zone_names, zone_of

NOON_NS = 12 * 3600 * 10**9


@pytest.fixture
def other_host(tmp_path: Path) -> Iterator[None]:
    """A host whose zone files give Berlin the time of Tokyo."""
    (tmp_path / "Europe").mkdir()
    with resources.as_file(resources.files("tzdata") / "zoneinfo" / "Asia" / "Tokyo") as tokyo:
        shutil.copy(tokyo, tmp_path / "Europe" / "Berlin")
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath([str(tmp_path)])
    zoneinfo.ZoneInfo.clear_cache()
    zone_of.cache_clear()
    yield
    zoneinfo.reset_tzpath(before)
    zoneinfo.ZoneInfo.clear_cache()
    zone_of.cache_clear()


@pytest.mark.usefixtures("other_host")
def test_zones_are_not_those_of_the_host() -> None:
    """Two images with the same version of tzdata give the same verdicts, whatever their zone files contain."""
    assert 21 == BUILTINS["timestamp.hour"](Span("a", start_ns=NOON_NS), zoneinfo.ZoneInfo("Europe/Berlin"))
    assert 13 == BUILTINS["timestamp.hour"](Span("a", start_ns=NOON_NS), zone_of("Europe/Berlin"))


@pytest.mark.parametrize("name", ["Berlin", "", "../zones", "Europe", "/etc/localtime", "europe/berlin", "a\0b"])
def test_what_is_no_zone(name: str) -> None:
    """Only the names that tzdata lists are zones: no path, no directory."""
    with pytest.raises(KeyError):
        zone_of(name)


def test_every_zone_can_be_read() -> None:
    """Each listed name is a zone."""
    assert [name for name in zone_names() if zone_of(name).key != name] == []
