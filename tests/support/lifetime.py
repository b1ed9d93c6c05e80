"""An installation in memory: a source partition, facts partitions, a ledger; all but Kafka and RocksDB are real.

What happens to it is told in ticks. What it leaves is evidence, and the source log, by which every figure can be
counted again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import cast

from dsl import RuleSet, Span, compile_texts
from streams.config.settings import Settings
from streams.decode.decoder import TraceSpans
from streams.evidence.ledger import entry, storage
from streams.evidence.ledger import seal as seals
from streams.evidence.ledger.findings import Finding
from streams.evidence.ledger.log import Ledger, Record
from streams.evidence.ledger.verify import Verification
from streams.evidence.report import history
from streams.evidence.report.gather import gather
from streams.evidence.report.model import Evidence, Report, ReportRequest
from streams.evidence.report.report import report
from streams.projection.project import Projector
from streams.rules.registry import RuleSets
from streams.sessions import recovery
from streams.sessions.publish import Publisher
from streams.sessions.task import PartitionTask
from streams.windows.rocksdb import Store
from tests.support.disk import Disk
from tests.support.evidence import ORIGIN, SIGNER
from tests.support.memory import Memory
from topics.records import checkpoints, facts, rules
from topics.records.checkpoints import Checkpoint
from topics.records.facts import TICK_MS, VERSION, Entry, Facts, Section
from topics.signals.digest import Digest, digest

TOPIC = "otlp_spans"
NAMES = ("pii.access", "audit.log", "agent.tool")
SPANS = {name: Span(name, number.to_bytes(8, "big"), start_ns=number) for number, name in enumerate(NAMES, 1)}
AUDITED = "- {id: audited, kind: invariant, controls: [SOC2/CC6.1], condition: 'pii.access and audit.log'}\n"
FEW = "- {id: few, kind: pattern, condition: agent.tool and audit.log}\n"
SETS = {
    "audited": f"rules:\n{AUDITED}",
    "both": f"rules:\n{AUDITED}{FEW}",
    "few": f"rules:\n{FEW}",
    "none": "rules:\n" + AUDITED.replace("kind:", "enabled: false, kind:"),
    "shadow": "rules:\n" + AUDITED.replace("kind:", "mode: shadow, kind:") + FEW,
}


@cache
def compiled(name: str) -> RuleSet:
    """The rule set of this name."""
    found, _ = compile_texts({"rules.yaml": SETS[name]})
    return found


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A record of the source: spans of these names, of one trace, in a tick; a lost one was never read."""

    tick: int
    trace: int
    names: tuple[str, ...]
    is_lost: bool = False


@dataclass(slots=True)
class Output:
    """A facts partition's publisher without Kafka: what is committed is taken by the ledger.

    `signals` are those that it published.
    """

    ledger: Ledger
    partition: int
    checkpoint: Checkpoint | None = None
    signals: list[bytes] = field(default_factory=list)
    _sent: list[tuple[str, int, bytes | None, bytes]] = field(default_factory=list)

    def send(self, topic: str, number: int, key: bytes | None, value: bytes, _headers: object = ()) -> None:
        """As `Publisher.send`."""
        self._sent.append((topic.removeprefix("betrace."), number, key, value))

    def commit(self) -> None:
        """As `Publisher.commit`."""
        for topic, number, key, value in self._sent:
            if topic == "checkpoints":
                self.checkpoint = checkpoints.decode(value)
            else:
                log = self.ledger.logs[topic, number]
                self.ledger.take((topic, number), Record(offset=log.next_offset, time_ms=0, key=key, value=value))
            if topic == "signals":
                self.signals.append(value)
        self._sent.clear()

    def close(self) -> None:
        """As `Publisher.close`: what was not committed never happened."""
        self._sent.clear()


