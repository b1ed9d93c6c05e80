"""Source partitions that were assigned to this worker and are not read yet.

In: partitions, from a rebalance or because their log is gone. Out: the same partitions, ready to be read, once the
commits that must come first are confirmed. Nothing here blocks: `step` continues with the answers that have arrived, so
the worker stays in its group and can be stopped while the brokers are away.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import replace

import structlog
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from streams.config.settings import Settings
from streams.ingest import group
from streams.ingest.group import Commit, GroupSnapshot, Plan, Source
from streams.ingest.source import Log, SourcePartition, StartPosition, read_metadata, write_metadata
from streams.ingest.watermark import PartitionTime
from streams.kafka import background
from streams.observe import metrics
from streams.observe.logs import OncePerMinute
from topics.errors import AdminError

log = structlog.get_logger()

QUERY_INTERVAL_S = 0.1
QUERY_TIMEOUT_S = 60.0
RETRY_S = 1.0
COMMIT_EVERY_S = 1.0


class Assignment:
    """The pending partitions; `commit` sends commits without waiting for the answer."""

    def __init__(self, settings: Settings, client: AdminClient, commit: Callable[[list[TopicPartition]], None]) -> None:
        self._settings = settings
        self._client = client
        self._commit = commit
        self._pending: set[Source] = set()
        self._known: dict[Source, Commit] = {}
        self._written: dict[Source, TopicPartition] = {}
        self._written_s = 0.0
        self._replay = 0
        self._rules: str | None = None
        self._topic_ids: set[str] = set()
        self._query: Future[GroupSnapshot] | None = None
        self._due_s = self._query_s = 0.0
        self._repeated = OncePerMinute()

    def add(self, sources: Iterable[Source], known: Mapping[Source, Commit] | None = None) -> None:
        """Add partitions to read; `known` has where this worker stopped, which may not be committed yet."""
        self._pending |= {*sources}
        self._known |= known or {}
        self._discard_snapshot()

    def remove(self, sources: Iterable[Source]) -> None:
        """Remove partitions that moved to another worker."""
        self._pending -= {*sources}
        self._discard_snapshot()

    def step(self, *, local_ms: int, rules: str | None = None) -> list[SourcePartition]:
        """Continue as far as possible; return the pending partitions, all at once, when they may be read.

        `rules` is the set with which they will be projected.

        Raises:
            StateError: some of the group's offsets were reset and others were not.
        """
        metrics.PARTITIONS_PAUSED.labels("beginning").set(len(self._pending))
        self._rules = rules
        if not self._pending:
            return []
        if self._query is None:
            if time.monotonic() >= self._due_s:
                self._query_s = time.monotonic()
                self._query = background.run_in_background(lambda: group.fetch_snapshot(self._client, self._settings))
            return []
        if self._query.done():
            return self._on_snapshot(self._query, local_ms)
        if time.monotonic() - self._query_s > QUERY_TIMEOUT_S:
            # Every query in it has a time-out, so one that is still open was lost in the client.
            self._repeated.warning("query for start positions timed out, retrying", waited_s=QUERY_TIMEOUT_S)
            self._query = None
        return []

    def _on_snapshot(self, answer: Future[GroupSnapshot], local_ms: int) -> list[SourcePartition]:
        self._query, self._due_s = None, time.monotonic() + QUERY_INTERVAL_S
        try:
            fetched = answer.result()
        except AdminError as error:
            self._repeated.warning("query for start positions failed, retrying", error=str(error))
            self._due_s = time.monotonic() + RETRY_S
            return []
        if not self._is_written(fetched):
            self._commit_again()
            return []
        snapshot = replace(fetched, committed={**fetched.committed, **self._known}, replay=self._replay_of(fetched))
        plan = group.plan(snapshot, self._pending, start=self._settings.start, now_ms=local_ms)
        self._write(snapshot, plan)
        return self._start(snapshot, plan, local_ms)

    def _replay_of(self, snapshot: GroupSnapshot) -> int | None:
        """Return the replay in which this worker read, if all topics that it read have been recreated."""
        topic_ids = {log.topic_id for log in snapshot.logs.values()}
        return self._replay if self._topic_ids and not self._topic_ids & topic_ids else None

    def _write(self, snapshot: GroupSnapshot, plan: Plan) -> None:
        """Commit new epochs; the previous positions of these partitions are obsolete."""
        for source, each in plan.commits.items():
            metrics.EPOCHS.labels(source[0]).inc()
            self._known.pop(source, None)
            metadata = write_metadata(each.initial_metadata(snapshot.logs[source].topic_id, self._rules))
            self._written[source] = TopicPartition(*source, each.offset, metadata)
        if plan.commits:
            self._commit_again()

    def _commit_again(self) -> None:
        """Repeat the commits from time to time until they are confirmed; a slow commit creates no second epoch."""
        now_s = time.monotonic()
        if now_s - self._written_s >= COMMIT_EVERY_S:
            self._written_s = now_s
            self._commit([*self._written.values()])

    def _is_written(self, snapshot: GroupSnapshot) -> bool:
        """Return whether all new epochs are committed; until then the group's offsets look resumable but are not."""
        for source, at in self._written.items():
            committed, written = snapshot.metadata_of(source), read_metadata(at.metadata)
            if committed is None or written is None or committed.epoch < written.epoch:
                return False
        self._written.clear()
        self._written_s = 0.0
        return True

    def _start(self, snapshot: GroupSnapshot, plan: Plan, local_ms: int) -> list[SourcePartition]:
        counts = Counter(topic for topic, _ in snapshot.logs)
        started = [
            self._start_one(source, each, snapshot.logs[source], counts[source[0]], local_ms)
            for source, each in plan.starts.items()
        ]
        if started:
            self._pending.clear()
            self._known.clear()
            self._replay = max(each.replay for each in started)
            self._topic_ids = {log.topic_id for log in snapshot.logs.values()}
        return started

    def _start_one(
        self, source: Source, start: StartPosition, at: Log, partition_count: int, local_ms: int
    ) -> SourcePartition:
        topic, partition = source
        if start.lost is not None:
            metrics.OFFSETS_LOST.labels(topic).inc(start.lost[1] - start.lost[0])
            log.error("records were deleted before they were read", topic=topic, partition=partition, lost=start.lost)
        log.info(
            "reading starts",
            topic=topic,
            partition=partition,
            offset=start.offset,
            epoch=start.epoch,
            replay=start.replay,
        )
        return SourcePartition.starting_at(
            TopicPartition(topic, partition),
            start,
            at.topic_id,
            partition_count,
            PartitionTime.of(self._settings),
            now_ms=local_ms,
            rules=self._rules,
            log_end=at.high,
        )

    def _discard_snapshot(self) -> None:
        """Discard the snapshot, which a rebalance may have made obsolete."""
        self._query, self._due_s = None, 0.0
        self._written.clear()
        self._written_s = 0.0
        self._known = {source: commit for source, commit in self._known.items() if source in self._pending}
