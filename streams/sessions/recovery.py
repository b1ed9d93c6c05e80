"""How a worker opens a facts partition, whichever worker had it before and whatever is left of its local state.

    1  create the partition's publisher, which fences every earlier worker of the partition
    2  read the last checkpoint (`last_checkpoint`); if none is left and the store on this disk has everything that was
       published, reconstruct it from the store and the last verdicts (`reconstructed_checkpoint`)
    3  recovery with local state: use the store on this disk if the facts log still has everything that it requires;
       otherwise recovery without local state: delete the store's contents, and rebuild the windows from the first
       resume point of the checkpoint
    4  read again the facts messages that were buffered, or from which the windows are rebuilt; with a reader of our
       own, since Faust starts at the offset that its group committed

Outcomes of facts messages below the checkpoint's `published_to` are not published again.

There may be nothing to resume from: no checkpoint, one of another log, or one whose facts were deleted. Then the rest
of the log is read as another generation. It supersedes the previous one only for times that it judged completely, so
nothing counts twice. Only the chain of counts and the end of coverage continue. If the start of the log is missing, no
rule judges a trace that could have begun before. `report_losses` reports what is lost.
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
from streams.sessions.coverage import Covered, published_ends
from streams.windows import rocksdb
from streams.windows.chain import Bounds
from streams.windows.partition import Partition
from streams.windows.positions import Position
from streams.windows.rocksdb import FORMAT, Identity, Store
from streams.windows.sessions import Sessions
from topics.cluster import admin as kafka
from topics.records.checkpoints import Checkpoint

log = structlog.get_logger()

_NOTHING = msgspec.msgpack.encode(None)


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """The facts log that is read; a store of another log is useless."""

    cluster_id: str
    topic_id: str

    def store(self, settings: Settings, number: int) -> Store:
        """Open the store of facts partition `number`."""
        return Store(store_path(settings, number), self._of_store(settings))

    def stored_position(self, settings: Settings, number: int) -> Position | None:
        """Return the position in the store of facts partition `number`; raises `StateError` as `store` does."""
        return rocksdb.read_position(store_path(settings, number), self._of_store(settings))

    def _of_store(self, settings: Settings) -> Identity:
        bounds = f"{settings.gap_ms}/{settings.lateness_ms}/{settings.max_duration_ms}"
        return Identity(FORMAT, self.cluster_id, self.topic_id, bounds)


def store_path(settings: Settings, number: int) -> Path:
    """Return the path of the store of facts partition `number`."""
    return settings.state_dir / settings.group("sessions") / f"facts-{number}"


def identify(admin: AdminClient, settings: Settings) -> LogIdentity:
    """Identify the facts log; raises `AdminError`."""
    facts = settings.topic("facts")
    return LogIdentity(kafka.cluster_id(admin), kafka.topic_ids(admin, [facts])[facts])


class LogBounds(NamedTuple):
    """The offsets of the facts messages that a partition has now: `[start, end)`."""

    start: int
    end: int


def of_log(last: Checkpoint | None, topic_id: str) -> Checkpoint | None:
    """Return a checkpoint if it is of this log, else None: only its counts apply to another log."""
    return last if last is not None and last.topic_id == topic_id else None


def usable_checkpoint(
    last: Checkpoint | None, topic_id: str, stored: Position | None, log_start: int
) -> Checkpoint | None:
    """Return the checkpoint to resume from, given the position in the local store; None if there is none."""
    if last is None:
        return None
    if last.topic_id != topic_id:
        return None if last.topic_id else reconstructed_checkpoint(last, topic_id, stored, log_start)
    return last if has_required_log(stored, log_start) or last.start_offset >= log_start else None


def reconstructed_checkpoint(
    last: Checkpoint, topic_id: str, stored: Position | None, log_start: int
) -> Checkpoint | None:
    """Return the lost checkpoint if the store has everything that was published of this log, else None.

    `last` is what the verdicts have. The store knows where their chain and their coverage ended at its last step, so
    anything published later, or by another program, is detected.
    """
    if stored is None or stored.counted is None or not has_required_log(stored, log_start):
        return None
    published, stored_end = (
        msgspec.msgpack.decode(each or _NOTHING, type=Covered | None) for each in (last.covered, stored.covered)
    )
    has_all = published_ends(stored.counted, stored_end) == published_ends(last.counted, published)
    point, rebuilt = stored.resume_points[-1], stored.without_local_state()
    if not has_all or point.facts_offset != stored.next_offset or point.generation > last.generation:
        return None
    return msgspec.structs.replace(
        last,
        topic_id=topic_id,
        published_to=stored.next_offset,
        start_offset=rebuilt.next_offset,
        start=msgspec.msgpack.encode(rebuilt),
        covered=stored.covered,
        status=None,
        hourly_signals=point.hourly_signals,
        counted=stored.counted,
        first_generation=last.generation - point.generation,
    )


def is_log_start_missing(last: Checkpoint | None, usable: Checkpoint | None, bounds: LogBounds) -> bool:
    """Return whether deleted facts leave unknown which traces began earlier: nothing can resume, and part is lost.

    Without a checkpoint, a log that ends before the end of coverage is another log.
    """
    if usable is not None:
        return False
    return bounds.start > 0 or (last is not None and (bool(last.topic_id) or last.published_to > bounds.end))


def report_losses(
    number: int, last: Checkpoint | None, usable: Checkpoint | None, topic_id: str, bounds: LogBounds
) -> None:
    """Log and count what is lost, if anything is; in the evidence it is a gap."""
    if usable is not None:
        if last is not None and not last.topic_id:
            metrics.CHECKPOINTS_LOST.inc()
            log.warning(
                "a facts partition has no checkpoint: resuming from its store, which has all that was published",
                partition=number,
            )
        return
    log_start_missing = is_log_start_missing(last, usable, bounds)
    if last is None and not log_start_missing:
        return
    metrics.CHECKPOINTS_LOST.inc()
    status = None if last is None else last.status
    open_windows = None if last is None or status is None or not last.topic_id else status.open_windows
    metrics.WINDOWS_LOST.inc(open_windows or 0)
    if not log_start_missing:
        log.warning(
            "a facts partition has no checkpoint: reading all its facts as a new generation",
            partition=number,
            generation=None if last is None else last.generation + 1,
        )
        return
    log.error(
        _loss_event(last, topic_id),
        partition=number,
        from_offset=bounds.start,
        open_windows=open_windows,
        judged_up_to=None if status is None or status.clock_ms is None else iso_ms(status.clock_ms),
        help="to judge that time again, replay it with betrace replay, or reset the offsets of the ingest group",
    )


def _loss_event(last: Checkpoint | None, topic_id: str) -> str:
    if last is None or not last.topic_id:
        event = "a facts partition has no checkpoint and its first facts are gone"
    elif last.topic_id == topic_id:
        event = "facts that a checkpoint needs were deleted"
    else:
        event = "the facts topic was recreated"
    return f"{event}: open windows are lost, their traces get no verdict"


def open_partition(
    settings: Settings,
    known: RuleSets,
    number: int,
    store: Store,
    usable: Checkpoint | None,
    log_start: int,
    *,
    log_start_missing: bool = False,
) -> Partition:
    """Restore the partition from its store, else from the checkpoint; without one, start where the log begins.

    Raises:
        StateError: the checkpoint cannot be read.
    """
    position = store.position()
    memory_bytes = settings.window_memory_bytes // settings.facts_partitions
    sessions = Sessions(Bounds.of(settings), known.counted(), store, memory_bytes=memory_bytes)
    # Without a checkpoint everything is counted anew: verdicts in the store would be amended without ever having been
    # added.
    has_store = usable is not None and has_required_log(position, log_start)
    if has_store:
        sessions.restore(store)
    if not has_store or position is None:
        store.clear()
        position = (
            Position.initial(log_start, log_start_missing=log_start_missing)
            if usable is None
            else _start(number, usable)
        )
        if usable is not None:
            log.warning("rebuilding windows from the facts log", partition=number, from_offset=position.next_offset)
    elif usable is not None:
        # A step that was published but not written to the store may have scheduled an eviction.
        later = [offset for offset in _start(number, usable).evictions if offset >= position.next_offset]
        position = msgspec.structs.replace(position, evictions=[*position.evictions, *later])
    sessions.restore_position(position.ended_chains, position.long_presences, has_store=has_store)
    return Partition(
        settings.source_topics,
        sessions,
        known.rule_fingerprints,
        out_of_order_ms=settings.out_of_order_ms,
        position=position,
    )


def has_required_log(position: Position | None, log_start: int) -> bool:
    """Return whether the facts log still has everything that a store with this position requires."""
    return position is not None and position.resume_point.facts_offset >= log_start


def decode_covered(number: int, checkpoint: Checkpoint | None) -> Covered | None:
    """Return where the coverage records of a facts partition end, according to its checkpoint.

    Raises:
        StateError: the checkpoint cannot be read.
    """
    if checkpoint is None or not checkpoint.covered:
        return None
    try:
        return msgspec.msgpack.decode(checkpoint.covered, type=Covered | None)
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
    """Return where a facts partition begins and ends now; raises `AdminError`."""
    at = TopicPartition(settings.topic("facts"), number)
    key = (at.topic, at.partition)
    start = kafka.earliest_offsets(admin, [at], timeout_s=timeout_s)[key]
    return LogBounds(start, kafka.end_offsets(admin, [at], timeout_s=timeout_s)[key])
