"""Finds the checkpoint that a facts partition resumes from, whatever else is on `betrace.checkpoints`.

In: the ends of `betrace.checkpoints` and `betrace.verdicts`. Out: the partition's last checkpoint.

Invariant: nothing is counted twice. A record that no version of this program can have written is not a checkpoint and
is skipped, so the last one before it remains the last. A checkpoint of another version is not skipped: that version may
have published what an older checkpoint does not know of. If no checkpoint is left, the chain of counts and the end of
coverage are restored from the records on `betrace.verdicts`; `recovery` describes how a worker continues from there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

import msgspec
import structlog
from confluent_kafka import Message
from msgspec.structs import replace

from streams.config.settings import Settings
from streams.errors import StateError
from streams.kafka import reader
from streams.kafka.reader import Stopping
from streams.kafka.unreadable import UnreadableRange
from streams.observe import metrics
from streams.sessions.coverage import Covered, CoveredSource, published_ends
from streams.windows.positions import Position
from topics.records import checkpoints, verdicts
from topics.records.checkpoints import Checkpoint, PartitionStatus
from topics.records.verdicts import LIVE_ORIGIN, Counted, Coverage, SourceCoverage, VerdictCounts

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class Search:
    """The records at the end of a partition of `betrace.checkpoints`, read in order.

    `last` is the last checkpoint, written at `written_ms`. `other_version` says why the last record that is a
    checkpoint cannot be read, when another version wrote it. `passed_over` has the records that are not checkpoints, by
    offset, with the reason; `lost` the ranges that no client can read.
    """

    number: int
    last: Checkpoint | None = None
    last_offset: int = -1
    written_ms: int | None = None
    other_version: str | None = None
    passed_over: dict[int, str] = field(default_factory=dict)
    lost: list[UnreadableRange] = field(default_factory=list)

    @property
    def lost_since_last(self) -> list[UnreadableRange]:
        """The ranges in which there may have been a later checkpoint than `last`."""
        return [each for each in self.lost if each.to_offset > self.last_offset]

    def take(self, message: Message) -> bool:
        """Add the next record; return whether it is a checkpoint, of any version."""
        value = message.value() or b""
        if message.key() != checkpoints.key(self.number):
            return self._skip(message, "its key is not that of this partition")
        try:
            self.last, self.other_version = _decoded(value), None
            self.last_offset = message.offset() or 0
            _, self.written_ms = message.timestamp()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            version = checkpoints.version(value)
            if version is None or version == checkpoints.VERSION:
                return self._skip(message, str(error))
            self.other_version = str(error)
        return True

    def _skip(self, message: Message, reason: str) -> bool:
        self.passed_over[message.offset() or 0] = reason
        return False


def search(settings: Settings, number: int, stopping: Stopping, *, for_this_version: bool = False) -> Search:
    """Search the checkpoints topic from its end; `for_this_version`: for a checkpoint of this version.

    Raises:
        NotDoneError: no broker answers, or `stopping` returned true.
    """
    found, lost = Search(number=number), dict[int, UnreadableRange]()
    on_lost = partial(_note_lost, lost)
    for messages in reader.tails(settings, settings.topic("checkpoints"), number, stopping, on_lost):
        found = Search(number=number)
        for message in messages:
            found.take(message)
        # Longer tails have the same ranges again.
        found.lost = [lost[offset] for offset in sorted(lost)]
        if found.last is not None or (found.other_version is not None and not for_this_version):
            break
    return found


def _note_lost(lost: dict[int, UnreadableRange], each: UnreadableRange) -> None:
    lost[each.from_offset] = each


def last_checkpoint(settings: Settings, number: int, stopping: Stopping) -> Checkpoint | None:
    """Return the last checkpoint of a facts partition, of any facts log; None when nothing was ever published.

    Raises:
        NotDoneError: no broker answers, or `stopping` returned true.
        StateError: another version wrote it.
    """
    found = search(settings, number, stopping)
    if found.other_version is not None:
        raise StateError(
            f"the checkpoint of facts partition {number} cannot be read: {found.other_version}",
            action="start the version that wrote it; if no other version has run here, run betrace doctor --repair",
        )
    if found.passed_over:
        metrics.CHECKPOINTS_PASSED_OVER.inc(len(found.passed_over))
        log.warning(
            "records on the checkpoints topic are not checkpoints, skipped",
            partition=number,
            offsets=sorted(found.passed_over)[:10],
            count=len(found.passed_over),
            help="check which other clients have write access to this topic",
        )
    if found.last is not None and found.lost_since_last:
        return _checked(settings, found, stopping)
    return checkpoint_from_verdicts(settings, number, stopping) if found.last is None else found.last


def _checked(settings: Settings, found: Search, stopping: Stopping) -> Checkpoint | None:
    """Return the last readable checkpoint, unless the verdicts show that a later one was published.

    A step publishes counts and its checkpoint in one transaction: if the chain of counts ends where the checkpoint has
    it, nothing was counted after it. Otherwise the checkpoint is lost, and `checkpoint_from_verdicts` says how far it
    was.
    """
    last, lost = found.last, found.lost_since_last[-1]
    published = checkpoint_from_verdicts(settings, found.number, stopping)
    is_last = last is not None and (published is None or _count_ends(published) == _count_ends(last))
    metrics.CHECKPOINTS_PASSED_OVER.inc()
    log.warning(
        "records on the checkpoints topic cannot be read, the checkpoint before them is compared with the verdicts",
        is_last=is_last,
        partition=found.number,
        offset=lost.from_offset,
        to_offset=lost.to_offset,
        help="betrace doctor names them; the next checkpoint is written after them",
    )
    return last if is_last else published


def _count_ends(checkpoint: Checkpoint) -> tuple[object, ...]:
    covered = msgspec.msgpack.decode(checkpoint.covered, type=Covered | None) if checkpoint.covered else None
    return published_ends(checkpoint.counted, covered)


def checkpoint_from_verdicts(settings: Settings, number: int, stopping: Stopping) -> Checkpoint | None:
    """Restore what `betrace.verdicts` has of a lost checkpoint, without a log; None when it has no records.

    The result has the chain of counts, the end of coverage and, in `status`, the latest record time published in this
    generation. `published_to` is where coverage ends in the facts; more may have been published.

    Raises:
        NotDoneError: no broker answers, or `stopping` returned true.
    """
    chain: _Chain | None = None
    for messages in reader.tails(settings, settings.topic("verdicts"), number, stopping):
        chain = _chain(messages)
        if chain is not None and chain.is_whole:
            break
    if chain is None:
        return None
    covered = chain.covered()
    return Checkpoint(
        version=checkpoints.VERSION,
        topic_id="",
        published_to=0 if covered is None else covered.facts_to,
        start_offset=0,
        start=b"",
        covered=msgspec.msgpack.encode(covered),
        status=PartitionStatus(clock_ms=chain.clock_ms, held_by=None, open_windows=0, rules=None),
        counted=chain.counted,
        first_generation=chain.generation,
        generation=chain.generation,
    )


@dataclass(slots=True, kw_only=True)
class _Chain:
    """How far the counts came; `is_whole` when a coverage record has their sum, or they are read from the first.

    `last` is the last coverage record, `sources` the latest coverage of each source, `verdicts` how many followed it,
    by rule and fingerprint; `clock_ms` is the latest record time of the generation.
    """

    counted: Counted
    generation: int
    is_whole: bool
    clock_ms: int
    last: Coverage | None = None
    sources: dict[tuple[str, int], SourceCoverage] = field(default_factory=dict)
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, record: VerdictCounts, value: bytes) -> None:
        """Add the next counts record."""
        self.counted = _after(self.counted, record, value)
        self._reach(record.generation, record.clock_ms)
        self.verdicts[record.rule, record.rule_fingerprint] += record.added.applicable + record.added.not_applicable

    def add_coverage(self, record: Coverage) -> None:
        """Add a coverage record."""
        self.counted, self.is_whole, self.last = record.counted, True, record
        self._reach(record.generation, record.to_ms)
        self.verdicts.clear()
        self.sources |= {(source.topic, source.partition): source for source in record.sources}

    def covered(self) -> Covered | None:
        """Return where coverage ends; the windows closed since are estimated by the rule with the most verdicts."""
        last = self.last
        if last is None:
            return None
        sources = [
            CoveredSource(source.topic, source.partition, source.epoch, source.to_offset)
            for _, source in sorted(self.sources.items())
        ]
        return Covered(
            to_ms=last.to_ms,
            facts_to=last.facts_to,
            sources=sources,
            windows_judged=max(self.verdicts.values(), default=0),
            generation=last.generation,
            settled_ms=last.settled_to_ms,
            start_ms=last.start_ms,
            replay=last.reset_ms or 0,
            reached_ms=0,
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
            continue  # not ours; the ledger reports it
        if record.origin != LIVE_ORIGIN:
            continue
        if isinstance(record, Coverage):
            chain = chain or _Chain(
                counted=record.counted, generation=record.generation, is_whole=True, clock_ms=record.to_ms
            )
            chain.add_coverage(record)
            continue
        if chain is None:
            start = Counted(seq=record.seq, head=record.prev)
            chain = _Chain(
                counted=start, generation=record.generation, is_whole=record.seq == 0, clock_ms=record.clock_ms
            )
        if (record.seq, record.prev) == (chain.counted.seq, chain.counted.head):
            chain.add(record, value)
    return chain


def _after(counted: Counted, record: VerdictCounts, value: bytes) -> Counted:
    """Return the chain with one more record.

    The number of signals published with it is not known any more. They count as withheld, because withheld signals need
    no proof.
    """
    due = record.added.broken + record.added.undetermined if record.mode == "live" else 0
    counted = counted.after(record, value)
    return replace(counted, withheld=counted.withheld + due)


def _decoded(value: bytes) -> Checkpoint:
    """Decode a checkpoint; raise `msgspec.DecodeError` also when its state for sessions cannot be read."""
    checkpoint = checkpoints.decode(value)
    if checkpoint.topic_id:
        msgspec.msgpack.decode(checkpoint.start, type=Position)
        msgspec.msgpack.decode(checkpoint.covered, type=Covered | None)
    return checkpoint
