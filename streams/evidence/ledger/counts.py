"""Checks that counts records form a chain without contradictions.

    chain      each record of a facts partition has the next number, and names the hash of the one before it
    stated     each coverage record states the chain as it is up to there
    sums       nothing is retracted that was not added; a rule gives a window one verdict at most
    clock      time and generation never go back, and no chain began after the clock
    backfill   it begins with its first record, and judges no time twice
    signals    for each live verdict that calls for a signal one was published or withheld

In: the records of `betrace.verdicts`, those of each origin and facts partition in order. Out: sentences about what is
wrong. A pass that begins in the middle does not know what came before; `join` compares the end of one pass with the
start of the next.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from msgspec.structs import replace

from streams.config.units import iso_ms
from topics.records import verdicts
from topics.records.verdicts import (
    NO_VERDICTS,
    Counted,
    Coverage,
    JudgingRule,
    VerdictCounts,
    VerdictSums,
    is_backfill,
)

HOUR_MS = 3_600_000

Key = tuple[int, str, str, str, int]
"""Generation, rule, fingerprint, mode, hour: the key of sums."""

_OTHER_SUMS = "coverage states sums that differ from those of its counts records"
_UNLISTED = "no earlier record lists the rules that judge"
_NAMES = ("held", "broken", "undetermined", "not_applicable", "excepted")


class _Balance:
    """The balance of one key since the pass began, and its minimum on the way."""

    __slots__ = ("least", "now", "where")

    def __init__(self) -> None:
        self.now = [0] * len(_NAMES)
        self.least = [0] * len(_NAMES)
        self.where = ""

    def add(self, record: VerdictCounts, where: str) -> None:
        """Add a record; its additions precede its retractions."""
        for index, name in enumerate(_NAMES):
            self.now[index] += getattr(record.added, name) - getattr(record.taken_back, name)
            if self.now[index] < self.least[index]:
                self.least[index], self.where = self.now[index], where

    def extend(self, later: _Balance) -> None:
        """Add the balance of a later pass."""
        for index, value in enumerate(self.now):
            if value + later.least[index] < self.least[index]:
                self.least[index], self.where = value + later.least[index], later.where
            self.now[index] = value + later.now[index]


@dataclass(slots=True)
class _Interval:
    """What was counted since a coverage record, to be compared with what the next one allows.

    `verdicts` are by rule and fingerprint, `due` those that call for a signal. `windows` and `signals`, the signals
    published or withheld so far, are those of the coverage record that ends the interval, None before.
    """

    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    due: int = 0
    windows: int | None = None
    signals: int | None = None

    def add(self, record: VerdictCounts) -> None:
        """Add a counts record."""
        added = record.added
        self.verdicts[record.rule, record.rule_fingerprint] += added.applicable + added.not_applicable
        if record.mode == "live":
            self.due += added.broken + added.undetermined

    def faults(self, signals_before: int) -> Iterator[str]:
        """Yield what contradicts the coverage record that ends it."""
        for (rule, _), count in self.verdicts.items():
            if self.windows is not None and count > self.windows:
                yield f"{count} verdicts of rule {rule} on {self.windows} windows"
        signals = (self.signals or 0) - signals_before
        if self.windows is not None and self.due > signals:
            yield f"{self.due} verdicts call for a signal, {signals} were published or withheld"

    def extend(self, later: _Interval) -> None:
        """Add what a later pass counted up to its first coverage record."""
        self.verdicts += later.verdicts
        self.due += later.due
        self.windows, self.signals = later.windows, later.signals


class CountsChain:
    """Checks the counts records of one facts partition in one pass.

    `initial` is the chain at the start of the pass, None if unknown: then the first record is accepted unchecked, and
    `join` compares what it follows.
    """

    def __init__(self, initial: Counted | None = None) -> None:
        self.initial = initial
        self.balances: defaultdict[Key, _Balance] = defaultdict(_Balance)
        self.signals_stated = 0
        """As stated by the last coverage record whose signals must be sealed too."""
        self._is_first = self._is_whole = initial is not None
        """Whether the sums of `initial` are known, not only its position."""
        self._reached = initial
        self._head: _Interval | None = None
        """The interval before the first coverage record, if the state before the pass is unknown."""
        self._interval = _Interval()
        self._signals_before: int | None = 0 if initial is not None else None
        """Signals published or withheld, as of the last coverage record."""
        self._first_clock: tuple[int, int] | None = None
        self._last_clock: tuple[int, int] = (0, 0)
        self._settled_from: int | None = None
        self._settled_to = 0
        """Of a backfill: the start and end of the chains that its records in this pass judge."""
        self._listed: set[str] = set()
        self._unlisted: set[str] = set()
        """Named by a record of this pass before one of its records lists them."""

    def counts(self, record: VerdictCounts, where: str, value: bytes | None = None) -> Iterator[str]:
        """Yield what is wrong with the next counts record; `value` is its bytes if known."""
        if self._reached is None:
            self.initial = self._reached = Counted(seq=record.seq, head=record.prev)
        if (record.seq, record.prev) != (self._reached.seq, self._reached.head):
            yield _not_next(record.seq, self._reached.seq)
            self._reached = replace(self._reached, seq=record.seq, head=record.prev)
        self._reached = self._reached.after(record, verdicts.encode(record) if value is None else value)
        yield from self._clock(record)
        self.balances[_key(record)].add(record, where)
        self._interval.add(record)

    def _clock(self, record: VerdictCounts) -> Iterator[str]:
        clock = (record.generation, record.clock_ms)
        if clock < self._last_clock:
            yield f"counts at {iso_ms(record.clock_ms)} come after those at {iso_ms(self._last_clock[1])}"
        if record.minute_ms > record.clock_ms:
            yield f"counts at {iso_ms(record.clock_ms)} are of traces that began at {iso_ms(record.minute_ms)}"
        self._first_clock = self._first_clock or clock
        self._last_clock = max(clock, self._last_clock)

    def coverage(self, record: Coverage, *, is_settled: bool) -> Iterator[str]:
        """Yield what is wrong with the next coverage record; if `is_settled`, its signals must be sealed too."""
        stated = record.counted
        if self._reached is None:
            self.initial = self._reached = stated
            self._is_whole = True
        reached = self._reached
        if (stated.seq, stated.head) != (reached.seq, reached.head):
            yield f"coverage states {stated.seq} counts records, there are {reached.seq}, or different ones"
        elif self._is_whole and _sums(stated) != _sums(reached):
            yield _OTHER_SUMS
        if (record.generation, record.to_ms) < self._last_clock:
            yield f"coverage up to {iso_ms(record.to_ms)} comes after counts at {iso_ms(self._last_clock[1])}"
        if is_backfill(record.origin):
            yield from self._settle(record)
        yield from self._bounds(record)
        yield from self._rules(record.rules, record.judging)
        clock = (record.generation, record.to_ms)
        self._first_clock = self._first_clock or clock
        self._last_clock = max(clock, self._last_clock)
        if not self._is_whole:
            # The sums before the pass are those stated, less those of the pass.
            self._is_whole, self.initial = True, _less(stated, reached, self.initial)
        self._reached = stated
        if is_settled:
            self.signals_stated = stated.signals

    def _settle(self, record: Coverage) -> Iterator[str]:
        """Check a settled period: live judges it again if everything is read again, a backfill judges it only once."""
        from_ms = record.settled_to_ms if record.settled_from_ms is None else record.settled_from_ms
        if from_ms < self._settled_to:
            yield _judged_twice(from_ms, self._settled_to)
        self._settled_from = from_ms if self._settled_from is None else self._settled_from
        self._settled_to = max(self._settled_to, record.settled_to_ms)

    def beginning(self) -> Iterator[str]:
        """Yield what is wrong if nothing came before this pass, which is assumed from now on."""
        if self.initial is None or self._is_first:
            return
        if (self.initial.seq, self.initial.head) != (0, None):
            yield _not_next(self.initial.seq, 0)
        elif _sums(self.initial) != (NO_VERDICTS, NO_VERDICTS):
            yield _OTHER_SUMS
        if self._head is not None:
            yield from self._head.faults(0)
        self._is_first = self._is_whole = True
        self._head, self._signals_before = None, self._signals_before or 0

    def _bounds(self, record: Coverage) -> Iterator[str]:
        """Yield what contradicts the windows and signals since the previous coverage record."""
        interval, self._interval = self._interval, _Interval()
        interval.windows, interval.signals = record.windows_judged, record.counted.signals + record.counted.withheld
        if self._signals_before is None:
            self._head = interval
        else:
            yield from interval.faults(self._signals_before)
        self._signals_before = interval.signals

    def _rules(self, rules: list[JudgingRule] | None, judging: str) -> Iterator[str]:
        if rules is not None:
            self._listed.add(judging)
        elif judging not in self._listed:
            if self._is_first:
                yield _UNLISTED
            self._unlisted.add(judging)
            self._listed.add(judging)

    def join(self, later: CountsChain) -> Iterator[str]:
        """Yield what is wrong between this pass and the next one, and append the next."""
        if self._reached is not None and later.initial is not None:
            if (later.initial.seq, later.initial.head) != (self._reached.seq, self._reached.head):
                yield _not_next(later.initial.seq, self._reached.seq)
            elif self._is_whole and later._is_whole and _sums(later.initial) != _sums(self._reached):
                yield _OTHER_SUMS
        if later._first_clock is not None and later._first_clock < self._last_clock:
            yield f"counts or coverage of {iso_ms(later._first_clock[1])} come after {iso_ms(self._last_clock[1])}"
        if later._settled_from is not None and later._settled_from < self._settled_to:
            yield _judged_twice(later._settled_from, self._settled_to)
        self._settled_to = max(self._settled_to, later._settled_to)
        self._interval.extend(later._head or later._interval)
        if later._head is not None:
            yield from self._interval.faults(self._signals_before or 0)
            self._interval = later._interval
        self._signals_before = later._signals_before or self._signals_before
        self._last_clock = max(self._last_clock, later._last_clock)
        if later._unlisted - self._listed:
            yield _UNLISTED
        for key, balance in later.balances.items():
            self.balances[key].extend(balance)
        self.signals_stated = max(self.signals_stated, later.signals_stated)
        self._reached = self._extended(later)
        self._is_whole |= later._is_whole
        self._listed |= later._listed

    def _extended(self, later: CountsChain) -> Counted | None:
        """Return the end of both together; a pass without a coverage record knows only its own sums."""
        reached, before = later._reached, self._reached
        if reached is None or before is None or later._is_whole:
            return reached or before
        added, taken_back = before.added.plus(reached.added), before.taken_back.plus(reached.taken_back)
        return replace(reached, added=added, taken_back=taken_back)

    def negative(self) -> Iterator[tuple[str, str]]:
        """Yield what was retracted without having been added, with its location."""
        for (_, rule, fingerprint, _, hour), balance in self.balances.items():
            for name, least in zip(_NAMES, balance.least, strict=True):
                if least < 0:
                    since = f"of traces that began in the hour from {iso_ms(hour * HOUR_MS)}"
                    message = f"{-least} more {name} of rule {rule} are retracted than there were, {since}"
                    yield balance.where, f"{message} (fingerprint {fingerprint})"


def _judged_twice(from_ms: int, before_ms: int) -> str:
    return f"chains that began at {iso_ms(from_ms)} are judged again; they had been judged up to {iso_ms(before_ms)}"


def _not_next(seq: int, expected: int) -> str:
    return (
        f"counts record {seq} does not follow the one before it, after which {expected} comes: records were "
        "omitted, added or changed"
    )


def _sums(counted: Counted) -> tuple[VerdictSums, VerdictSums]:
    return counted.added, counted.taken_back


def _key(record: VerdictCounts) -> Key:
    return (
        record.generation,
        record.rule,
        record.rule_fingerprint,
        record.mode,
        record.minute_ms // HOUR_MS,
    )


def _less(stated: Counted, reached: Counted, initial: Counted | None) -> Counted:
    """Return the chain at the start of the pass, computed from its first coverage record."""
    known = initial or stated
    return Counted(
        seq=known.seq,
        head=known.head,
        added=_minus(stated.added, reached.added),
        taken_back=_minus(stated.taken_back, reached.taken_back),
    )


def _minus(one: VerdictSums, other: VerdictSums) -> VerdictSums:
    if other == NO_VERDICTS:
        return one
    return VerdictSums(**{name: getattr(one, name) - getattr(other, name) for name in _NAMES})
