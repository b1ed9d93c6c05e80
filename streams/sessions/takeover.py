"""How a worker takes a facts partition over, whoever had it before and whatever is left of it here.

    1  the partition's publisher is made: every earlier worker of the partition is fenced
    2  its last checkpoint is read: `last_checkpoint`; where none is left, and the store on this disk has all that was
       published, it is made again from the store and the last verdicts (`remade`)
    3  the store on this disk is taken when the facts log still holds all that it needs; else it is thrown away, and
       the windows are built again from the checkpoint's first row
    4  the facts messages that wait, or from which the windows are built, are read again: by a reader of our own, since
       Faust begins where its group committed

What follows from facts messages below the checkpoint's `published_to` is not published again.

There may be nothing to go on from: no checkpoint, one of another log, or one whose facts are gone. Then what is left of
the log is read as another generation, which supersedes the one before only where it judged a time whole: so nothing
counts twice. Of what was known only the chain of counts and the end of coverage go on. A log of which the beginning is
gone is begun midway: no rule judges a trace that could have begun before. What is lost by that is said (`say_begin`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from streams.config.settings import Settings
from streams.config.units import iso_ms
from streams.errors import StateError
from streams.observe import metrics
from streams.rules.registry import RuleSets
from streams.sessions.coverage import Covered
from streams.windows import rocksdb
from streams.windows.chain import Bounds
from streams.windows.partition import Partition
from streams.windows.positions import Position
from streams.windows.rocksdb import FORMAT, Identity, Store
from streams.windows.sessions import Sessions
from topics.cluster import admin as kafka
from topics.records.checkpoints import Checkpoint
from topics.records.verdicts import Counted

log = structlog.get_logger()

_NOTHING = msgspec.msgpack.encode(None)


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """Which facts log is read: a store of another one is of no use."""

    cluster_id: str
    topic_id: str

    def store(self, settings: Settings, number: int) -> Store:
        """Opens the store of facts partition `number`."""
        return Store(store_path(settings, number), self._of_store(settings))

    def stored(self, settings: Settings, number: int) -> Position | None:
        """What the store of facts partition `number` would begin with; raises `StateError` as `store` does."""
        return rocksdb.look(store_path(settings, number), self._of_store(settings))

    def _of_store(self, settings: Settings) -> Identity:
        cut = f"{settings.gap_ms}/{settings.lateness_ms}/{settings.max_duration_ms}"
        return Identity(FORMAT, self.cluster_id, self.topic_id, cut)


def store_path(settings: Settings, number: int) -> Path:
    """Where the store of facts partition `number` is."""
    return settings.state_dir / settings.group("sessions") / f"facts-{number}"


def identify(admin: AdminClient, settings: Settings) -> LogIdentity:
    """Which facts log this is; raises `AdminError`."""
    facts = settings.topic("facts")
    return LogIdentity(kafka.cluster_id(admin), kafka.topic_ids(admin, [facts])[facts])


class LogBounds(NamedTuple):
    """The facts messages of a partition that are there now: `[begin, end)`."""

    begin: int
    end: int


def of_log(found: Checkpoint | None, topic_id: str) -> Checkpoint | None:
    """A checkpoint where it is of this log, else None: it says nothing of another one but its counts."""
    return found if found is not None and found.topic_id == topic_id else None


def usable(found: Checkpoint | None, topic_id: str, stored: Position | None, log_begin: int) -> Checkpoint | None:
    """The checkpoint to go on from, with the position of the store on this disk; None where there is none."""
    if found is None:
        return None
    if found.topic_id != topic_id:
        return None if found.topic_id else remade(found, topic_id, stored, log_begin)
    return found if is_whole(stored, log_begin) or found.start_offset >= log_begin else None


def remade(found: Checkpoint, topic_id: str, stored: Position | None, log_begin: int) -> Checkpoint | None:
    """The checkpoint that is gone, where the store has all that was published of this log; else None.

    `found` is what the verdicts tell. The store says where their chain and their coverage ended with its last step, so
    whatever was published later, or written by somebody else, shows.
    """
    if stored is None or stored.counted is None or not is_whole(stored, log_begin):
        return None
    told, known = (
        msgspec.msgpack.decode(each or _NOTHING, type=Covered | None) for each in (found.covered, stored.covered)
    )
    has_all = _ends(stored.counted, known) == _ends(found.counted, told)
    row, rebuilt = stored.rows[-1], stored.rebuilt()
    if not has_all or row.facts_offset != stored.next_offset or row.generation > found.generation:
        return None
    return msgspec.structs.replace(
        found,
        topic_id=topic_id,
        published_to=stored.next_offset,
        start_offset=rebuilt.next_offset,
        start=msgspec.msgpack.encode(rebuilt),
        covered=stored.covered,
        status=None,
        hourly_signals=row.said,
        counted=stored.counted,
        first_generation=found.generation - row.generation,
    )


def _ends(counted: Counted, covered: Covered | None) -> tuple[object, ...]:
    end = None if covered is None else (covered.generation, covered.to_ms, covered.facts_to, covered.settled_ms)
    return counted.seq, counted.head, end


def begins_midway(found: Checkpoint | None, last: Checkpoint | None, bounds: LogBounds) -> bool:
    """Whether facts are gone without which it is not known what began before: nothing goes on, and not all is read.

    Without a checkpoint a log that ends before the one that coverage tells of is another one.
    """
    if last is not None:
        return False
    return bounds.begin > 0 or (found is not None and (bool(found.topic_id) or found.published_to > bounds.end))


def say_begin(number: int, found: Checkpoint | None, last: Checkpoint | None, topic_id: str, bounds: LogBounds) -> None:
    """Says what is lost, if anything is; evidence has it as a gap."""
    if last is not None:
        if found is not None and not found.topic_id:
            metrics.CHECKPOINTS_LOST.inc()
            log.warning("a facts partition has no checkpoint: its store has all that was published", partition=number)
        return
    is_midway = begins_midway(found, last, bounds)
    if found is None and not is_midway:
        return
    metrics.CHECKPOINTS_LOST.inc()
    standing = None if found is None else found.status
    open_windows = None if found is None or standing is None or not found.topic_id else standing.open_windows
    metrics.WINDOWS_LOST.inc(open_windows or 0)
    if not is_midway:
        log.warning(
            "a facts partition has no checkpoint: all its facts are read again, its counts go on as another reading",
            partition=number,
            generation=None if found is None else found.generation + 1,
        )
        return
    log.error(
        _what_is_gone(found, topic_id),
        partition=number,
        from_offset=bounds.begin,
        open_windows=open_windows,
        judged_up_to=None if standing is None or standing.clock_ms is None else iso_ms(standing.clock_ms),
        help="to judge that time again, replay it with betrace replay, or reset the offsets of the ingest group",
    )


def _what_is_gone(found: Checkpoint | None, topic_id: str) -> str:
    if found is None or not found.topic_id:
        event = "a facts partition has no checkpoint and its first facts are gone"
    elif found.topic_id == topic_id:
        event = "facts that a checkpoint needs were deleted"
    else:
        event = "the facts topic was made again"
    return f"{event}: windows that were open are lost, and their traces have no verdict"


def begin(
    settings: Settings,
    known: RuleSets,
    number: int,
    store: Store,
    last: Checkpoint | None,
    log_begin: int,
    *,
    is_midway: bool = False,
) -> Partition:
    """The partition as its store has it, else as the checkpoint lets it begin; without one where the log begins.

    Raises:
        StateError: the checkpoint cannot be read.
    """
    position = store.position()
    memory_bytes = settings.window_memory_bytes // settings.facts_partitions
    sessions = Sessions(Bounds.of(settings), known.counted(), store, memory_bytes=memory_bytes)
    # Without a checkpoint all is counted anew: what the store has would be amended without ever having been added.
    has_store = last is not None and is_whole(position, log_begin)
    if has_store:
        sessions.restore(store)
    if not has_store or position is None:
        store.clear()
        position = Position.beginning(log_begin, is_midway=is_midway) if last is None else _start(number, last)
        if last is not None:
            log.warning(
                "windows are built again from the facts log", partition=number, from_offset=position.next_offset
            )
    elif last is not None:
        # A step that was published and not written may have decided on one.
        later = [offset for offset in _start(number, last).evictions if offset >= position.next_offset]
        position = msgspec.structs.replace(position, evictions=[*position.evictions, *later])
    sessions.remember(position.ended, position.long, has_store=has_store)
    return Partition(
        settings.source_topics,
        sessions,
        known.rule_fingerprints,
        out_of_order_ms=settings.out_of_order_ms,
        position=position,
    )


def is_whole(position: Position | None, log_begin: int) -> bool:
    """The facts log still holds all that a store with this position needs."""
    return position is not None and position.refill_row.facts_offset >= log_begin


def covered(number: int, last: Checkpoint | None) -> Covered | None:
    """Where the coverage records of a facts partition end, as its checkpoint says.

    Raises:
        StateError: it cannot be read.
    """
    if last is None or not last.covered:
        return None
    try:
        return msgspec.msgpack.decode(last.covered, type=Covered | None)
    except msgspec.DecodeError as error:
        raise _unreadable(number, error) from error


def _start(number: int, checkpoint: Checkpoint) -> Position:
    try:
        return msgspec.msgpack.decode(checkpoint.start, type=Position)
    except msgspec.DecodeError as error:
        raise _unreadable(number, error) from error


def _unreadable(number: int, error: msgspec.DecodeError) -> StateError:
    return StateError(
        f"the checkpoint of facts partition {number} cannot be read: {error}",
        action="start the version that wrote it; if no other version has run here, run betrace doctor --repair",
    )


def log_bounds(admin: AdminClient, settings: Settings, number: int, *, timeout_s: float) -> LogBounds:
    """Where a facts partition begins and ends now; raises `AdminError`."""
    at = TopicPartition(settings.topic("facts"), number)
    key = (at.topic, at.partition)
    begin = kafka.earliest_offsets(admin, [at], timeout_s=timeout_s)[key]
    return LogBounds(begin, kafka.end_offsets(admin, [at], timeout_s=timeout_s)[key])
