"""Runs the ledger: four topics in, seals and tree heads out, once a minute.

    1  send the next tree head to Kafka in a transaction, not visible yet; a ledger that was replaced ends here
    2  store both: create the file of the seal's number; if it exists, another ledger has created it
    3  commit the transaction

If killed before 2, nothing happened; after it, the next start publishes (`Publisher.catch_up`). Reading starts at the
offsets in the last seal, without a consumer group. Two ledgers at once are harmless: one of them creates the file, the
other one exits with 3.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.config.settings import Settings
from streams.errors import ConfigError, StateError
from streams.evidence.ledger import log as ledgers
from streams.evidence.ledger import storage
from streams.evidence.ledger.log import Ledger, LogKey, Record
from streams.evidence.ledger.notes import Signer
from streams.evidence.ledger.publish import Publisher, check_published, last_published
from streams.evidence.ledger.seal import LogState
from streams.evidence.ledger.storage import Storage
from streams.kafka.clients import PARTITION_EOF
from streams.kafka.unreadable import UnreadableRange, UnreadableSkipper, find_batch_end
from streams.observe import metrics
from streams.observe.health import Health
from streams.observe.logs import OncePerMinute
from topics.cluster import admin as kafka

log = structlog.get_logger()

TOPICS = ("verdicts", "signals", "audit", "rules")
SEAL_EVERY_S = 60.0
PENDING_LIMIT_BYTES = 32 << 20
POLL_S = 0.2
DRAIN_S = 5.0
BATCH = 500

_BELOW_BEGIN = KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001, confluent-kafka has no public name for it
_REFUSED = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001, as above
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001, as above
    }
)


def _ignore(_count: int) -> None:
    """Do nothing: nothing depends on the seals."""


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """The evidence storage, and who signs it; the first key's name is the log's origin.

    `on_sealed` is called after each seal with the number of seals; an exception it raises ends the ledger.
    """

    store: Storage
    signers: Sequence[Signer]
    seal_every_s: float = SEAL_EVERY_S
    on_sealed: Callable[[int], None] = _ignore


def check(settings: Settings, store: Storage, signers: Sequence[Signer]) -> None:
    """Check everything that a ledger needs at its start, without disturbing one that runs elsewhere.

    Raises:
        AdminError: the brokers do not answer.
        ConfigError: a topic is missing.
        StateError: the evidence cannot be continued, or does not belong to these topics.
    """
    # Before the storage, which is never behind what is published.
    published = last_published(settings, signers[0].name, [signer.verifier() for signer in signers])
    ledger = ledgers.resume(store, signers)
    check_published(store, ledger.number, published)
    _starts(kafka.connect(settings.client()), settings, ledger)


class LedgerWorker:
    """One ledger; `run` returns after `stop`."""

    def __init__(self, settings: Settings, ledger_settings: LedgerSettings, health: Health | None = None) -> None:
        self._settings = settings
        self._health = health or Health(has_rules=False)
        self._own = ledger_settings
        self._publisher = Publisher(settings, ledger_settings.signers[0].name)
        # Only now: whatever another ledger stores from here on makes this one fail at its first seal.
        self._ledger = ledgers.resume(ledger_settings.store, ledger_settings.signers)
        verifiers = [signer.verifier() for signer in ledger_settings.signers]
        published = last_published(settings, self._ledger.origin, verifiers)
        self._publisher.catch_up(ledger_settings.store, self._ledger.number, published)
        self._consumer = self._reading()
        self._at_end: set[LogKey] = set()
        self._repeated = OncePerMinute()
        self._skipper = UnreadableSkipper(lambda at: find_batch_end(settings, at), self._lose)
        self._stopping = False

    def stop(self) -> None:
        """Request an orderly shutdown: read and seal what is on the topics; any thread may call this."""
        self._stopping = True

    def run(self) -> None:
        """Read and seal until `stop`.

        Raises:
            StateError: another ledger is running, or continuing would lose something.
        """
        try:
            while True:
                self._read_until(time.monotonic() + self._own.seal_every_s)
                if self._stopping:
                    break
                self._seal()
            self._drain()
        finally:
            self._consumer.close()

    def _read_until(self, deadline_s: float) -> None:
        while (
            not self._stopping
            and self._ledger.pending_bytes < PENDING_LIMIT_BYTES
            and (left_s := deadline_s - time.monotonic()) > 0
        ):
            self._read(min(POLL_S, left_s))

    def _drain(self) -> None:
        """Read what came since the last call, up to the current ends; the next start reads the rest."""
        self._at_end.clear()
        deadline_s = time.monotonic() + DRAIN_S
        while self._at_end < self._ledger.logs.keys() and time.monotonic() < deadline_s:
            self._read(POLL_S)
        if self._ledger.pending_bytes:
            self._seal()

    def _read(self, timeout_s: float) -> None:
        self._health.turn()
        messages = self._consumer.consume(BATCH, timeout_s)
        if messages or self._at_end >= self._ledger.logs.keys():
            self._health.move()
        for message in messages:
            key = (self._name(message), int(message.partition() or 0))
            error = message.error()
            if error is None:
                self._ledger.take(key, _record(message))
            elif error.code() == PARTITION_EOF:
                self._at_end.add(key)
            elif error.code() == _BELOW_BEGIN:
                self._resume_at_first(key)
            elif error.fatal() or error.code() in _REFUSED:
                raise _unreadable(message.topic() or "", error.str())
            elif not self._skipper.note(message, error):
                self._repeated.warning("kafka reported an error, reading continues", error=error.str())
        self._skipper.step(self._consumer)

    def _lose(self, lost: UnreadableRange) -> None:
        """Note records that no client can read as lost: the next seal has their offsets."""
        topic, partition = lost.source
        self._ledger.lose((topic.removeprefix(self._settings.prefix), partition), lost.to_offset)

    def _seal(self) -> None:
        """Make, store and publish the next seal; the numbers are those of the module's docstring."""
        sealed = self._ledger.seal(time.time_ns() // 1_000_000, self._own.signers)
        number = sealed.seal.number
        # 1
        self._publisher.prepare(sealed.note)
        try:
            # 2
            self._own.store.create(storage.seal_path(number), sealed.content)
        except FileExistsError as error:
            raise StateError(
                f"another ledger has created seal {number}",
                action="run one ledger; this one may be started again after the other",
            ) from error
        # 3
        self._publisher.publish()
        self._ledger.advance(sealed.seal_line, sealed.note)
        self._own.on_sealed(number + 1)
        _count(sealed.seal.logs)
        self._health.commit()
        log.info("sealed", number=number, entries=sum(state.added for state in sealed.seal.logs))

    def _reading(self) -> Consumer:
        admin = kafka.connect(self._settings.client())
        starts = _starts(admin, self._settings, self._ledger)
        consumer = Consumer(
            {
                **self._settings.client(),
                # The client requires a group id: nothing is committed and no group is joined.
                "group.id": self._settings.group("ledger"),
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                # A damaged record that still decodes must not be sealed as what was written.
                "check.crcs": True,
            }
        )
        consumer.assign(starts)
        self._health.assign(len(starts))
        return consumer

    def _resume_at_first(self, key: LogKey) -> None:
        position = TopicPartition(self._settings.topic(key[0]), key[1])
        first, end = self._consumer.get_watermark_offsets(position, timeout=DRAIN_S)
        start = self._ledger.logs[key].next_offset
        if start > end:
            raise _unreadable(position.topic, f"it ends before offset {start}, which the evidence already has")
        log.error(
            "records were deleted before the ledger read them", topic=position.topic, partition=key[1], begin=first
        )
        self._ledger.lose(key, first)
        position.offset = self._ledger.logs[key].next_offset
        self._consumer.seek(position)

    def _name(self, message: Message) -> str:
        return (message.topic() or "").removeprefix(self._settings.prefix)


def _starts(admin: AdminClient, settings: Settings, ledger: Ledger) -> list[TopicPartition]:
    """Return where to continue each partition; the seal records as lost what Kafka deleted before it was read."""
    names = {settings.topic(name): name for name in TOPICS}
    counts = kafka.partition_counts(admin, names)
    if missing := names.keys() - counts.keys():
        raise ConfigError(f"there is no topic {', '.join(sorted(missing))}: run betrace topics create")
    ids = kafka.topic_ids(admin, names)
    partitions = [TopicPartition(topic, number) for topic, count in counts.items() for number in range(count)]
    first_offsets, ends = kafka.earliest_offsets(admin, partitions), kafka.end_offsets(admin, partitions)
    starts = []
    for partition in partitions:
        key = (names[partition.topic], partition.partition)
        ledger.follow(key, ids[partition.topic])
        ledger.lose(key, first_offsets[partition.topic, partition.partition])
        start = ledger.logs[key].next_offset
        if start > ends[partition.topic, partition.partition]:
            raise _unreadable(partition.topic, f"it ends before offset {start}, which the evidence already has")
        starts.append(TopicPartition(partition.topic, partition.partition, start))
    return starts


def _record(message: Message) -> Record:
    given = message.headers() or []
    pairs = [*given.items()] if isinstance(given, dict) else given
    headers = [(name, content.encode() if isinstance(content, str) else content) for name, content in pairs]
    _, time_ms = message.timestamp()
    return Record(
        offset=message.offset() or 0, time_ms=time_ms, key=message.key(), value=message.value(), headers=headers
    )


def _count(logs: Sequence[LogState]) -> None:
    metrics.LEDGER_SEALS.inc()
    for state in logs:
        metrics.LEDGER_ENTRIES.labels(state.topic).inc(state.added)
        metrics.LEDGER_DOUBLES.labels(state.topic).inc(state.doubles)
        metrics.LEDGER_OFFSETS_LOST.labels(state.topic).inc(sum(end - begin for begin, end in state.lost))


def _unreadable(topic: str, reason: str) -> StateError:
    return StateError(f"{topic} cannot be read: {reason}", action="check that the brokers answer and the topic exists")
