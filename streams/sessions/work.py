"""One facts partition at work: its state machine, its store, its publisher, and what the next step must do.

In: facts messages. Out: signals, counts, coverage and checkpoints, sent as windows close and true with the next step.
What follows from messages below `published_to` was published before, by whoever it was: it is only remembered.

Of the input since the last coverage record only the closed windows are summed up in the checkpoint; all else is in the
facts log, which therefore is read again from where that record ends, with a store and without.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import msgspec
import structlog

from dsl import RuleSet
from streams.config.settings import Settings
from streams.errors import StateError
from streams.observe import metrics
from streams.rules import registry
from streams.rules.registry import RuleSets
from streams.sessions import takeover
from streams.sessions.counts import VerdictTally
from streams.sessions.coverage import CoverageTally, Judging, judging_rules
from streams.sessions.publish import Publisher
from streams.sessions.quota import SignalQuota
from streams.sessions.summaries import Summaries, summary
from streams.windows.close import Close, CloseReason
from streams.windows.outcomes import Outcome, outcomes, rule_text, withhold
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
"""At least so often a checkpoint is published when the state moves on, also when there is nothing to say.

One is published at once where rules judge from another moment on: whoever pushed them waits to be told."""


ROW_EVERY = 256
"""While windows are built again no step remembers where that can begin: without rows the next rebuild were as long."""


class Work:
    """A facts partition while this worker has it.

    `topic_id` is the facts log's, `last` the checkpoint it begins with, None when there is none; `counted` is the one
    whose counts go on, which may be of an earlier log. `published_to` is the
    facts offset below which all is published, `cut_below` the one below which no checkpoint needs the log any more,
    `rule_set` the fingerprint of the set that the last facts message was projected with.
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
        self.cut_below = 0
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
        covered = takeover.covered(number, last or counted)
        if last is None and covered is not None:
            # Another reading: it has what is there of the log, and its input goes on from what the one before covered.
            reached_ms = max(covered.reached_ms, covered.to_ms)
            covered = msgspec.structs.replace(
                covered, facts_to=partition.next_offset, windows_judged=0, reached_ms=reached_ms
            )
        self._coverage = CoverageTally(number, partition.next_offset, covered)
        self._quota = SignalQuota.shared(settings, number, partition.said)
        self.summaries = Summaries(
            number,
            settings.facts_partitions,
            topic_id,
            counted,
            is_limited=settings.signals_per_hour is not None,
        )
        self._shown = metrics.ClockShown(number)
        self._judged = metrics.Judged()
        self._judges_from: dict[str, int] = {}
        self._judging_times = JudgingTimes([])
        self._judging_noted = -1
        self._stepped_to = partition.next_offset
        self._checkpointed_s = time.monotonic()
        self._checkpointed_rules = partition.rules_changed_count
        self._checkpoint: Checkpoint | None = None
        self._position: Position | None = None
        self._generation_before, self._replay_before = self._generation, partition.clock.replay
        self._ended_ms: dict[int, int] = {}
        """How far the clock of each generation came that ended."""
        self._has_output = False
        self._shares = settings.facts_partitions
        self._memory_bytes = settings.window_memory_bytes // self._shares

    @property
    def is_durable(self) -> bool:
        """Every message that was taken in is in the store."""
        return not self._is_behind and self.partition.next_offset == self._stepped_to

    @property
    def _is_behind(self) -> bool:
        return self.partition.is_rereading or self.partition.next_offset < self.published_to

    def judges_from(self) -> dict[str, int]:
        """From when each rule judges, as `RuleTimes.judges_from`; the same object until that changes."""
        self._note_judging()
        return self._judges_from

    def close(self) -> None:
        """Gives up what it holds; what was not stepped never happened."""
        self._publisher.close()
        self._store.close()
        self._shown.hide()

    def take_in(self, offset: int, value: bytes) -> None:
        """Takes in one facts message and sends what closes by it.

        Raises:
            NotDoneError: the brokers do not take it, or the rules that it names are not there yet.
            StateError: it cannot be read, or something before it is missing.
        """
        if facts.is_foreign(value):
            self._pass_over(offset)
            return
        message = self._read(offset, value)
        rules = self._rules(message.rules)
        self.rule_set = message.rules
        partition = self.partition
        is_said = offset >= self.published_to
        is_new = offset >= partition.next_offset
        self._generation_before, self._replay_before = self._generation, partition.clock.replay
        before_ms = partition.clock.now_ms
        late_count, stale_count = partition.late_count, partition.stale_count
        evicted_count = partition.evicted_count
        windows_judged = 0
        with metrics.STAGE.labels("apply").time():
            for close in partition.apply(offset, message):
                self._deliver(close, rules, is_said=is_said)
                windows_judged += is_said
        if self._generation != self._generation_before and before_ms is not None:
            self._coverage.reach(before_ms)
            self._ended_ms[self._generation_before] = before_ms
        metrics.add_judged(self._judged)
        if is_new:
            self._coverage.apply(offset, message, windows_judged)
        # The checkpoint counts closed windows: it must not be older than the store that has them.
        self._has_output |= bool(windows_judged)
        partition.sessions.waiting.shrink(self._memory_bytes // 4)
        if not is_said and offset % ROW_EVERY == 0:
            partition.add_row()
        if is_said:
            metrics.LATE_TO_CLOCK.inc(partition.late_count - late_count)
            metrics.STALE_SECTIONS.inc(partition.stale_count - stale_count)
            metrics.TRACES_EVICTED.inc(partition.evicted_count - evicted_count)

    def asks(self) -> frozenset[int]:
        """The facts partitions whose last checkpoints are wanted, to be told to `hear`."""
        return frozenset() if self._is_behind else self.summaries.asks(self._hour)

    def hear(self, found: Mapping[int, Checkpoint | None]) -> None:
        """Takes in the checkpoints of other facts partitions."""
        self.summaries.hear(found)

    def prepare(self, *, is_last: bool = False) -> bool:
        """The first half of a step: puts what is to be published into the transaction; False when nothing is to do.

        With the last step before an orderly end goes a coverage record, due or not: evidence is not to end before it.
        """
        clock_ms = self.partition.clock.now_ms
        is_owed = is_last and self._coverage.is_owed(clock_ms, self.partition.next_offset)
        if self._is_behind or (self.is_durable and not is_owed):
            return False
        self._limit_disk()
        self._send_counts(clock_ms or 0)
        for withheld in self.summaries.take(self._hour):
            self._send_summary(withheld)
        if clock_ms is not None and (is_owed or self._coverage.is_due(clock_ms, self._generation)):
            self._send_coverage(clock_ms)
        self._position = msgspec.structs.replace(
            self.partition.position(self._coverage.facts_from),
            counted=self._verdicts.counted,
            covered=msgspec.msgpack.encode(self._coverage.so_far),
        )
        is_other = self._checkpointed_rules != self.partition.rules_changed_count
        if self._has_output or is_other or time.monotonic() - self._checkpointed_s >= CHECKPOINT_S:
            self._send_checkpoint(self._position)
        return True

    def _limit_disk(self) -> None:
        """Has everything forgotten that takes more disk than it may; this step's checkpoint says so."""
        limit_bytes, stored_bytes = self._settings.window_disk_bytes, self.partition.sessions.stored_bytes
        if limit_bytes is not None and stored_bytes > limit_bytes // self._shares:
            log.warning(
                "windows take more disk than --window-disk: all of the partition are closed as cut",
                partition=self.number,
                bytes=stored_bytes,
            )
            self.partition.evict()
            self._has_output = True

    def commit(self) -> None:
        """What is in the transaction is published; may run in a thread of its own."""
        with metrics.STAGE.labels("publish").time():
            self._publisher.commit()

    def keep(self, works: int) -> None:
        """The second half of a step, after `commit`: the store takes it, and what is too much leaves memory.

        `works` is among how many facts partitions memory and disk are to be shared.
        """
        self._memory_bytes = self._settings.window_memory_bytes // works
        self._shares = works
        if self._checkpoint is not None:
            self.published_to, self.cut_below = self._checkpoint.published_to, self._checkpoint.start_offset
            self._checkpointed_s = time.monotonic()
            self._checkpoint, self._has_output = None, False
        if self._position is not None:
            with metrics.STAGE.labels("store").time():
                sessions = self.partition.sessions
                self._store.write(sessions.chains, self._position, sessions.presences)
            self._stepped_to, self._position = self._position.next_offset, None
        self.partition.sessions.cool(self._memory_bytes)
        clock = self.partition.clock
        self._shown.show(clock.now_ms, clock.held_by(), self.partition.sessions.open_windows)

    def _pass_over(self, offset: int) -> None:
        """Goes on behind a message that nobody of ours has written.

        Had it been a flush after all, the next section of a source would not go on where the one before it ended, and
        sessions would end there.
        """
        metrics.FACTS_PASSED_OVER.inc()
        log.warning(
            "a message on the facts topic is none and is passed over",
            partition=self.number,
            offset=offset,
            help="see who else may write to this topic",
        )
        for close in self.partition.apply(offset, facts.Facts(facts.VERSION, "", [])):
            rule_set = self.rule_set or min(self.partition.rules.rule_sets)
            self._deliver(close, self._rules(rule_set), is_said=offset >= self.published_to)

    def _read(self, offset: int, value: bytes) -> facts.Facts:
        try:
            return facts.decode(value)
        except msgspec.DecodeError as error:
            raise StateError(
                f"facts message {self.number}/{offset} cannot be read: {error}",
                action="upgrade sessions, then start again",
            ) from error

    def _rules(self, rule_set: str) -> RuleSet:
        """A set that was pushed since the start is fetched; without it nothing can be judged, so it is waited for."""
        registry.fetch(self._settings, self._known, [rule_set])
        self.partition.sessions.counted = self._known.counted()
        return self._known.sets[rule_set]

    def _deliver(self, close: Close, rules: RuleSet, *, is_said: bool) -> None:
        """Judges a close; what was published before (not `is_said`) is only remembered."""
        judging = self.partition.rules.judging(
            self._known.rule_fingerprints, chain_first_ms=close.seen_from_ms, reach_ms=self._reach_ms
        )
        for outcome in outcomes(close, rules, judging, reach_ms=self._reach_ms):
            # Also of what was published before: whether it was withheld is not remembered anywhere else.
            finding = self._admitted(close, outcome, is_said=is_said)
            if is_said:
                self._count(close, outcome)
            if is_said and finding is not None:
                self._send_signal(finding, self.number)
                if not self._is_read_again(close):
                    metrics.SIGNALS.labels(outcome.rule.id, outcome.rule.severity.value).inc()
        self.partition.said = self._quota.said
        if is_said and not self._is_read_again(close):
            self._judged.closed[close.reason.value] += 1

    def _count(self, close: Close, outcome: Outcome) -> None:
        # When all is read again what ends with that is the earlier generation's.
        is_over = close.reason is CloseReason.END_OF_INPUT
        self._verdicts.add_outcome(self._generation_before if is_over else self._generation, close, outcome)
        if self._is_read_again(close):
            return
        if outcome.excepted > 0:
            metrics.EXCEPTED.labels(outcome.rule.id).inc()
        if outcome.previous != outcome.verdict:
            self._judged.verdicts[outcome.rule.id, outcome.verdict] += 1

    def _admitted(self, close: Close, outcome: Outcome, *, is_said: bool) -> Finding | None:
        finding = outcome.finding
        if finding is None:
            return None
        # What ends where all is read again is the earlier reading's.
        is_over = close.reason is CloseReason.END_OF_INPUT
        replay = self._replay_before if is_over else self.partition.clock.replay
        is_admitted = self._quota.admit(finding, replay)
        if is_said:
            self._verdicts.note_signal(is_published=is_admitted)
        if is_admitted:
            return finding
        withhold(close.chain, outcome.rule)
        if is_said:
            metrics.SIGNALS_WITHHELD.labels(outcome.rule.id).inc()
            self.summaries.add(Hour(self._topic_id, *self._quota.hour), finding, self.rule_set or "")
        return None

    def _is_read_again(self, close: Close) -> bool:
        """An earlier generation came as far as this: metrics have counted it."""
        return (
            self._generation > 0
            and close.reason is not CloseReason.END_OF_INPUT
            and close.closed_ms <= self._coverage.reached_ms
        )

    def _send_summary(self, withheld: Withheld) -> None:
        """Sends it where the first finding would have gone, whose verdict stands beside it."""
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
        self._coverage.begin(self.partition.rules.begun_ms)
        judging = Judging(
            self._generation,
            clock_ms,
            min((sessions.settled_tick() or 0) * TICK_MS, clock_ms),
            min((sessions.final_tick() or 0) * TICK_MS, clock_ms),
            self._judging_rules(clock_ms),
            self._verdicts.counted,
        )
        self._send("verdicts", None, verdicts.encode(self._coverage.take(judging, self.partition.next_offset)))

    def _judging_rules(self, clock_ms: int) -> list[JudgingRule]:
        """The rules that judge; of a reading that began again none judges what could have begun before it."""
        sets = self._coverage.rule_sets | ({self.rule_set} if self.rule_set else frozenset())
        judges_from = self.judges_from()
        start_ms = self._coverage.start(self._generation, clock_ms)
        least_ms = 0 if start_ms is None else start_ms + self._reach_ms + 1
        return judging_rules([self._known.sets[name] for name in sets], judges_from, least_ms)

    def _send_checkpoint(self, position: Position) -> None:
        rebuilt = position.rebuilt()
        self._checkpointed_rules = self.partition.rules_changed_count
        self._checkpoint = Checkpoint(
            checkpoints.VERSION,
            self._topic_id,
            position.next_offset,
            rebuilt.next_offset,
            msgspec.msgpack.encode(rebuilt),
            msgspec.msgpack.encode(self._coverage.so_far),
            status=self._status(),
            hourly_signals=self._quota.said,
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
        mark = None if holder is None else clock.marks.get(holder)
        return PartitionStatus(
            clock.now_ms,
            None if holder is None else Holder(*holder, None if mark is None else mark.watermark_ms),
            self.partition.sessions.open_windows,
            self.rule_set,
            self._judging_times,
        )

    def _note_judging(self) -> None:
        """Works out from when rules judge where that changed: with thousands of rules it takes milliseconds."""
        partition = self.partition
        if self._judging_noted == partition.rules_changed_count:
            return
        self._judging_noted = partition.rules_changed_count
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
