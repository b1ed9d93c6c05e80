"""The checkpoint that a facts partition goes on from, whatever else is on `betrace.checkpoints`.

In: the ends of `betrace.checkpoints` and `betrace.verdicts`. Out: the partition's last checkpoint.

What must hold: nothing counts twice. A record that no version of this program can have written is no checkpoint and is
passed over: the last one before it still is the last. A checkpoint of another version is not: that version may have
published what an older checkpoint knows nothing of. Where no checkpoint is left, the chain of counts and the end of
coverage are read back from the records on `betrace.verdicts`: see `takeover` for what goes on from there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
import structlog
from confluent_kafka import Message
from msgspec.structs import replace

from streams.config.settings import Settings
from streams.errors import StateError
from streams.kafka import reader
from streams.kafka.reader import Stopping
from streams.observe import metrics
from streams.sessions.coverage import Covered, CoveredSource
from streams.windows.positions import Position
from topics.records import checkpoints, verdicts
from topics.records.checkpoints import Checkpoint, PartitionStatus
from topics.records.verdicts import LIVE_ORIGIN, Counted, Coverage, SourceCoverage, VerdictCounts

log = structlog.get_logger()


@dataclass(slots=True)
class Search:
    """The records at the end of a partition of `betrace.checkpoints`, taken in in order.

    `last` is the last checkpoint, written at `written_ms`. `other` says why the last record that is one cannot be read,
    when that is of another version; `passed_over` of records that are none, by offset, why they are none.
    """

    number: int
    last: Checkpoint | None = None
    written_ms: int | None = None
    other: str | None = None
    passed_over: dict[int, str] = field(default_factory=dict)

    def take(self, message: Message) -> bool:
        """Takes in the next record; whether it is a checkpoint, of whatever version."""
        value = message.value() or b""
        if message.key() != checkpoints.key(self.number):
            return self._pass_over(message, "its key is not that of this partition")
        try:
            self.last, self.other = _decoded(value), None
            _, self.written_ms = message.timestamp()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            version = checkpoints.version(value)
            if version is None or version == checkpoints.VERSION:
                return self._pass_over(message, str(error))
            self.other = str(error)
        return True

    def _pass_over(self, message: Message, reason: str) -> bool:
        self.passed_over[message.offset() or 0] = reason
        return False


def search(settings: Settings, number: int, stopping: Stopping, *, for_this_version: bool = False) -> Search:
    """Looks from the end of the positions for a checkpoint, `for_this_version`: for one of this version.

    Raises:
        NotDoneError: no broker answers, or `stopping` says that it is not wanted any more.
    """
    found = Search(number)
    for messages in reader.tails(settings, settings.topic("checkpoints"), number, stopping):
        found = Search(number)
        for message in messages:
            found.take(message)
        if found.last is not None or (found.other is not None and not for_this_version):
            break
    return found


def last_checkpoint(settings: Settings, number: int, stopping: Stopping) -> Checkpoint | None:
    """The last checkpoint of a facts partition, of whatever log; None when nothing was ever published of it.

    Raises:
        NotDoneError: no broker answers, or `stopping` says that it is not wanted any more.
        StateError: it is of another version.
    """
    found = search(settings, number, stopping)
    if found.other is not None:
        raise StateError(
            f"the checkpoint of facts partition {number} cannot be read: {found.other}",
            action="start the version that wrote it; if no other version has run here, run betrace doctor --repair",
        )
    if found.passed_over:
        metrics.CHECKPOINTS_PASSED_OVER.inc(len(found.passed_over))
        log.warning(
            "records on the checkpoints topic are no checkpoints and are passed over",
            partition=number,
            offsets=sorted(found.passed_over)[:10],
            count=len(found.passed_over),
            help="see who else may write to this topic",
        )
    return recovered(settings, number, stopping) if found.last is None else found.last


def recovered(settings: Settings, number: int, stopping: Stopping) -> Checkpoint | None:
    """A checkpoint of no log, as far as `betrace.verdicts` tells of it; None where that has no records.

    It has the chain of counts, where coverage ends, and in `status` the latest record time that was published of this
    generation of reading. `published_to` is where coverage ends in the facts: more may be published.

    Raises:
        NotDoneError: no broker answers, or `stopping` says that it is not wanted any more.
    """
    found: _Chain | None = None
    for messages in reader.tails(settings, settings.topic("verdicts"), number, stopping):
        found = _chain(messages)
        if found is not None and found.is_whole:
            break
    if found is None:
        return None
    covered = found.covered()
    return Checkpoint(
        checkpoints.VERSION,
        topic_id="",
        published_to=0 if covered is None else covered.facts_to,
        start_offset=0,
        start=b"",
        covered=msgspec.msgpack.encode(covered),
        status=PartitionStatus(found.clock_ms, None, 0, None),
        counted=found.counted,
        first_generation=found.generation,
        generation=found.generation,
    )


@dataclass(slots=True)
class _Chain:
    """How far the counts came; `is_whole` where a coverage record says what they sum up to.

    `last` is the last coverage record, `sources` the last that is said of each source, `verdicts` how many came after
    it, by rule and fingerprint; `clock_ms` is the latest record time of the generation.
    """

    counted: Counted
    generation: int
    is_whole: bool
    clock_ms: int
    last: Coverage | None = None
    sources: dict[tuple[str, int], SourceCoverage] = field(default_factory=dict)
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, record: VerdictCounts, value: bytes) -> None:
        """Adds the next counts record."""
        self.counted = _after(self.counted, record, value)
        self._reach(record.generation, record.clock_ms)
        self.verdicts[record.rule, record.rule_fingerprint] += record.added.applicable + record.added.not_applicable

    def cover(self, record: Coverage) -> None:
        """Takes in a coverage record."""
        self.counted, self.is_whole, self.last = record.counted, True, record
        self._reach(record.generation, record.to_ms)
        self.verdicts.clear()
        self.sources |= {(source.topic, source.partition): source for source in record.sources}

    def covered(self) -> Covered | None:
        """Where coverage ends; of windows that closed since then so many are known as a rule has verdicts."""
        last = self.last
        if last is None:
            return None
        sources = [
            CoveredSource(source.topic, source.partition, source.epoch, source.to_offset)
            for _, source in sorted(self.sources.items())
        ]
        return Covered(
            last.to_ms,
            last.facts_to,
            sources,
            max(self.verdicts.values(), default=0),
            last.generation,
            last.settled_to_ms,
            last.start_ms,
            last.reset_ms or 0,
            0,
        )

    def _reach(self, generation: int, clock_ms: int) -> None:
        self.clock_ms = clock_ms if generation > self.generation else max(self.clock_ms, clock_ms)
        self.generation = max(self.generation, generation)


def _chain(messages: Iterable[Message]) -> _Chain | None:
    chain: _Chain | None = None
    for message in messages:
        value = message.value() or b""
        try:
            record = verdicts.decode(value)
        except msgspec.DecodeError:
            continue  # nobody's: the ledger finds it
        if record.origin != LIVE_ORIGIN:
            continue
        if isinstance(record, Coverage):
            chain = chain or _Chain(record.counted, record.generation, is_whole=True, clock_ms=record.to_ms)
            chain.cover(record)
            continue
        if chain is None:
            begin = Counted(seq=record.seq, head=record.prev)
            chain = _Chain(begin, record.generation, is_whole=record.seq == 0, clock_ms=record.clock_ms)
        if (record.seq, record.prev) == (chain.counted.seq, chain.counted.head):
            chain.add(record, value)
    return chain


def _after(counted: Counted, record: VerdictCounts, value: bytes) -> Counted:
    """The chain with one more record.

    How many signals went out with it is not known any more. They count as withheld: of those nobody is asked for proof.
    """
    due = record.added.broken + record.added.undetermined if record.mode == "live" else 0
    counted = counted.after(record, value)
    return replace(counted, withheld=counted.withheld + due)


def _decoded(value: bytes) -> Checkpoint:
    """Raises `msgspec.DecodeError` also where what the checkpoint carries for sessions cannot be read."""
    found = checkpoints.decode(value)
    if found.topic_id:
        msgspec.msgpack.decode(found.start, type=Position)
        msgspec.msgpack.decode(found.covered, type=Covered | None)
    return found
