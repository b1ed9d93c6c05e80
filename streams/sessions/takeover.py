"""How a worker takes a facts partition over, whoever had it before and whatever is left of it here.

    1  the partition's publisher is made: every earlier worker of the partition is fenced
    2  its last checkpoint is read: `last_checkpoint`
    3  the store on this disk is taken when the facts log still holds all that it needs; else it is thrown away, and
       the windows are built again from the checkpoint's first row
    4  the facts messages that wait, or from which the windows are built, are read again: by a reader of our own, since
       Faust begins where its group committed

What follows from facts messages below the checkpoint's `published_to` is not published again. Of a checkpoint of
another log nothing is taken but the chain of counts, which goes on as another generation of reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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

log = structlog.get_logger()


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


def of_log(found: Checkpoint | None, topic_id: str) -> Checkpoint | None:
    """A checkpoint where it is of this log, else None: it says nothing of another one but its counts."""
    return found if found is not None and found.topic_id == topic_id else None


def say_lost(number: int, before: Checkpoint) -> None:
    """Says what went with the facts log that a checkpoint is of; evidence has it as a gap of coverage."""
    standing = before.standing
    if not before.topic_id or standing is None:
        return
    metrics.WINDOWS_LOST.inc(standing.open_windows)
    log.error(
        "the facts topic was made again: windows that were open are lost, and their traces have no verdict",
        partition=number,
        open_windows=standing.open_windows,
        judged_up_to=None if standing.clock_ms is None else iso_ms(standing.clock_ms),
        help="to judge that time again, replay it with betrace replay, or reset the offsets of the ingest group",
    )


def begin(
    settings: Settings, known: RuleSets, number: int, store: Store, last: Checkpoint | None, log_begin: int
) -> Partition:
    """The partition as its store has it, else as the checkpoint lets it begin.

    Raises:
        StateError: the facts log begins later than anything that is known of the partition.
    """
    position = store.position()
    memory_bytes = settings.window_memory_bytes // settings.facts_partitions
    sessions = Sessions(Bounds.of(settings), known.counted(), store, memory_bytes=memory_bytes)
    # Without a checkpoint all is counted anew: what the store has would be amended without ever having been added.
    has_store = is_whole(position, log_begin) and (last is not None or log_begin > 0)
    if has_store:
        sessions.restore(store)
    if not has_store or position is None:
        store.clear()
        position = rebuilt(number, last, log_begin)
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
    if last is None:
        return None
    try:
        return msgspec.msgpack.decode(last.covered, type=Covered | None)
    except msgspec.DecodeError as error:
        raise _unreadable(number, error) from error


def rebuilt(number: int, last: Checkpoint | None, log_begin: int) -> Position:
    """Where a facts partition begins without a store.

    Raises:
        StateError: the facts log begins later than anything that is known, or the checkpoint cannot be read.
    """
    if last is None and log_begin == 0:
        return Position.beginning(0)
    if last is None or last.start_offset < log_begin:
        raise StateError(
            f"facts partition {number} begins at offset {log_begin}, and no checkpoint says what was before",
            action="restore betrace.positions, or stop all workers, delete the betrace.facts topic and reset the "
            "offsets of the ingest group",
        )
    return _start(number, last)


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


def log_begin(admin: AdminClient, settings: Settings, number: int, *, timeout_s: float) -> int:
    """Where a facts partition begins now; raises `AdminError`."""
    at = TopicPartition(settings.topic("facts"), number)
    return kafka.begin_offsets(admin, [at], timeout_s=timeout_s)[at.topic, at.partition]
