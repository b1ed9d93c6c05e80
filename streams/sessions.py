"""Sessions: facts messages in, signals and verdicts out.

Each facts partition is a state machine (`streams.window.partition`) with a RocksDB beside it. Signals and verdicts are
produced as windows close; about every second a step makes that durable:

    1  every signal and verdict so far is confirmed by the brokers
    2  one RocksDB WriteBatch: changed and removed chains, position
    3  the facts messages below the position's first row are acknowledged, in order

A crash between any two of them repeats work and loses none: what was not stored is read again.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from dsl import RuleSet
from streams import metrics, ruleset
from streams.deliver import Outcome, outcomes
from streams.errors import StateError
from streams.ruleset import RuleSets
from streams.settings import Settings
from streams.window.close import Close
from streams.window.partition import Partition
from streams.window.session import Bounds
from streams.window.store import FORMAT, Identity, Store
from topics import facts, signals, verdicts

log = structlog.get_logger()

CONFIRM_S = 30.0

Acknowledge = Callable[[], object]


def bounds(settings: Settings) -> Bounds:
    """The settings' session bounds."""
    return Bounds.of_ms(
        gap_ms=settings.gap_ms, lateness_ms=settings.lateness_ms, max_duration_ms=settings.max_duration_ms
    )


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """Which facts log is read: a store of another one is of no use."""

    cluster_id: str
    topic_id: str
    begin_offsets: dict[int, int]

    def store(self, settings: Settings, number: int) -> Store:
        """Opens the store of facts partition `number`."""
        cut = f"{settings.gap_ms}/{settings.lateness_ms}/{settings.max_duration_ms}"
        return Store(store_path(settings, number), Identity(FORMAT, self.cluster_id, self.topic_id, cut))


def store_path(settings: Settings, number: int) -> Path:
    """Where the store of facts partition `number` is."""
    return settings.state_dir / settings.group("sessions") / f"facts-{number}"


@dataclass(slots=True)
class _Held:
    """A facts message that is taken in but not acknowledged."""

    offset: int
    acknowledge: Acknowledge


@dataclass(slots=True)
class Worked:
    """One facts partition at work: its state machine, its store, and what the next step must make durable.

    `counts` are verdicts since the last step, by rule id and fingerprint.
    """

    number: int
    partition: Partition
    store: Store
    held: deque[_Held] = field(default_factory=deque)
    counts: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    is_changed: bool = False


