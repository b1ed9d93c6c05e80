"""Tests what an operator may set: each limit, and one value beyond it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from streams.config.settings import Settings, milliseconds, moment_ms
from streams.errors import ConfigError

NUMBERS = [
    ("gap", "gap_ms", 100, "100ms"),
    ("max-duration", "max_duration_ms", 30_100, "30100ms"),
    ("lateness", "lateness_ms", 0, "0ms"),
    ("out-of-order", "out_of_order_ms", 0, "0ms"),
    ("idle-lag", "idle_lag_ms", 0, "0ms"),
    ("max-clock-skew", "max_clock_skew_ms", 0, "0ms"),
    ("flush", "flush_ms", 1, "1ms"),
    ("step", "step_ms", 1, "1ms"),
    ("facts-partitions", "facts_partitions", 1, "1"),
    ("window-memory", "window_memory_bytes", 1 << 20, "1048576B"),
    ("window-disk", "window_disk_bytes", 1 << 20, "1048576B"),
    ("signals-per-hour", "signals_per_hour", 1, "1"),
    ("record-budget", "record_budget", 16, "16"),
]


def settings(**changed: Any) -> Settings:  # noqa: ANN401, each field has its own
    """Settings with some changed."""
    return Settings(bootstrap="localhost:9092", state_dir=Path("state"), **changed)


@pytest.mark.parametrize(("name", "field", "least", "shown"), NUMBERS)
def test_smallest_allowed(name: str, field: str, least: int, shown: str) -> None:
    """A setting may be as small as its limit."""
    found = settings(**{field: least})

    assert least == getattr(found, field), (name, shown)


@pytest.mark.parametrize(("name", "field", "least", "shown"), NUMBERS)
def test_below_the_limit(name: str, field: str, least: int, shown: str) -> None:
    """A setting below its limit is refused with its value and the limit."""
    with pytest.raises(ConfigError, match=f"^{name} is {least - 1}(ms|B)?, must be at least {shown}$"):
        settings(**{field: least - 1})


def test_no_source_topic() -> None:
    """Without a source topic there is nothing to read."""
    with pytest.raises(ConfigError, match="no source topic is set: give --source-topics"):
        settings(source_topics=())


def test_unknown_start() -> None:
    """An unknown start is refused, with the valid ones."""
    with pytest.raises(ConfigError, match="start is 'now', must be earliest or latest"):
        settings(start="now")


def test_no_identity_attribute() -> None:
    """An operator may empty the identity allow-list; by default it is the documented one."""
    assert settings(identity=()).identity == ()
    assert "user.id" in settings().identity


def test_names_have_the_prefix() -> None:
    """Topics and groups of an application carry its prefix."""
    found = settings(prefix="test.")

    assert ("test.facts", "test.ingest") == (found.topic("facts"), found.group("ingest"))


def test_client_settings() -> None:
    """A client gets the brokers, the logger, and additional settings."""
    client = settings().client({"linger.ms": 5})

    logger = logging.getLogger("librdkafka")
    assert {"bootstrap.servers": "localhost:9092", "logger": logger, "linger.ms": 5} == client


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [("1ms", 1), ("0s", 0), ("30s", 30_000), ("1.5m", 90_000), ("1h30m", 5_400_000), ("2d", 172_800_000)],
)
def test_duration(text: str, expected_ms: int) -> None:
    """A duration is numbers with units, added up."""
    assert expected_ms == milliseconds(text)


@pytest.mark.parametrize("text", ["", "30", "s", "30 s", "-1s", "1s,", "1e3s", "٣s", "1.s", "9" * 400 + "s", "30S"])
def test_invalid_duration(text: str) -> None:
    """Anything else is refused, with a valid example."""
    with pytest.raises(ConfigError, match="is not a duration: write a number with a unit"):
        milliseconds(text)


NOW_MS = 1_795_255_200_000


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("now", NOW_MS),
        ("earliest", 0),
        ("2h", NOW_MS - 7_200_000),
        ("100000d", 0),
        ("2026-11-21T10:00:00Z", NOW_MS),
        ("2026-11-21T10:00:00.0005Z", NOW_MS),
        ("2026-11-21T11:30:00.007+01:30", NOW_MS + 7),
        ("1960-01-01T00:00:00Z", 0),
    ],
)
def test_moment(text: str, expected_ms: int) -> None:
    """A point in time is a time with its zone, a duration ago, or a word; none is before 1970."""
    assert expected_ms == moment_ms(text, NOW_MS)


@pytest.mark.parametrize("text", ["", "today", "2026-02-30", "2026-11-21T10:00:00", "2026-13-01T00:00:00Z", "-1h"])
def test_invalid_moment(text: str) -> None:
    """Anything else is refused, with a valid example; a time without zone is ambiguous."""
    with pytest.raises(ConfigError, match="is not a time: write 2026-01-05, 2026-01-05T12:00:00Z"):
        moment_ms(text, NOW_MS)
