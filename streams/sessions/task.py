"""The task of one facts partition: its state machine, its store, its publisher, and what the next step must do.

In: facts messages. Out: signals, counts, coverage and checkpoints, sent as windows close and committed with the next
step. Outcomes of messages below `published_to` were published before, by this or another worker: they only update
state.

Of the input since the last coverage record, the checkpoint has only the number of closed windows. Everything else is in
the facts log, which is therefore read again from the end of that record, with a store and without.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import msgspec
import structlog

from dsl import RuleSet
from streams.config.settings import Settings
from streams.errors import StateError
from streams.kafka.unreadable import UnreadableRange
from streams.observe import metrics
from streams.rules import registry
from streams.rules.registry import RuleSets
from streams.sessions import recovery
from streams.sessions.counts import VerdictTally
from streams.sessions.coverage import CoverageTally, Judging, judging_rules
from streams.sessions.publish import Publisher
from streams.sessions.quota import SignalQuota
from streams.sessions.summaries import Summaries, summary
from streams.windows.close import Close, CloseReason
from streams.windows.outcomes import Outcome, evaluate_close, rule_text, withhold
from streams.windows.partition import Partition
from streams.windows.positions import Position
from streams.windows.rocksdb import Store
from topics.records import checkpoints, facts, signals, verdicts
from topics.records.checkpoints import Checkpoint, Holder, Hour, JudgingTimes, PartitionStatus, Withheld
from topics.records.facts import TICK_MS
from topics.records.verdicts import JudgingRule
from topics.signals.finding import HOUR_MS, Finding

log = structlog.get_logger()

CHECKPOINT_S = 10.0
"""The longest time between two checkpoints while the state advances, even if nothing else is published.

