"""One facts partition as a state machine: facts messages in offset order in, closed windows out.

No clock, no I/O: its state is a function of the messages it was given. After `position` is stored with the chains, a
new `Partition` made from both continues as if nothing had happened; messages it is given again are told by their
offset.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from streams.errors import StateError
from streams.window.clock import Clock
from streams.window.close import Close
from streams.window.rules import RulesOf, RuleTimes
from streams.window.session import Arrival, Bounds, Chain, LostTime, Sessions
from streams.window.store import Position, Row, SourceMark
from topics.facts import TICK_MS, Entry, Facts, Section, Touch, unpack_touches

MOST_ROWS = 64


class Partition:
    """Clock, sessions and position of one facts partition; without a position it begins at `begin_offset`.

    `late_count` counts entries and touches that came below the clock: applied at the clock's tick.
    """

    def __init__(
        self,
        topics: tuple[str, ...],
        bounds: Bounds,
        counted: dict[bytes, int],
        rules_of: RulesOf,
        *,
        out_of_order_ms: int,
        begin_offset: int = 0,
        position: Position | None = None,
        chains: dict[bytes, Chain] | None = None,
    ) -> None:
        rows = position.rows if position else [Row(begin_offset, None, [])]
        marks = {(at.topic, at.partition): at.mark for at in rows[0].marks}
        self.clock = Clock(topics, marks, rows[0].clock_ms)
        self.sessions = Sessions(bounds, counted, chains)
        self.next_offset = rows[0].facts_offset
        self.rules = position.rules if position else RuleTimes()
        self.late_count = 0
        self._rules_of = rules_of
        self._out_of_order_ms = out_of_order_ms
        self._rows = deque(rows)
        self._stored_offset = position.next_offset if position else begin_offset
        if position:
            self.sessions.applied_tick = position.applied_tick
            self.sessions.lost = list(position.lost)

    @property
    def is_rereading(self) -> bool:
        """Messages are taken in again that were taken in before the last stored position."""
        return self.next_offset < self._stored_offset

    def apply(self, offset: int, facts: Facts) -> Iterator[Close]:
        """Takes in the message at `offset` and yields the windows that close by it; a known message yields nothing.

        Raises:
            StateError: messages are missing, here or in a source partition.
        """
        if offset < self.next_offset:
            return
        if offset > self.next_offset:
            raise _hole(offset, self.next_offset)
        clock_tick = None if self.clock.now_ms is None else self.clock.now_ms // TICK_MS
        for section in facts.sections:
            if not self.is_rereading:
                self._note_rules(section, facts.rules)
                self._note_lost(section)
            self._take_in(offset, section, clock_tick)
        self.next_offset = offset + 1
        clock_ms = self.clock.tick()
        if clock_ms is not None:
            yield from self.sessions.advance(clock_ms)
            self._forget_lost(clock_ms)

    def position(self) -> Position:
        """Where the partition stands, to be stored with the chains of the same moment."""
        if self.is_rereading:
            return Position(
                self._stored_offset, self.sessions.applied_tick, list(self._rows), self.sessions.lost, self.rules
            )
        lowest = self.sessions.lowest_facts_offset()
        needed = self.next_offset if lowest is None else lowest
        self._add_row()
        while len(self._rows) > 1 and self._rows[1].facts_offset <= needed:
            self._rows.popleft()
        return Position(self.next_offset, self.sessions.applied_tick, list(self._rows), self.sessions.lost, self.rules)

    def _add_row(self) -> None:
        if len(self._rows) == MOST_ROWS:
            # While one source partition holds the clock for hours, a row a second would be stored again every second.
            self._rows = deque(list(self._rows)[::2])
        if self._rows[-1].facts_offset < self.next_offset:
            marks = [SourceMark(*source, mark) for source, mark in sorted(self.clock.marks.items())]
            self._rows.append(Row(self.next_offset, self.clock.now_ms, marks))

    def _take_in(self, offset: int, section: Section, clock_tick: int | None) -> None:
        new_from = self.clock.advance(section)
        for entry in section.entries:
            if entry.offset >= new_from:
                self._place_entry(offset, section, entry, clock_tick)
        is_resent = section.from_offset < new_from
        for touch in unpack_touches(section.touches):
            # A touch has no offset: one below the clock may be applied already, and must not extend a window again.
            if not (is_resent and clock_tick is not None and touch.tick < clock_tick):
                self._place_touch(offset, touch, clock_tick)

    def _place_entry(self, offset: int, section: Section, entry: Entry, clock_tick: int | None) -> None:
        tick = self._placed(entry.tick, clock_tick)
        if tick is not None:
            arrivals = self.sessions.wait(tick, offset).arrivals
            arrivals.append(Arrival(section.topic, section.partition, entry))

    def _place_touch(self, offset: int, touch: Touch, clock_tick: int | None) -> None:
        tick = self._placed(touch.tick, clock_tick)
        if tick is not None:
            self.sessions.wait(tick, offset).touches.append(touch)

    def _placed(self, tick: int, clock_tick: int | None) -> int | None:
        """The tick at which to apply, None when that was done before the stored position."""
        if clock_tick is not None and tick < clock_tick:
            tick = clock_tick
            self.late_count += 1
        applied_tick = self.sessions.applied_tick
        return None if applied_tick is not None and tick < applied_tick else tick

    def _note_rules(self, section: Section, rule_set: str) -> None:
        """What was projected before this section lies at most out_of_order above the watermark it was sent with."""
        reached_ms = self._watermark_ms(section) + self._out_of_order_ms
        self.rules.take_in(section.topic, section.partition, rule_set, reached_ms, self._rules_of)

    def _note_lost(self, section: Section) -> None:
        """Bounds the record time of what was lost by the watermarks before and after it; what is known is not new."""
        mark = self.clock.marks.get((section.topic, section.partition))
        applied_to = section.from_offset if mark is None else mark.applied_to
        lost = [self._ended(lost, section) for lost in self.sessions.lost]
        from_ms = self._watermark_ms(section)
        lost += [LostTime(section.topic, section.partition, from_ms, None) for _, to in section.lost if to > applied_to]
        self.sessions.lost = lost

    def _watermark_ms(self, section: Section) -> int:
        """The watermark of the section's source before it; the beginning of time when it had none."""
        mark = self.clock.marks.get((section.topic, section.partition))
        return 0 if mark is None or mark.watermark_ms is None else mark.watermark_ms

    def _ended(self, lost: LostTime, section: Section) -> LostTime:
        if lost.to_ms is not None or (lost.topic, lost.partition) != (section.topic, section.partition):
            return lost
        if section.watermark_ms is None or section.watermark_ms <= lost.from_ms:
            return lost
        # The watermark lies out_of_order below the highest record after the loss, and a lost record at most that above.
        to_ms = section.watermark_ms + 2 * self._out_of_order_ms
        return LostTime(lost.topic, lost.partition, lost.from_ms, to_ms)

    def _forget_lost(self, clock_ms: int) -> None:
        bounds = self.sessions.bounds
        oldest_ms = clock_ms - (2 * bounds.gap + bounds.lateness + bounds.max_duration + 2) * TICK_MS
        self.sessions.lost = [lost for lost in self.sessions.lost if lost.to_ms is None or lost.to_ms > oldest_ms]


def _hole(offset: int, next_offset: int) -> StateError:
    return StateError(
        f"facts continue at offset {offset}, the state ends at {next_offset}: the store is gone or not of this log",
        action="stop all workers of the group, then start one: it rebuilds the state from the facts log",
    )