class SessionsWorker:
    """The facts partitions that this worker has; driven by `streams.app`, one call at a time."""

    def __init__(self, settings: Settings, known: RuleSets, identity: LogIdentity) -> None:
        self._settings = settings
        self._known = known
        self._identity = identity
        self._reach_ms = settings.gap_ms + settings.lateness_ms
        self._worked: dict[int, Worked] = {}
        self._failed: KafkaError | None = None
        self._producer = Producer(
            {**settings.client(), "enable.idempotence": True, "linger.ms": 5, "compression.type": "lz4"},
        )

    def apply(self, number: int, offset: int, value: bytes, acknowledge: Acknowledge) -> None:
        """Takes in one facts message and sends what closes by it.

        Raises:
            StateError: it cannot be read, something before it is missing, or a signal cannot be sent.
        """
        worked = self._worked.get(number) or self._open(number)
        message = self._read(number, offset, value)
        self._know(message.rules)
        late_count = worked.partition.late_count
        for close in worked.partition.apply(offset, message):
            self._deliver(worked, close, self._known.sets[message.rules])
        metrics.LATE_TO_CLOCK.inc(worked.partition.late_count - late_count)
        worked.held.append(_Held(offset, acknowledge))
        worked.is_changed = True
        self._producer.poll(0)

    def step(self) -> None:
        """Makes durable what was done since the last step; the numbers are those of the module's docstring."""
        changed = [worked for worked in self._worked.values() if worked.is_changed]
        for worked in changed:
            self._send_counts(worked)
        # 1
        self._confirm()
        for worked in changed:
            sessions = worked.partition.sessions
            position = worked.partition.position()
            # 2
            worked.store.write(sessions.changed, sessions.chains, position)
            sessions.changed.clear()
            worked.is_changed = False
            # 3
            while worked.held and worked.held[0].offset < position.rows[0].facts_offset:
                worked.held.popleft().acknowledge()
            metrics.WINDOWS_OPEN.labels(str(worked.number)).set(sessions.open_windows)

    def is_idle(self, ends: dict[str, dict[int, int]]) -> bool:
        """Every facts partition applied all source records below `ends`, and no window is open."""
        return len(self._worked) == self._settings.facts_partitions and all(
            _has_reached(worked.partition, ends) for worked in self._worked.values()
        )

    def release(self, numbers: set[int]) -> None:
        """Another worker takes these partitions: a last step, then their stores are closed."""
        self.step()
        for number in numbers & self._worked.keys():
            self._worked.pop(number).store.close()
            metrics.WINDOWS_OPEN.labels(str(number)).set(0)

    def close(self) -> None:
        """A last step, then every store is closed."""
        try:
            self.step()
        finally:
            for worked in self._worked.values():
                worked.store.close()
            self._worked.clear()

    def _open(self, number: int) -> Worked:
        store = self._identity.store(self._settings, number)
        position = store.position()
        partition = Partition(
            self._settings.source_topics,
            bounds(self._settings),
            self._known.counted(),
            self._known.rule_fingerprints,
            out_of_order_ms=self._settings.out_of_order_ms,
            begin_offset=self._identity.begin_offsets[number],
            position=position,
            chains=store.chains(),
        )
        log.info("facts partition opened", partition=number, open_windows=partition.sessions.open_windows)
        worked = self._worked[number] = Worked(number, partition, store)
        return worked

    def _read(self, number: int, offset: int, value: bytes) -> facts.Facts:
        try:
            return facts.decode(value)
        except msgspec.DecodeError as error:
            raise StateError(
                f"facts message {number}/{offset} cannot be read: {error}", action="upgrade sessions, then start again"
            ) from error

    def _know(self, rule_set: str) -> None:
        """A set that was pushed since the start is fetched; without it nothing can be judged."""
        if rule_set in self._known.sets:
            return
        known, _ = ruleset.read(self._settings)
        if rule_set not in known.sets:
            raise StateError(
                f"facts were projected with rule set {rule_set}, which is not on {self._settings.topic('rules')}",
                action="push the rules again with betrace rules push",
            )
        self._known.sets.update(known.sets)
        for worked in self._worked.values():
            worked.partition.sessions.counted = self._known.counted()

    def _deliver(self, worked: Worked, close: Close, rules: RuleSet) -> None:
        metrics.WINDOWS_CLOSED.labels(close.reason.value).inc()
        times = worked.partition.rules
        judging = times.judging(
            self._known.rule_fingerprints,
            chain_first_ms=close.chain_first_ms,
            reach_ms=self._reach_ms,
        )
        for outcome in outcomes(close, rules, judging, reach_ms=self._reach_ms):
            self._count(worked, outcome)
            if outcome.finding is not None:
                metrics.SIGNALS.labels(outcome.rule.id, outcome.rule.severity.value).inc()
                self._send_signal(worked.number, outcome)

    def _count(self, worked: Worked, outcome: Outcome) -> None:
        rule = outcome.rule
        counts = worked.counts.setdefault((rule.id, rule.fingerprint), Counter())
        counts["excepted"] += outcome.excepted
        if outcome.excepted > 0:
            metrics.EXCEPTED.labels(rule.id).inc()
        if outcome.previous != outcome.verdict:
            counts[outcome.verdict] += 1
            metrics.VERDICTS.labels(rule.id, outcome.verdict).inc()
            if outcome.previous is not None:
                counts[outcome.previous] -= 1

    def _send_signal(self, number: int, outcome: Outcome) -> None:
        if outcome.finding is None:
            return
        record = signals.record(
            outcome.finding, logged_ms=time.time_ns() // 1_000_000, source=self._settings.group("sessions")
        )
        self._produce("signals", number, record.key, record.value, record.headers)

    def _send_counts(self, worked: Worked) -> None:
        for (rule, fingerprint), counts in worked.counts.items():
            record = verdicts.VerdictCounts(
                rule=rule,
                rule_fingerprint=fingerprint,
                partition=worked.number,
                clock_ms=worked.partition.clock.now_ms or 0,
                held=counts["held"],
                broken=counts["broken"],
                undetermined=counts["undetermined"],
                excepted=counts["excepted"],
            )
            self._produce("verdicts", worked.number, rule.encode(), verdicts.encode(record), [])
        worked.counts.clear()

    def _produce(self, topic: str, number: int, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        while True:
            try:
                self._producer.produce(
                    self._settings.topic(topic), value, key, number, self._note_delivery, headers=[*headers]
                )
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                raise _not_delivered(error.args[0]) from error
            else:
                return

    def _note_delivery(self, error: KafkaError | None, _: Message) -> None:
        self._failed = self._failed or error

    def _confirm(self) -> None:
        """Waits until the brokers have everything that was sent."""
        deadline_s = time.monotonic() + CONFIRM_S
        while self._producer.flush(1.0) and self._failed is None:
            if time.monotonic() > deadline_s:
                raise StateError("signals are not confirmed", action="see whether the brokers answer, then start again")
        if self._failed is not None:
            raise _not_delivered(self._failed)


def _not_delivered(error: KafkaError) -> StateError:
    return StateError(
        f"a signal was not delivered: {error.str()}", action="see why the brokers refuse it, then start again"
    )


def _has_reached(partition: Partition, ends: dict[str, dict[int, int]]) -> bool:
    marks = partition.clock.marks
    reached = all(
        (topic, number) in marks and marks[(topic, number)].applied_to >= end
        for topic, numbers in ends.items()
        for number, end in numbers.items()
    )
    return reached and partition.sessions.is_empty
