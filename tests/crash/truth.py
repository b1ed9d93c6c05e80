"""What must be on the topics and in the stores, and what is.

In: the source topic as it was written. Out: all that the pure functions say of it up to the clock of each facts
partition, without Kafka, workers or crashes; and the same as the workers left it. A signal is told by its uid,
revision, verdict and window, a chain by all that decides what will be said of it later.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
from confluent_kafka import Message

from dsl import RuleSet
from streams.config.settings import Settings
from streams.decode.decoder import Decoder
from streams.errors import RecordError
from streams.kafka import reader
from streams.projection.budget import Budget, project
from streams.projection.project import Projector
from streams.windows.chain import Bounds, Chain
from streams.windows.close import Close
from streams.windows.outcomes import evaluate_close
from streams.windows.partition import Partition
from streams.windows.reorder import Arrival
from streams.windows.sessions import Sessions
from tests.crash.traffic import HOSTILE
from tests.support.record import read_topic
from topics import partition
from topics.otlp.requests import RecordKind
from topics.records import facts, verdicts
from topics.records.facts import TICK_MS, Entry, Touch, pack_touches

FAR_MS = 1 << 42
COUNTED = ("held", "broken", "undetermined", "excepted")


class Said(NamedTuple):
    """A signal; its trace in hexadecimal."""

    uid: str
    trace_id: str
    revision: int
    verdict: str
    first_ms: int
    last_ms: int


@dataclass(slots=True)
class State:
    """A facts partition: its clock, its chains by trace id, and what it will say when only time passes."""

    clock_ms: int | None
    open_windows: int
    chains: dict[bytes, bytes]
    to_come: list[Said]

    def differing(self, other: State) -> int:
        """How many chains are not the same in both, and how much of what is to come."""
        chains = self.chains.items() ^ other.chains.items()
        return len({trace_id for trace_id, _ in chains}) + len(set(self.to_come) ^ set(other.to_come))


@dataclass(slots=True)
class Truth:
    """All that was or must be said: signals, verdicts counted by rule id and verdict, the state of each partition.

    `traces` are those of all records, in hexadecimal, `touched` those that records of a hostile sender name.
    """

    signals: Counter[Said] = field(default_factory=Counter)
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    states: dict[int, State] = field(default_factory=dict)
    traces: set[str] = field(default_factory=set)
    touched: set[str] = field(default_factory=set)


class Judge:
    """Judges closes as sessions does, and remembers what it said."""

    def __init__(self, settings: Settings, rules: RuleSet) -> None:
        self.signals: list[Said] = []
        self.verdicts: Counter[tuple[str, str]] = Counter()
        self._rules = rules
        self._judging = frozenset(rule.fingerprint for rule in rules.rules if rule.enabled)
        self._reach_ms = settings.gap_ms + settings.lateness_ms

    def take(self, closes: Iterable[Close]) -> None:
        """Judges closes; what is said is remembered in their chains too."""
        for close in closes:
            for outcome in evaluate_close(close, self._rules, self._judging, reach_ms=self._reach_ms):
                rule = outcome.rule.id
                self.verdicts[rule, "excepted"] += outcome.excepted
                if outcome.previous != outcome.verdict:
                    self.verdicts[rule, outcome.verdict] += 1
                    self.verdicts[rule, outcome.previous or "none"] -= 1
                finding = outcome.finding
                if finding is not None:
                    trace_id = finding.trace_id.hex()
                    window = (finding.first_ms, finding.last_ms)
                    self.signals.append(Said(finding.uid, trace_id, finding.revision, finding.verdict, *window))


def expected(
    settings: Settings, rules: RuleSet, clocks_ms: dict[int, int | None], *, honest_only: bool = False
) -> Truth:
    """What must be said of the source topics when the clocks of the facts partitions are these.

    `honest_only`: as if no hostile sender had written there.
    """
    counted = {fingerprint: atom.counted for fingerprint, atom in rules.atoms.items() if atom.counted}
    sessions = {number: Sessions(Bounds.of(settings), counted) for number in clocks_ms}
    truth = Truth()
    for message, arrivals in _arrivals(settings, rules, honest_only=honest_only):
        is_hostile = _is_hostile(message)
        tick = message.timestamp()[1] // TICK_MS
        for arrival in arrivals:
            entry = arrival.entry
            truth.traces.add(entry.trace_id.hex())
            if is_hostile:
                truth.touched.add(entry.trace_id.hex())
            waiting = sessions[partition.of_trace(entry.trace_id, len(sessions))].buffer
            if entry.facts or entry.is_incomplete:
                waiting.add(tick, arrival, 0)
            else:
                waiting.add_touches(tick, pack_touches([Touch(entry.trace_id, tick, entry.span_count)]), 0)
    for number, clock_ms in clocks_ms.items():
        judge = Judge(settings, rules)
        judge.take(sessions[number].advance(clock_ms or 0))
        truth.signals.update(judge.signals)
        truth.verdicts.update({said: count for said, count in judge.verdicts.items() if said[1] in COUNTED})
        truth.states[number] = _state(settings, rules, sessions[number], clock_ms)
    return truth


def published(settings: Settings) -> Truth:
    """What is on the topics for a reader of what is committed; without states."""
    truth = Truth()
    for frame in read_topic(settings.bootstrap, settings.topic("signals")):
        said = json.loads(frame.value)["unmapped"]["betrace"]
        window = (said["window"]["first_ms"], said["window"]["last_ms"])
        uid = (frame.key or b"").decode()
        truth.signals[Said(uid, said["trace_id"], said["revision"], said["verdict"], *window)] += 1
    for frame in read_topic(settings.bootstrap, settings.topic("verdicts")):
        counts = verdicts.decode(frame.value)
        if isinstance(counts, verdicts.VerdictCounts):
            for verdict in COUNTED:
                net = getattr(counts.added, verdict) - getattr(counts.taken_back, verdict)
                truth.verdicts[counts.rule, verdict] += net
    return truth


def recovered(settings: Settings, rules: RuleSet, found: Partition, log: Iterable[Message]) -> State:
    """The state of a partition that begins where `found` is and takes in the facts log, saying nothing."""
    judge = Judge(settings, rules)
    for message in log:
        if (message.offset() or 0) >= found.next_offset:
            judge.take(found.apply(message.offset() or 0, facts.decode(message.value() or b"")))
    return _state(settings, rules, found.sessions, found.clock.now_ms)


def _is_hostile(message: Message) -> bool:
    return HOSTILE in (message.headers() or ())


def _arrivals(settings: Settings, rules: RuleSet, *, honest_only: bool) -> Iterator[tuple[Message, list[Arrival]]]:
    projector = Projector(rules)
    decoder = Decoder(projector.interest, settings.format)
    for topic in settings.source_topics:
        for message in reader.read(settings, topic):
            if honest_only and _is_hostile(message):
                continue
            at, offset = message.partition() or 0, message.offset() or 0
            value = message.value() or b""
            try:
                decoded = decoder.decode(value, RecordKind.SPANS)
            except RecordError:
                # A dead letter says nothing of any trace.
                continue
            found = project(decoded, projector, Budget().facts_bytes(len(value)))
            yield (
                message,
                [
                    Arrival(
                        topic,
                        at,
                        Entry(
                            each.trace_id,
                            offset,
                            offset,
                            0,
                            each.span_count,
                            root_seen=False,
                            facts=each.facts,
                            is_incomplete=each.is_incomplete,
                        ),
                    )
                    for each in found.traces
                ],
            )


def _state(settings: Settings, rules: RuleSet, sessions: Sessions, clock_ms: int | None) -> State:
    chains = {trace_id: _told(sessions.chains.get(trace_id)) for trace_id in sessions.chains}
    open_windows = sessions.open_windows
    judge = Judge(settings, rules)
    judge.take(sessions.advance(FAR_MS))
    return State(clock_ms, open_windows, chains, judge.signals)


def _told(chain: Chain | None) -> bytes:
    """Without what depends on how the facts log was cut into messages, and the counts that are only informative."""
    assert chain is not None
    window = chain.window and (chain.window.first, chain.window.last)
    told = (chain.first, chain.last, chain.headless, chain.input_lost, chain.hit_max_duration, window)
    return msgspec.msgpack.encode(
        (told, sorted(chain.facts.items()), sorted(chain.last_verdicts.items()), chain.sources)
    )