@dataclass(slots=True)
class Worker:
    """A facts partition: its topic, the disk and the work of who has it now."""

    settings: Settings
    known: RuleSets
    output: Output
    facts: list[bytes] = field(default_factory=list)
    disk: Disk = field(default_factory=Disk)
    task: PartitionTask = field(init=False)

    def begin(self) -> None:
        """A worker takes the partition over."""
        with self.disk.opened():
            last, number = self.output.checkpoint, self.output.partition
            store, publisher = cast("Store", self.disk), cast("Publisher", self.output)
            partition = recovery.open_partition(self.settings, self.known, number, store, last, 0)
            self.task = PartitionTask(self.settings, self.known, "", number, partition, store, publisher, last, last)

    def take_in(self) -> None:
        """It takes in what is on its topic."""
        for offset in range(self.task.partition.next_offset, len(self.facts)):
            self.task.process(offset, self.facts[offset])

    def step(self) -> None:
        """It makes durable what it did."""
        if self.task.prepare():
            self.task.commit()
            self.task.flush_state(1)


SETTINGS = Settings(
    bootstrap="",
    state_dir=Path(),
    source_topics=(TOPIC,),
    facts_partitions=1,
    gap_ms=1_000,
    lateness_ms=2_000,
    max_duration_ms=20_000,
    out_of_order_ms=0,
)


