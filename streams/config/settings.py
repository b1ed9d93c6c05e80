"""Defines everything an operator can set, validated once at the start."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeAlias, cast

from streams.config.security import NO_SECURITY, Security
from streams.config.units import UNITS_BYTES, UNITS_MS
from streams.decode.decoder import Format
from streams.errors import ConfigError
from streams.observe.logs import KAFKA_CLIENT
from streams.projection.budget import FACTOR
from streams.projection.project import IDENTITY_ATTRIBUTES
from streams.projection.redact import NOT_REDACTED, Redaction
from topics.records.facts import TICK_MS
from topics.records.signals import SignalFormat
from topics.spec import Layout

ClientSettings: TypeAlias = Mapping[str, str | int | float | bool]
"""librdkafka settings by name."""

ADMIN: ClientSettings = {
    # Until its metadata expires, the client would send the old leader's epoch after a leader change, and be refused.
    "metadata.max.age.ms": 5000,
}
"""For an `AdminClient` that outlives a leader change."""

_SIZE = re.compile(r"([0-9]{1,15})(B|KiB|MiB|GiB)")
LEAST_MEMORY_BYTES = 1 << 20
LEAST_DISK_BYTES = 1 << 20

_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(ms|s|m|h|d)")

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of `betrace run`; every `_ms` is in milliseconds.

    `identity` lists the attributes that a witness shows even when no rule names them; `redaction` is applied to values
    before they leave ingest. Windows beyond `window_disk_bytes` are closed early; beyond `signals_per_hour` of one rule
    only a summary is published; None means unlimited. Ingest writes at most `record_budget` times the size of a source
    record, or 64 KiB if that is more. Dead letters contain their records encrypted with the public key
    `dead_letter_key` (`topics.records.sealed_box`), and no record if it is None. With `allow_create_time`, source
    topics may have timestamps set by producers.
    """

    bootstrap: str
    state_dir: Path
    source_topics: tuple[str, ...] = ("otlp_spans", "otlp_logs")
    prefix: str = "betrace."
    facts_partitions: int = 12
    start: str = "earliest"
    format: Format = Format.AUTO
    gap_ms: int = 30_000
    lateness_ms: int = 600_000
    max_duration_ms: int = 3_600_000
    out_of_order_ms: int = 2_000
    idle_lag_ms: int = 2_000
    max_clock_skew_ms: int = 5_000
    allow_create_time: bool = False
    flush_ms: int = 50
    step_ms: int = 500
    window_memory_bytes: int = 2 << 30
    window_disk_bytes: int | None = None
    identity: tuple[str, ...] = IDENTITY_ATTRIBUTES
    redaction: Redaction = NOT_REDACTED
    signal_format: SignalFormat = SignalFormat.OCSF
    signals_per_hour: int | None = None
    record_budget: int = FACTOR
    dead_letter_key: bytes | None = None
    security: Security = NO_SECURITY

    def __post_init__(self) -> None:
        """Validate the values.

        Raises:
            ConfigError: a value is out of range; the message names the value and its limit.
        """
        _at_least("gap", self.gap_ms, TICK_MS)
        # A window of a single record is quiet one tick after the gap: a shorter maximum would end every window.
        _at_least("max-duration", self.max_duration_ms, self.gap_ms + TICK_MS)
        _at_least("lateness", self.lateness_ms, 0)
        _at_least("out-of-order", self.out_of_order_ms, 0)
        _at_least("idle-lag", self.idle_lag_ms, 0)
        _at_least("max-clock-skew", self.max_clock_skew_ms, 0)
        _at_least("flush", self.flush_ms, 1)
        _at_least("step", self.step_ms, 1)
        if self.facts_partitions < 1:
            raise ConfigError(f"facts-partitions is {self.facts_partitions}, must be at least 1")
        if self.window_memory_bytes < LEAST_MEMORY_BYTES:
            raise ConfigError(f"window-memory is {self.window_memory_bytes}B, must be at least {LEAST_MEMORY_BYTES}B")
        if self.window_disk_bytes is not None and self.window_disk_bytes < LEAST_DISK_BYTES:
            raise ConfigError(f"window-disk is {self.window_disk_bytes}B, must be at least {LEAST_DISK_BYTES}B")
        if self.signals_per_hour is not None and self.signals_per_hour < 1:
            raise ConfigError(f"signals-per-hour is {self.signals_per_hour}, must be at least 1")
        if self.record_budget < FACTOR:
            raise ConfigError(f"record-budget is {self.record_budget}, must be at least {FACTOR}")
        if not self.source_topics:
            raise ConfigError("no source topic is set: give --source-topics, such as otlp_spans,otlp_logs")
        if self.start not in ("earliest", "latest"):
            raise ConfigError(f"start is {self.start!r}, must be earliest or latest")

    def topic(self, name: str) -> str:
        """Return the full name of one of BeTrace's own topics.

        >>> Settings(bootstrap="localhost:9092", state_dir=Path("state")).topic("facts")
        'betrace.facts'
        """
        return self.prefix + name

    def group(self, role: str) -> str:
        """Return the consumer group of a role."""
        return self.prefix + role

    def client(self, also: ClientSettings | None = None) -> ClientSettings:
        """Return the librdkafka settings of a client of this cluster, with its security and those in `also`."""
        # The client logs to it instead of to stderr, but its type hints do not include it.
        logger = cast("str", logging.getLogger(KAFKA_CLIENT))
        return {"bootstrap.servers": self.bootstrap, "logger": logger, **self.security.client(), **(also or {})}

    def reader(self) -> ClientSettings:
        """Return `client` for commands that only read, with the group id that readers are allowed to describe."""
        return self.client({"group.id": self.group("readers")})

    def layout(self) -> Layout:
        """Return the topics of this installation."""
        return Layout(self.prefix, self.source_topics, self.facts_partitions)


