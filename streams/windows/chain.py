"""Defines what is remembered of one trace, and for how long. All times are ticks of record time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import msgspec

from streams.windows.facts import AtomFacts
from topics.records.facts import TICK_MS


class WindowSettings(Protocol):
    """The settings that bound a window, in ms."""

    @property
    def gap_ms(self) -> int:
        """How long a trace must be silent before its window closes."""

    @property
    def lateness_ms(self) -> int:
        """How long after that a late span still amends the verdict."""

    @property
    def max_duration_ms(self) -> int:
        """How long a window may stay open before it is closed as incomplete."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of windows and chains, in ticks; see `streams.windows.sessions`."""

    gap: int
    lateness: int
    max_duration: int

    @classmethod
    def of_ms(cls, *, gap_ms: int, lateness_ms: int, max_duration_ms: int) -> Bounds:
        """Convert milliseconds, rounded down to ticks."""
        return cls(gap_ms // TICK_MS, lateness_ms // TICK_MS, max_duration_ms // TICK_MS)

    @classmethod
    def of(cls, settings: WindowSettings) -> Self:
        """Read the bounds from the settings."""
        return cls(settings.gap_ms // TICK_MS, settings.lateness_ms // TICK_MS, settings.max_duration_ms // TICK_MS)


class Window(msgspec.Struct, array_like=True, gc=False):
    """One window: first and last arrival in ticks. The span count and `root_seen` are informative only."""

    first: int
    last: int
    span_count: int = 0
    root_seen: bool = False


class SourceRange(msgspec.Struct, array_like=True, gc=False):
    """The records of one source partition that contributed facts to a chain; both offsets are inclusive."""

    topic: str
    partition: int
    first_offset: int
    last_offset: int


# Positional: one is made for each verdict of a window; see `topics.records.facts.Fact`.
class LastVerdict(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The last verdict of a rule on a chain; `revision` is that of its last signal, None before the first signal.

    `excepted`: the rule is not applicable, and only because of an exception. `withheld`: its first signal was not
    published, so no amendment will be either.
    """

    verdict: str
    revision: int | None
    created_ms: int | None
    excepted: bool = False
    withheld: bool = False


# Positional: one is made for each window; see `topics.records.facts.Fact`.
class Chain(msgspec.Struct, array_like=True, gc=False):
    """Everything that is remembered of one trace: its facts, its open window if it has one, and the last verdicts.

    `required_offset` is a facts offset from which the log suffices to rebuild the chain. `due` is the tick of its next
    timer. `headless`: the trace had already exceeded the longest duration of a chain when this chain began.
    `input_lost`: input was lost during its time, or the timestamp of some of its input is not trusted.
    `hit_max_duration`: one of its windows reached the longest duration. `last_verdicts` is keyed by rule id and
    fingerprint. `present_since` is the tick since which the trace was known to exist before this chain began, None when
    it was not (`streams.windows.presence`).
    """

    first: int
    last: int
    required_offset: int
    due: int
    headless: bool = False
    input_lost: bool = False
    hit_max_duration: bool = False
    window: Window | None = None
    facts: dict[bytes, AtomFacts] = msgspec.field(default_factory=dict)
    last_verdicts: dict[str, LastVerdict] = msgspec.field(default_factory=dict)
    sources: list[SourceRange] = msgspec.field(default_factory=list)
    present_since: int | None = None

    @property
    def known_from(self) -> int:
        """The tick since which the trace is known to exist, hits or none; never later than its first arrival."""
        return self.first if self.present_since is None else self.present_since

    def next_due(self, bounds: Bounds) -> int:
        """Return the tick at which the chain must be handled if nothing more arrives."""
        end = self.first + bounds.max_duration + bounds.lateness
        if self.window is not None:
            return min(self.window.last + bounds.gap + 1, self.window.first + bounds.max_duration, end)
        return min(self.expires_at(bounds), end)

    def expires_at(self, bounds: Bounds) -> int:
        """Return the tick from which another arrival of the trace begins a new chain."""
        return self.last + bounds.gap + bounds.lateness + 1

    def add_source(self, topic: str, partition: int, first_offset: int, last_offset: int) -> None:
        """Extend the range of a source partition."""
        if not self.sources:
            self.sources.append(SourceRange(topic, partition, first_offset, last_offset))
            return
        for source in self.sources:
            if source.topic == topic and source.partition == partition:
                source.first_offset = min(source.first_offset, first_offset)
                source.last_offset = max(source.last_offset, last_offset)
                return
        self.sources.append(SourceRange(topic, partition, first_offset, last_offset))
        self.sources.sort(key=lambda source: (source.topic, source.partition))


# Positional: one is made for each window that closes; see `topics.records.facts.Fact`.
class EndedChain(msgspec.Struct, array_like=True, frozen=True):
    """A removed chain that did not simply go quiet: it, or one of its windows, reached the longest duration.

    A worker that reads the facts log again from the middle of such a trace would take its tail for a new trace. It
    therefore ignores arrivals below tick `until`, and marks a chain that begins below `headless_until` as headless. The
    arrivals came from facts messages `[first_offset, last_offset]`. `merged_with` lets one marker cover several chains
    of a trace. `known_from` is that of the chain; a headless chain inherits it.
    """

    trace_id: bytes
    until: int
    headless_until: int
    first_offset: int
    last_offset: int
    known_from: int | None = None

    def merged_with(self, older: EndedChain | None) -> EndedChain:
        """Merge this marker with an older one of the same trace.

        A worker that starts reading inside either chain must ignore both.
        """
        if older is None:
            return self
        return EndedChain(
            self.trace_id,
            self.until,
            self.headless_until,
            min(self.first_offset, older.first_offset),
            max(self.last_offset, older.last_offset),
            self.known_from,
        )