@dataclass(slots=True)
class Lifetime:
    """The installation; `log` is the source, all of it, `tick` how far time is."""

    rule_set: str = "audited"
    facts_partitions: int = 1
    service: str = "shop"
    """The service that sends what is written from now on."""
    signals_per_hour: int | None = None
    log: list[SourceRecord] = field(default_factory=list)
    tick: int = 0
    store: Memory = field(default_factory=Memory)
    _position: int = 0
    _replay: tuple[int, int | None] = (0, None)
    _epoch: int = 1
    _misses_beginning: bool = False
    _missing_until_ms: int | None = None
    _lost_until_ms: int | None = None
    _rules_since_ms: int | None = None
    _known: RuleSets = field(default_factory=RuleSets)
    _ledger: Ledger = field(default_factory=lambda: Ledger(ORIGIN))
    _workers: list[Worker] = field(init=False)

    def __post_init__(self) -> None:
        settings = replace(SETTINGS, facts_partitions=self.facts_partitions, signals_per_hour=self.signals_per_hour)
        for topic, count in (("signals", self.facts_partitions), ("verdicts", self.facts_partitions), ("rules", 1)):
            for number in range(count):
                self._ledger.follow((topic, number), topic)
        outputs = [Output(self._ledger, number) for number in range(self.facts_partitions)]
        self._workers = [Worker(settings, self._known, output) for output in outputs]
        self.push(self.rule_set)
        for worker in self._workers:
            worker.begin()

    def push(self, name: str) -> None:
        """Makes a set the active one: records that are read from now on are projected with it."""
        if name != self.rule_set:
            self._rules_since_ms = max((record.tick * TICK_MS for record in self.log[: self._position]), default=0)
        self.rule_set = name
        pushed = compiled(name)
        self._known.add(pushed)
        record = rules.RuleSetRecord(texts=dict(pushed.texts), pushed_by="ada", pushed_ms=0, revision=name)
        for key, value in (
            (pushed.fingerprint.encode(), rules.encode(record)),
            (rules.ACTIVE_KEY, pushed.fingerprint.encode()),
        ):
            log = self._ledger.logs["rules", 0]
            self._ledger.take(
                ("rules", 0), Record(offset=log.next_offset, time_ms=self.tick * TICK_MS, key=key, value=value)
            )

    def write(self, trace: int, *names: str, is_lost: bool = False) -> None:
        """A record comes at the present tick, and is read; a lost one is gone before that."""
        self.log.append(SourceRecord(self.tick, trace, names, is_lost))
        if not is_lost:
            self.read()

    def wait(self, ticks: int) -> None:
        """Time goes on; all that was written is read, and with nothing more to read the clock goes on too."""
        self.tick += ticks
        self.read()

    def read(self, count: int | None = None) -> None:
        """Ingest reads on, so many records or all, and sessions takes it in."""
        end = len(self.log) if count is None else min(self._position + count, len(self.log))
        # A flush begins with what is lost, as ingest then begins anew.
        after_loss = (at for at in range(self._position + 1, end) if self.log[at].is_lost > self.log[at - 1].is_lost)
        for to in (*after_loss, end):
            self._flush(to)

    def _flush(self, end: int) -> None:
        """A facts message to each facts partition, of the source up to an offset."""
        records = [*enumerate(self.log)][self._position : end]
        read = [(offset, record) for offset, record in records if not record.is_lost]
        tick = self.tick if end == len(self.log) else self.log[end - 1].tick if end else 0
        # As ingest knows of the next record, or of none: until when what it did not read may be stamped.
        next_ms = (read[0][1].tick if read else tick) * TICK_MS
        if self._misses_beginning and self._missing_until_ms is None:
            self._missing_until_ms = next_ms
        lost = []
        if len(read) < len(records):
            lost = [(records[0][0], records[0][0] + len(records) - len(read))]
            self._lost_until_ms = next_ms
        replay, start_ms = self._replay
        if replay and start_ms is None and read:
            start_ms = read[0][1].tick * TICK_MS
            self._replay = (replay, start_ms)
        rule_set = compiled(self.rule_set)
        projector = Projector(rule_set)
        for number, worker in enumerate(self._workers):
            section = Section(
                topic=TOPIC,
                partition=0,
                epoch=self._epoch,
                replay=replay,
                start_ms=start_ms,
                partition_count=1,
                from_offset=self._position,
                to_offset=end,
                watermark_ms=tick * TICK_MS,
                lost=lost,
                touches=b"",
                entries=[_entry(projector, *each) for each in read if each[1].trace % self.facts_partitions == number],
                dead_letters=[],
                missing_until_ms=self._missing_until_ms,
                lost_until_ms=self._lost_until_ms,
                rules_since_ms=self._rules_since_ms,
            )
            worker.facts.append(
                facts.encode(
                    Facts(
                        version=VERSION,
                        rules=rule_set.fingerprint,
                        sections=[section],
                        services=[self.service] if read else [],
                    )
                )
            )
            worker.take_in()
        self._position = end

    def step(self) -> None:
        """Sessions makes durable what it did, and the ledger seals it."""
        for worker in self._workers:
            worker.step()
        self.seal()

    def seal(self) -> None:
        """The ledger makes the next seal."""
        sealed = self._ledger.seal(self.tick * TICK_MS, [SIGNER])
        self.store.create(storage.seal_path(self._ledger.number), sealed.content)
        self._ledger.advance(sealed.seal_line, sealed.note)

    def evict(self) -> None:
        """All windows take too much disk: they leave before the next facts message."""
        for worker in self._workers:
            worker.task.partition.evict()

    def reset(self, tick: int) -> None:
        """The offsets of the ingest group are set back to the first record at a tick; it is read from there on."""
        self._position = next((at for at, record in enumerate(self.log) if record.tick >= tick), len(self.log))
        self._replay = (self._replay[0] + 1 + self.tick * TICK_MS, None)
        self._epoch += 1
        self._misses_beginning = self._position > 0
        self._missing_until_ms = self._lost_until_ms = self._rules_since_ms = None

    def crash(self, *, is_bare: bool) -> None:
        """The worker is killed, and another one takes over, without the disk if it is bare."""
        for number in range(self.facts_partitions):
            self.crash_one(number, is_bare=is_bare)

    def crash_one(self, number: int, *, is_bare: bool, prepared: bool = False, committed: bool = False) -> None:
        """The worker of one facts partition is killed, perhaps in a step: before it was committed, or before the store.

        Another one takes over, without the disk if it is bare.
        """
        worker = self._workers[number]
        if (prepared or committed) and worker.task.prepare() and committed:
            worker.task.commit()
        worker.output.close()
        if is_bare:
            worker.disk.clear()
        worker.begin()
        worker.take_in()

    def step_one(self, number: int) -> None:
        """The worker of one facts partition makes durable what it did."""
        self._workers[number].step()

    def ask(self, number: int) -> None:
        """The worker of one facts partition is told the checkpoints that it asks for, as they are now."""
        task = self._workers[number].task
        task.receive_checkpoints(
            {other: self._workers[other].output.checkpoint for other in task.required_checkpoints()}
        )

    def signals(self) -> list[Digest]:
        """The signals on the topic."""
        return [digest(value) for worker in self._workers for value in worker.output.signals]

    def withheld(self) -> int:
        """How many findings were withheld of which no summary is known to tell."""
        return sum(each.count for worker in self._workers for each in worker.task.summaries.withheld)

    def end(self) -> None:
        """Everything is read, closed, made durable and sealed."""
        for _ in range(3):
            self.wait(1_000)
            self.step()

    def publish(self, topic: str, key: bytes | None, value: bytes) -> None:
        """Somebody else's record is on a topic, and the ledger has taken it."""
        self._ledger.take(
            (topic, 0), Record(offset=self._ledger.logs[topic, 0].next_offset, time_ms=0, key=key, value=value)
        )

    def records(self, topic: str) -> list[bytes]:
        """The values on a topic, as they are sealed."""
        found = []
        for number in range(self._ledger.number):
            parts = seals.split(self.store.read(storage.seal_path(number)))
            begin = 0
            for log in seals.decode(parts.line).logs:
                end = begin + log.added
                if log.topic == topic:
                    found += [entry.decode(line).value_bytes() for line in parts.entries[begin:end]]
                begin = end
        return found

    def report(self, from_ms: int, to_ms: int) -> Report:
        """The report of a period."""
        asked = ReportRequest(from_ms=from_ms, to_ms=to_ms, control=None, made_ms=0, verify="")
        gathered = gather(self.store, from_ms, to_ms)
        evidence = Evidence(
            place="",
            origin=ORIGIN,
            first_seal=0,
            end_seal=0,
            head_size=0,
            head_root=None,
            head_file="",
            head_sha256=None,
            head_file_sha256=None,
            unreadable=gathered.unreadable,
            verified=None,
        )
        return report(asked, gathered, history.read(self.store), evidence)

    def findings(self) -> list[Finding]:
        """What verification says of the evidence."""
        return [*Verification(self.store, [SIGNER.verifier()]).findings()]