def milliseconds(text: str) -> int:
    """Parse a duration such as 30s into milliseconds.

    Raises:
        ConfigError: it is not a number with a unit.

    >>> milliseconds("30s"), milliseconds("1h"), milliseconds("1h30m")
    (30000, 3600000, 5400000)
    """
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ConfigError(f"{text!r} is not a duration: write a number with a unit (ms, s, m, h, d), such as 30s")
    return round(sum(float(number) * UNITS_MS[unit] for number, unit in parts))


def size_bytes(text: str) -> int:
    """Parse a size such as 512MiB into bytes.

    Raises:
        ConfigError: it is not a whole number with a unit.

    >>> size_bytes("2GiB"), size_bytes("512MiB")
    (2147483648, 536870912)
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"{text!r} is not a size: write a whole number with a unit (B, KiB, MiB, GiB), such as 512MiB"
        )
    return int(match[1]) * UNITS_BYTES[match[2]]


def moment_ms(text: str, now_ms: int) -> int:
    """Parse a point in time into Unix ms: RFC 3339, a date (in UTC), a duration ago, `earliest` or `now`.

    Raises:
        ConfigError: it is none of these.

    >>> moment_ms("2026-01-05T12:00:00Z", 0), moment_ms("30d", 3_000_000_000), moment_ms("earliest", 7)
    (1767614400000, 408000000, 0)
    >>> moment_ms("2026-01-05", 0)
    1767571200000
    """
    if text in ("earliest", "now"):
        return now_ms if text == "now" else 0
    with suppress(ValueError):
        moment = datetime.fromisoformat(f"{text}T00:00:00Z" if _DATE.fullmatch(text) else text)
        if moment.tzinfo is not None:
            return max(0, round(moment.timestamp() * 1000))
    try:
        return max(0, now_ms - milliseconds(text))
    except ConfigError as error:
        raise ConfigError(
            f"{text!r} is not a time: write 2026-01-05, 2026-01-05T12:00:00Z, a duration ago such as 30d, earliest "
            "or now"
        ) from error


def _at_least(name: str, value_ms: int, least_ms: int) -> None:
    if value_ms < least_ms:
        raise ConfigError(f"{name} is {value_ms}ms, must be at least {least_ms}ms")