A change of the time from which rules judge is checkpointed at once: whoever pushed the rules waits for it.
"""


RESUME_POINT_EVERY = 256
"""During a rebuild no step is stored; without resume points, a second crash would start the rebuild over."""


class PartitionTask:
    """A facts partition while this worker has it.

    `topic_id` is the facts log's, `last` the checkpoint it resumes from, None if there is none; `counted` is the one
    whose counts continue, which may be of an earlier log. Everything below facts offset `published_to` is published; no
    checkpoint requires the log below `trim_below`. `rule_set` is the fingerprint of the set that the last facts message
    was projected with.
    """

    def __init__(
        self,
        settings: Settings,
        known: RuleSets,
        topic_id: str,
        number: int,
        partition: Partition,
        store: Store,
        publisher: Publisher,
        last: Checkpoint | None,
        counted: Checkpoint | None,
    ) -> None:
        self.number = number
        self.partition = partition
        self.published_to = 0 if last is None else last.published_to
        self.rule_set: str | None = None
        self.trim_below = 0
        self._settings = settings
        self._known = known
        self._topic_id = topic_id
        self._store = store
        self._publisher = publisher
        self._reach_ms = settings.gap_ms + settings.lateness_ms
        self._verdicts = VerdictTally(number, None if counted is None else counted.counted)
        self._first_generation = 0
        if counted is not None:
            self._first_generation = counted.generation + 1 if last is None else counted.first_generation
        covered = recovery.decode_covered(number, last or counted)
        if last is None and covered is not None:
            # A new generation: it has the rest of the log, and its input continues from where the previous one was
            # covered.
            reached_ms = max(covered.reached_ms, covered.to_ms)
            covered = msgspec.structs.replace(
                covered, facts_to=partition.next_offset, windows_judged=0, reached_ms=reached_ms
            )
        self._coverage = CoverageTally(number, partition.next_offset, covered)
        self._quota = SignalQuota.shared(settings, number, partition.hourly_signals)
        self.summaries = Summaries(
            number,
            settings.facts_partitions,
            topic_id,
            counted,
            is_limited=settings.signals_per_hour is not None,
        )
        self._clock_gauges = metrics.ClockShown(number)
        self._judged = metrics.Judged()
        self._judges_from: dict[str, int] = {}
        self._judging_times = JudgingTimes([])
        self._judging_at = -1
        self._stepped_to = partition.next_offset
        self._checkpointed_s = time.monotonic()
        self._checkpointed_rules = partition.rules_changed_count
        self._checkpoint: Checkpoint | None = None
        self._position: Position | None = None
        self._generation_before, self._replay_before = self._generation, partition.clock.replay
        self._ended_ms: dict[int, int] = {}
        """The last clock of each generation that ended."""
        self._has_output = False
        self._shares = settings.facts_partitions
        self._memory_bytes = settings.window_memory_bytes // self._shares

    @property
    def is_durable(self) -> bool:
        """Whether every message that was processed is in the store."""
        return not self._is_recovering and self.partition.next_offset == self._stepped_to

    @property
    def _is_recovering(self) -> bool:
        return self.partition.is_recovering or self.partition.next_offset < self.published_to

    def judges_from(self) -> dict[str, int]:
        """Return from when each rule judges, as `RuleTimes.judges_from`; the same object until that changes."""
        self._note_judging()
        return self._judges_from

    def close(self) -> None:
        """Release the publisher and the store; what no step stored is discarded."""
        self._publisher.close()
        self._store.close()
        self._clock_gauges.hide()

    def process(self, offset: int, value: bytes) -> None:
        """Process one facts message, and send the outcomes of the windows that it closes.

        Raises:
            NotDoneError: the brokers do not accept them, or the rules that the message names cannot be found yet.
            StateError: the message cannot be read, or messages before it are missing.
        """
        if facts.is_foreign(value):
            self._skip_foreign(offset)
            return
        message = self._read(offset, value)
        rules = self._rules(message.rules)
        self.rule_set = message.rules
        partition = self.partition
        publishes = offset >= self.published_to
        is_new = offset >= partition.next_offset
        if is_new:
            message = partition.marked(message)
        self._generation_before, self._replay_before = self._generation, partition.clock.replay
        before_ms = partition.clock.now_ms
        late_count, stale_count = partition.late_count, partition.stale_count
        evicted_count = partition.evicted_count
        windows_judged = 0
        with metrics.STAGE.labels("apply").time():
            for close in partition.apply(offset, message):
                self._evaluate(close, rules, publishes=publishes)
                windows_judged += publishes
        if self._generation != self._generation_before and before_ms is not None:
            self._coverage.reach(before_ms)
            self._ended_ms[self._generation_before] = before_ms
        metrics.add_judged(self._judged)
        if is_new:
            self._coverage.apply(offset, message, windows_judged)
        # The checkpoint counts closed windows, so it must not be older than the store that has them.
        self._has_output |= bool(windows_judged)
        partition.sessions.buffer.spill(self._memory_bytes // 4)
        if not publishes and offset % RESUME_POINT_EVERY == 0:
            partition.add_resume_point()
        if publishes:
            metrics.LATE_TO_CLOCK.inc(partition.late_count - late_count)
            metrics.STALE_SECTIONS.inc(partition.stale_count - stale_count)
            metrics.TRACES_EVICTED.inc(partition.evicted_count - evicted_count)

    def lose(self, lost: UnreadableRange) -> None:
        """Pass over facts messages that no client can read: what they had is lost input of every source partition."""
        partition = self.partition
        if lost.to_offset <= partition.next_offset:
            return
        count = lost.to_offset - partition.next_offset
        metrics.FACTS_LOST.inc(count)
        log.error(
            "facts messages cannot be read and are lost: traces of that time are undetermined where it matters",
            partition=self.number,
            offset=partition.next_offset,
            to_offset=lost.to_offset,
            error=lost.reason,
            help="the evidence has the lost source records; to judge that time again, replay it with betrace replay",
        )
        for close in partition.lose(lost.to_offset):
            rule_set = self.rule_set or min(partition.rules.rule_sets)
            self._evaluate(close, self._rules(rule_set), publishes=partition.next_offset >= self.published_to)

    def required_checkpoints(self) -> frozenset[int]:
        """Return the facts partitions whose last checkpoints it requires, for `receive_checkpoints`."""
        return frozenset() if self._is_recovering else self.summaries.required_checkpoints(self._hour)

    def receive_checkpoints(self, checkpoints: Mapping[int, Checkpoint | None]) -> None:
        """Take the checkpoints of other facts partitions."""
        self.summaries.receive_checkpoints(checkpoints)

    def prepare(self, *, is_last: bool = False) -> bool:
        """Do the first half of a step: send everything due in the open transaction; return False if nothing is to do.

        The last step of a regular stop also sends a coverage record, due or not, so that evidence does not end earlier.
        """
        clock_ms = self.partition.clock.now_ms
        has_unreported = is_last and self._coverage.has_unreported(clock_ms, self.partition.next_offset)
        if self._is_recovering or (self.is_durable and not has_unreported):
            return False
        self._limit_disk()
        self._send_counts(clock_ms or 0)
        for withheld in self.summaries.take(self._hour):
            self._send_summary(withheld)
        if clock_ms is not None and (has_unreported or self._coverage.is_due(clock_ms, self._generation)):
            self._send_coverage(clock_ms)
        self._position = msgspec.structs.replace(
            self.partition.position(self._coverage.facts_from),
            counted=self._verdicts.counted,
            covered=msgspec.msgpack.encode(self._coverage.current),
        )
        is_other = self._checkpointed_rules != self.partition.rules_changed_count
        if self._has_output or is_other or time.monotonic() - self._checkpointed_s >= CHECKPOINT_S:
            self._send_checkpoint(self._position)
        return True

    def _limit_disk(self) -> None:
        """Evict everything if it exceeds the disk limit; the checkpoint of this step has the eviction."""
        limit_bytes, stored_bytes = self._settings.window_disk_bytes, self.partition.sessions.stored_bytes
        if limit_bytes is not None and stored_bytes > limit_bytes // self._shares:
            log.warning(
                "windows exceed --window-disk, closing all windows of the partition as incomplete",
                partition=self.number,
                bytes=stored_bytes,
            )
            self.partition.evict()
            self._has_output = True

    def commit(self) -> None:
        """Commit the transaction; this may run in a thread of its own."""
        with metrics.STAGE.labels("publish").time():
            self._publisher.commit()

    def flush_state(self, tasks: int) -> None:
        """Do the second half of a step, after `commit`: write the state to the store, and limit the memory.

        `tasks` is the number of facts partitions that share memory and disk.
        """
        self._memory_bytes = self._settings.window_memory_bytes // tasks
        self._shares = tasks
        if self._checkpoint is not None:
            self.published_to, self.trim_below = self._checkpoint.published_to, self._checkpoint.start_offset
            self._checkpointed_s = time.monotonic()
            self._checkpoint, self._has_output = None, False
        if self._position is not None:
            with metrics.STAGE.labels("store").time():
                sessions = self.partition.sessions
                self._store.write(sessions.chains, self._position, sessions.presences)
            self._stepped_to, self._position = self._position.next_offset, None
        self.partition.sessions.cool(self._memory_bytes)
        clock = self.partition.clock
        self._clock_gauges.show(clock.now_ms, clock.held_by(), self.partition.sessions.open_windows)

    def _skip_foreign(self, offset: int) -> None:
        """Skip a message that is not ours.

        If it was a flush after all, the next section of a source will not continue where the previous one ended, and
        sessions stops there.
        """
        metrics.FACTS_PASSED_OVER.inc()
        log.warning(
            "a message on the facts topic is not a facts message, skipped",
            partition=self.number,
            offset=offset,
            help="check which other clients have write access to this topic",
        )
        for close in self.partition.apply(offset, facts.Facts(version=facts.VERSION, rules="", sections=[])):
            rule_set = self.rule_set or min(self.partition.rules.rule_sets)
            self._evaluate(close, self._rules(rule_set), publishes=offset >= self.published_to)

    def _read(self, offset: int, value: bytes) -> facts.Facts:
        try:
            return facts.decode(value)
        except msgspec.DecodeError as error:
            raise StateError(
                f"facts message {self.number}/{offset} cannot be read: {error}",
                action="upgrade sessions, then start again",
            ) from error

    def _rules(self, rule_set: str) -> RuleSet:
        """Return a rule set, fetching one that was pushed since the start: nothing can be judged without it."""
        registry.fetch(self._settings, self._known, [rule_set])
        self.partition.sessions.counted = self._known.counted()
        return self._known.sets[rule_set]

    def _evaluate(self, close: Close, rules: RuleSet, *, publishes: bool) -> None:
        """Evaluate a close; unless `publishes`, its outcomes were published before and only update state."""
        judging = self.partition.rules.judging(
            self._known.rule_fingerprints, chain_first_ms=close.known_from_ms, reach_ms=self._reach_ms
        )
        for outcome in evaluate_close(close, rules, judging, reach_ms=self._reach_ms):
            # Also for what was published before: no other record says whether it was withheld.
            finding = self._admitted(close, outcome, publishes=publishes)
            if publishes:
                self._count(close, outcome)
            if publishes and finding is not None:
                self._send_signal(finding, self.number)
                if not self._was_counted_before(close):
                    metrics.SIGNALS.labels(outcome.rule.id, outcome.rule.severity.value).inc()
        self.partition.hourly_signals = self._quota.hourly_signals
        if publishes and not self._was_counted_before(close):
            self._judged.closed[close.reason.value] += 1

    def _count(self, close: Close, outcome: Outcome) -> None:
        # Windows that end because everything is read again belong to the earlier generation.
        is_over = close.reason is CloseReason.END_OF_INPUT
        self._verdicts.add_outcome(self._generation_before if is_over else self._generation, close, outcome)
        if self._was_counted_before(close):
            return
        if outcome.excepted > 0:
            metrics.EXCEPTED.labels(outcome.rule.id).inc()
        if outcome.previous != outcome.verdict:
            self._judged.verdicts[outcome.rule.id, outcome.verdict] += 1

    def _admitted(self, close: Close, outcome: Outcome, *, publishes: bool) -> Finding | None:
        finding = outcome.finding
        if finding is None:
            return None
        # Windows that end because everything is read again belong to the earlier reading.
        is_over = close.reason is CloseReason.END_OF_INPUT
        replay = self._replay_before if is_over else self.partition.clock.replay
        is_admitted = self._quota.admit(finding, replay)
        if publishes:
            self._verdicts.note_signal(is_published=is_admitted)
        if is_admitted:
            return finding
        withhold(close.chain, outcome.rule)
        if publishes:
            metrics.SIGNALS_WITHHELD.labels(outcome.rule.id).inc()
            self.summaries.add(Hour(self._topic_id, *self._quota.hour), finding, self.rule_set or "")
        return None

    def _was_counted_before(self, close: Close) -> bool:
        """Return whether an earlier generation had come this far, so that metrics have counted the close already."""
        return (
            self._generation > 0
            and close.reason is not CloseReason.END_OF_INPUT
            and close.closed_ms <= self._coverage.reached_ms
        )

    def _send_summary(self, withheld: Withheld) -> None:
        """Send a summary to the partition to which the first finding would have gone, next to its verdict."""
        rules = self._rules(withheld.first.rule_set)
        rule = next(rule for rule in rules.rules if rule.id == withheld.rule)
        self._send_signal(summary(withheld, rule_text(rule)), withheld.first.partition)
        metrics.SIGNALS.labels(rule.id, rule.severity.value).inc()

    def _send_signal(self, finding: Finding, number: int) -> None:
        record = signals.record(
            finding,
            logged_ms=time.time_ns() // 1_000_000,
            source=self._settings.group("sessions"),
            format=self._settings.signal_format,
        )
        self._send("signals", record.key, record.value, record.headers, number=number)

    @property
    def _hour(self) -> Hour:
        """The hour that the clock has reached: nothing that closes from here on counts in an earlier one."""
        clock = self.partition.clock
        return Hour(self._topic_id, clock.replay, (clock.now_ms or 0) // HOUR_MS)

    @property
    def _generation(self) -> int:
        return self._first_generation + self.partition.clock.generation

    def _send_counts(self, clock_ms: int) -> None:
        for counts, value in self._verdicts.take(clock_ms, self._ended_ms):
            self._send("verdicts", counts.rule.encode(), value)

    def _send_coverage(self, clock_ms: int) -> None:
        sessions = self.partition.sessions
        self._coverage.note_missing(self.partition.rules.missing_until_ms)
        judging = Judging(
            generation=self._generation,
            clock_ms=clock_ms,
            settled_ms=min((sessions.settled_tick() or 0) * TICK_MS, clock_ms),
            final_ms=min((sessions.final_tick() or 0) * TICK_MS, clock_ms),
            rules=self._judging_rules(clock_ms),
            counted=self._verdicts.counted,
        )
        self._send("verdicts", None, verdicts.encode(self._coverage.take(judging, self.partition.next_offset)))

    def _judging_rules(self, clock_ms: int) -> list[JudgingRule]:
        """Return the rules that judge; in a new generation, none judges what could have begun before its start."""
        sets = self._coverage.rule_sets | ({self.rule_set} if self.rule_set else frozenset())
        judges_from = self.judges_from()
        start_ms = self._coverage.start(self._generation, clock_ms)
        least_ms = 0 if start_ms is None else start_ms + self._reach_ms + 1
        return judging_rules([self._known.sets[name] for name in sets], judges_from, least_ms)

    def _send_checkpoint(self, position: Position) -> None:
        rebuilt = position.without_local_state()
        self._checkpointed_rules = self.partition.rules_changed_count
        self._checkpoint = Checkpoint(
            version=checkpoints.VERSION,
            topic_id=self._topic_id,
            published_to=position.next_offset,
            start_offset=rebuilt.next_offset,
            start=msgspec.msgpack.encode(rebuilt),
            covered=msgspec.msgpack.encode(self._coverage.current),
            status=self._status(),
            hourly_signals=self._quota.hourly_signals,
            counted=self._verdicts.counted,
            first_generation=self._first_generation,
            generation=self._generation,
            withheld=self.summaries.withheld,
            reached=self._hour,
            summarized_to=self.summaries.summarized_to,
        )
        self._send("checkpoints", checkpoints.key(self.number), checkpoints.encode(self._checkpoint))

    def _status(self) -> PartitionStatus:
        self._note_judging()
        clock = self.partition.clock
        holder = clock.held_by()
        progress = None if holder is None else clock.progress.get(holder)
        return PartitionStatus(
            clock_ms=clock.now_ms,
            held_by=None if holder is None else Holder(*holder, None if progress is None else progress.watermark_ms),
            open_windows=self.partition.sessions.open_windows,
            rules=self.rule_set,
            judging=self._judging_times,
        )

    def _note_judging(self) -> None:
        """Recompute from when rules judge, if that changed: with thousands of rules it takes milliseconds."""
        partition = self.partition
        if self._judging_at == partition.rules_changed_count:
            return
        self._judging_at = partition.rules_changed_count
        self._judges_from = partition.rules.judges_from(self._known.rule_fingerprints, reach_ms=self._reach_ms)
        self._judging_times = JudgingTimes.of(partition.rules.rule_sets, self._judges_from)

    def _send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes,
        headers: Sequence[tuple[str, str | bytes | None]] = (),
        *,
        number: int | None = None,
    ) -> None:
        self._publisher.send(
            self._settings.topic(topic), self.number if number is None else number, key, value, headers
        )
        self._has_output = True
