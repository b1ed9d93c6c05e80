"""One facts partition as a state machine: facts messages in offset order in, closed windows out.

It reads no clock and does no I/O: its state is a function of the messages it was given. It can be recreated in two
ways, and then continues as if nothing had happened:

    with local state       from a `Position` and the chains stored with it: messages that were still buffered are read
                           again, and what was applied before is recognised by its tick
    without local state    from the first resume point of a `Position` alone: the log from there on has everything that
                           any chain requires
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from streams.errors import StateError
from streams.windows.chain import EndedChain
from streams.windows.clock import Clock, SectionOrigin, Source
from streams.windows.close import Close
from streams.windows.lost_facts import LostFacts
from streams.windows.positions import Position, ResumePoint, StoredProgress
from streams.windows.reorder import Arrival
from streams.windows.rule_times import RulesOf, RuleTimes
from streams.windows.sessions import LostTime, Sessions
from topics.records.facts import TICK_MS, TOUCH_BYTES, VERSION, Entry, Facts, Section, touch_runs

MAX_RESUME_POINTS = 64
RECENT_RESUME_POINTS = 8
MAX_ENDED_CHAINS = 5_000


class Partition:
    """Clock, sessions and position of one facts partition.

    `late_count` counts entries and touches that arrived below the clock, which are applied at the clock's tick;
    `stale_count` counts sections of an ingest worker that was replaced long ago, which are ignored; `evicted_count`
    counts traces that were forgotten because of the disk limit. `hourly_signals` is what was published of the closes so
    far; it starts as the position has it, and the publisher updates it. `rules` knows from when each rule may judge,
    and `rules_changed_count` how often that changed.
    """

    def __init__(
        self,
        topics: tuple[str, ...],
        sessions: Sessions,
        rules_of: RulesOf,
        *,
        out_of_order_ms: int,
        position: Position,
    ) -> None:
        """Start at a position whose chains `sessions` has; it has none at a first start or after a lost store."""
        point = position.resume_point
        self.sessions = sessions
        self.sessions.applied_tick = position.applied_tick
        if position.applied_tick is None and point.clock_ms is not None and point.generation == position.generation:
            self.sessions.applied_tick = point.clock_ms // TICK_MS
        self.sessions.lost = list(point.lost)
        progress = {(at.topic, at.partition): at.progress for at in point.progress}
        self.clock = Clock(topics, progress, point.clock_ms, point.generation)
        self.next_offset = point.facts_offset
        self.rules = point.rules.copy()
        # A cache: a lookup in the rule times is linear in the number of sources.
        self._projected_with: dict[Source, tuple[str, int | None, int | None]] = {}
        self._log_start_missing = point.log_start_missing
        self.late_count = self.stale_count = self.evicted_count = self.rules_changed_count = 0
        self.hourly_signals = position.resume_points[-1].hourly_signals
        self._rules_of = rules_of
        self._lost_facts = LostFacts(point.facts_lost, out_of_order_ms=out_of_order_ms)
        self._out_of_order_ms = out_of_order_ms
        self._resume_points = list(position.resume_points)
        self._stored = position
        self._evictions = sorted(set(position.evictions))
        self._update_presence_tracking()

    @property
    def is_recovering(self) -> bool:
        """Whether messages below the stored position are being read again."""
        return self.next_offset < self._stored.next_offset

    def apply(self, offset: int, facts: Facts) -> Iterator[Close]:
        """Apply the message at `offset` and yield the windows that close by it; a message seen before yields nothing.

        Raises:
            StateError: messages are missing, of the facts log or of a source partition.
        """
        if offset < self.next_offset:
            return
        if offset > self.next_offset:
            raise _gap_error(offset, self.next_offset)
        if offset in self._evictions:
            yield from self._evict()
        clock_ms = self.clock.now_ms
        for section in facts.sections:
            origin = self.clock.classify(section)
            if origin is SectionOrigin.STALE:
                self.stale_count += 1
                continue
            if origin is SectionOrigin.NEW_GENERATION:
                yield from self._start_generation(section)
                clock_ms = None
            if self.clock.generation < self._stored.generation:
                # The chains are of a later generation already; only the progress of the sources is needed.
                self.clock.advance(section)
                continue
            self._note_rules(section, facts.rules)
            self._note_missing_log_start(section)
            self._note_lost(section)
            self._buffer_section(offset, section, None if clock_ms is None else clock_ms // TICK_MS)
        self.next_offset = offset + 1
        clock_ms = self.clock.tick()
        self._log_start_missing &= clock_ms is None
        if clock_ms is not None and self.clock.generation >= self._stored.generation:
            yield from self.sessions.advance(clock_ms, offset)
            self._forget_lost(clock_ms)

    def lose(self, to_offset: int) -> Iterator[Close]:
        """Pass over the facts messages below `to_offset`, which cannot be read; yield what an eviction there closes.

        What they had counts as lost input of every source partition, see `streams.windows.lost_facts`.
        """
        if to_offset <= self.next_offset:
            return
        for offset in range(self.next_offset, to_offset):
            yield from self.apply(offset, Facts(version=VERSION, rules="", sections=[]))
        self._lost_facts.note(self.clock)
        # Of sources that are not known yet, the first facts may be lost.
        self._log_start_missing |= self.clock.now_ms is None

    def marked(self, facts: Facts) -> Facts:
        """Return the next message, with what was lost before it."""
        if not self._lost_facts.sources:
            return facts
        sections = [
            self._lost_facts.marked(section, self.clock, has_open_loss=self._has_open_loss(section))
            for section in facts.sections
        ]
        return msgspec.structs.replace(facts, sections=sections)

    def _has_open_loss(self, section: Section) -> bool:
        source = (section.topic, section.partition)
        return any(lost.to_ms is None and (lost.topic, lost.partition) == source for lost in self.sessions.lost)

    def evict(self) -> None:
        """Schedule the removal of all chains and presences before the next message, because they exceed the disk limit.

        The eviction is part of the next position, so it happens before the same message for every later reader of the
        log. Open windows close as incomplete. From then on it is as if reading had started there: no rule judges a
        trace that could have begun earlier.
        """
        if not self.is_recovering and self.next_offset not in self._evictions:
            self._evictions.append(self.next_offset)

    def position(self, required_from: int | None = None) -> Position:
        """Return the position to store together with the chains of this moment.

        A worker that resumes from it reads from facts offset `required_from` or below, if that is given.
        """
        if self.is_recovering:
            return self._stored
        self.add_resume_point()
        required = _lowest(self.sessions.buffer.lowest_offset(), required_from)
        self._drop_resume_points(required_from)
        return Position(
            next_offset=self.next_offset,
            applied_tick=self.sessions.applied_tick,
            buffered_from_offset=self.next_offset if required is None else required,
            generation=self.clock.generation,
            resume_points=list(self._resume_points),
            ended_chains=list(self.sessions.ended.values()),
            long_presences=self.sessions.presences.long_presences(),
            evictions=list(self._evictions),
        )

    def add_resume_point(self) -> None:
        """Add a resume point at the next message, unless messages are being read again and it is known already."""
        if self.is_recovering or self._resume_points[-1].facts_offset == self.next_offset:
            return
        if len(self._resume_points) >= MAX_RESUME_POINTS:
            # While one source partition holds the clock for hours, a resume point a second would accumulate, and every
            # step would store all of them.
            self._resume_points = [
                *self._resume_points[:-RECENT_RESUME_POINTS:2],
                *self._resume_points[-RECENT_RESUME_POINTS:],
            ]
        progress = [StoredProgress(*source, each) for source, each in sorted(self.clock.progress.items())]
        clock = self.clock
        self._resume_points.append(
            ResumePoint(
                facts_offset=self.next_offset,
                clock_ms=clock.now_ms,
                generation=clock.generation,
                progress=progress,
                lost=list(self.sessions.lost),
                rules=self.rules.copy(),
                hourly_signals=self.hourly_signals,
                log_start_missing=self._log_start_missing,
                facts_lost=sorted(self._lost_facts.sources),
            )
        )

    def _drop_resume_points(self, required_from: int | None) -> None:
        """Drop the resume points before the last one from which everything can be rebuilt with few ended chains."""
        sessions = self.sessions
        required = _lowest(sessions.lowest_required_offset(), required_from)
        for at in range(len(self._resume_points) - 1, 0, -1):
            offset = self._resume_points[at].facts_offset
            if (required is None or offset <= required) and len(self._straddling(offset)) <= MAX_ENDED_CHAINS:
                del self._resume_points[:at]
                break
        first_offset, applied = self._resume_points[0].facts_offset, sessions.applied_tick or 0
        expired = [
            trace_id
            for trace_id, ended in sessions.ended.items()
            if ended.last_offset < first_offset and ended.headless_until <= applied
        ]
        for trace_id in expired:
            del sessions.ended[trace_id]
        sessions.presences.drop_ended(first_offset)
        self._evictions = [each for each in self._evictions if each >= first_offset]

    def _straddling(self, offset: int) -> list[EndedChain]:
        """Return the ended chains that a reader from `offset` would see in part, or that still make others headless."""
        applied = self.sessions.applied_tick or 0
        return [
            ended
            for ended in self.sessions.ended.values()
            if ended.first_offset < offset and (ended.last_offset >= offset or ended.headless_until > applied)
        ]

    def _start_generation(self, section: Section) -> Iterator[Close]:
        """End the chains older than the section's start, and forget the others, which will be read again."""
        if self.clock.generation > self._stored.generation:
            if section.start_ms is not None:
                yield from self.sessions.end(before=section.start_ms // TICK_MS)
            self.sessions.reset()
        self.sessions.lost = []
        self.rules = RuleTimes()
        # The first facts of the new generation may be among those that are lost.
        self._log_start_missing = bool(self._lost_facts.sources)
        self._projected_with.clear()
        missing_until_ms = self.clock.missing_until_ms()
        if missing_until_ms is not None:
            # From sources that have joined the new generation already.
            self.rules.note_missing(missing_until_ms)
        self._update_presence_tracking()

    def _evict(self) -> Iterator[Close]:
        clock_ms = self.clock.now_ms
        if clock_ms is None or self.clock.generation < self._stored.generation:
            return
        if not self.is_recovering:
            self.evicted_count += len(self.sessions.chains)
            yield from self.sessions.evict()
        self.rules.note_missing(clock_ms)
        self._update_presence_tracking()

    def _buffer_section(self, offset: int, section: Section, clock_tick: int | None) -> None:
        new_from = self.clock.advance(section)
        for entry in section.entries:
            if entry.offset >= new_from:
                self._buffer_entry(offset, section, entry, clock_tick)
        is_resent = section.from_offset < new_from
        for touch_tick, run in touch_runs(section.touches):
            # A touch has no offset: one below the clock may have been applied already, and must not extend a window
            # again.
            if not (is_resent and clock_tick is not None and touch_tick < clock_tick):
                tick = self._effective_tick(touch_tick, clock_tick, len(run) // TOUCH_BYTES)
                if tick is not None:
                    self.sessions.buffer.add_touches(tick, run, offset)

    def _buffer_entry(self, offset: int, section: Section, entry: Entry, clock_tick: int | None) -> None:
        tick = self._effective_tick(entry.tick, clock_tick, 1)
        if tick is not None:
            self.sessions.buffer.add(tick, Arrival(section.topic, section.partition, entry), offset)

    def _effective_tick(self, tick: int, clock_tick: int | None, count: int) -> int | None:
        """Return the tick at which to apply an arrival, or None if it was applied before the stored position."""
        if clock_tick is not None and tick < clock_tick:
            tick = clock_tick
            self.late_count += count
        applied_tick = self.sessions.applied_tick
        return None if applied_tick is not None and tick < applied_tick else tick

    def _note_rules(self, section: Section, rule_set: str) -> None:
        """Record the rule set of a section, and which records were missing when reading of its source began.

        A section may lack the time of the change: its source has had no record yet, or an older version of ingest sent
        it. What was projected with the previous set then lies at most out_of_order above the watermark sent with it.
        """
        source = (section.topic, section.partition)
        projection = (rule_set, section.rules_since_ms, section.missing_until_ms)
        is_current = self.clock.progress[source].generation == self.clock.generation
        if not is_current or self._projected_with.get(source) == projection:
            return
        before, self._projected_with[source] = self._projected_with.get(source), projection
        if section.rules_since_ms is not None:
            if not self.rules.knows(*source):
                # Which rules were active before is not known here.
                self.rules.note_missing(section.rules_since_ms)
            self.rules.note_projection(*source, rule_set, section.rules_since_ms, self._rules_of)
        elif before is None or before[0] != rule_set:
            reached_ms = self._watermark_ms(section) + self._out_of_order_ms
            self.rules.note_projection(*source, rule_set, reached_ms, self._rules_of)
        if section.missing_until_ms is not None:
            self.rules.note_missing(section.missing_until_ms)
        self._update_presence_tracking()

    def _note_missing_log_start(self, section: Section) -> None:
        """Keep rules from judging traces that may have had facts in the deleted start of the log.

        The deleted facts are of records before those of the source's first section with a watermark. Such records lie
        at most out_of_order above any later record; the watermark is that much below the highest of them.
        """
        is_first = self.clock.progress[section.topic, section.partition].watermark_ms is None
        if not self._log_start_missing or not is_first or section.watermark_ms is None or section.from_offset == 0:
            return
        ticks = [entry.tick for entry in section.entries] + [tick for tick, _ in touch_runs(section.touches)]
        earliest_ms = (min(ticks) + 1) * TICK_MS if ticks else section.watermark_ms + self._out_of_order_ms
        self.rules.note_missing(earliest_ms + self._out_of_order_ms)
        self._update_presence_tracking()

    def _update_presence_tracking(self) -> None:
        """Track presences for as long as a trace may begin that some rule does not judge."""
        self.rules_changed_count += 1
        bounds = self.sessions.bounds
        reach_ms = (bounds.gap + bounds.lateness) * TICK_MS
        self.sessions.track_presence(self.rules.half_seen_until_ms(reach_ms=reach_ms))

    def _note_lost(self, section: Section) -> None:
        """Bound the time of lost input by the watermarks before and after it; known losses are not added again."""
        progress = self.clock.progress.get((section.topic, section.partition))
        applied_to = section.from_offset if progress is None else progress.applied_to
        lost = [self._loss_ended_by_watermark(lost, section) for lost in self.sessions.lost]
        from_ms = self._watermark_ms(section)
        lost += [LostTime(section.topic, section.partition, from_ms, None) for _, to in section.lost if to > applied_to]
        if section.lost_until_ms is not None:
            # This is sent with the first record after the loss, so before the clock can pass the loss.
            lost = [self._loss_ended(each, section, section.lost_until_ms) for each in lost]
        self.sessions.lost = lost

    def _watermark_ms(self, section: Section) -> int:
        """Return the watermark of the section's source before this section; 0 if it had none."""
        progress = self.clock.progress.get((section.topic, section.partition))
        return 0 if progress is None or progress.watermark_ms is None else progress.watermark_ms

    def _loss_ended(self, lost: LostTime, section: Section, to_ms: int) -> LostTime:
        is_open = lost.to_ms is None and (lost.topic, lost.partition) == (section.topic, section.partition)
        return LostTime(lost.topic, lost.partition, lost.from_ms, to_ms) if is_open else lost

    def _loss_ended_by_watermark(self, lost: LostTime, section: Section) -> LostTime:
        """Derive the end of a loss from the watermark, for sections of the previous version, which do not state it."""
        if section.lost_until_ms is not None or section.watermark_ms is None or section.watermark_ms <= lost.from_ms:
            return lost
        # The watermark lies out_of_order below the highest record after the loss, and a lost record at most
        # out_of_order above that one.
        return self._loss_ended(lost, section, section.watermark_ms + 2 * self._out_of_order_ms)

    def _forget_lost(self, clock_ms: int) -> None:
        bounds = self.sessions.bounds
        oldest_ms = clock_ms - (2 * (bounds.gap + bounds.lateness) + bounds.max_duration + 2) * TICK_MS
        if any(lost.to_ms is not None and lost.to_ms <= oldest_ms for lost in self.sessions.lost):
            present_since = self.sessions.presences.oldest()
            if present_since is not None:
                # A trace that is still present may have lost a record then.
                oldest_ms = min(oldest_ms, (present_since - bounds.gap - bounds.lateness) * TICK_MS - 1)
            self.sessions.lost = [lost for lost in self.sessions.lost if lost.to_ms is None or lost.to_ms > oldest_ms]


def _lowest(*offsets: int | None) -> int | None:
    return min((offset for offset in offsets if offset is not None), default=None)


def _gap_error(offset: int, next_offset: int) -> StateError:
    return StateError(
        f"facts continue at offset {offset}, but the state ends at {next_offset}: the store is gone or "
        "belongs to another log",
        action="stop all workers of the group, then start one: it rebuilds the state from the facts log",
    )