def section(log: Sequence[SourceRecord], rules: RuleSet) -> Section:
    """All records of a source as one section, projected with these rules."""
    projector = Projector(rules)
    entries = [_entry(projector, at, record) for at, record in enumerate(log)]
    watermark_ms = (log[-1].tick if log else 0) * TICK_MS
    return Section(
        topic=TOPIC,
        partition=0,
        epoch=1,
        replay=0,
        start_ms=None,
        partition_count=1,
        from_offset=0,
        to_offset=len(log),
        watermark_ms=watermark_ms,
        lost=[],
        touches=b"",
        entries=entries,
        dead_letters=[],
    )


def _entry(projector: Projector, offset: int, record: SourceRecord) -> Entry:
    spans = [SPANS[name] for name in record.names]
    found = projector.facts(TraceSpans(len(spans), root_seen=True, spans=spans))
    trace_id = record.trace.to_bytes(16, "big")
    return Entry(trace_id, offset, offset, record.tick, len(spans), root_seen=True, facts=found)


def chains(log: Sequence[SourceRecord]) -> Iterator[tuple[int, frozenset[str]]]:
    """When each chain of the source began, and the names in it: records of a trace that gap + lateness do not part.

    No chain here is as long as one may be, and each begins with what every rule is about.
    """
    reach = (SETTINGS.gap_ms + SETTINGS.lateness_ms) // TICK_MS
    open_: dict[int, tuple[int, int, frozenset[str]]] = {}
    for record in log:
        first, last, names = open_.get(record.trace, (record.tick, record.tick, frozenset[str]()))
        if record.tick > last + reach:
            yield first, names
            first, names = record.tick, frozenset()
        open_[record.trace] = (first, record.tick, names | frozenset(record.names))
    for first, _, names in open_.values():
        yield first, names


def recount(log: Sequence[SourceRecord], rule: str, times: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """How many of the chains that began in these times (ms) the rule held for, and how many broke it, by hand."""
    held = broken = 0
    for first, names in chains(log):
        if not any(begin <= first * TICK_MS < end for begin, end in times):
            continue
        is_audited = "audit.log" in names
        # `audited` wants the log, `few` is a pattern that must not be there.
        is_broken = is_audited if rule == "few" else not is_audited
        held, broken = held + (not is_broken), broken + is_broken
    return held, broken
