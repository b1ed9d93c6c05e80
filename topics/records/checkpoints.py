"""`betrace.checkpoints`: how far each facts partition is published, and from where its state can be rebuilt.

There is one record per facts partition, in the partition of the same number, written in the same transaction as the
signals that it covers. What the state machine needs to resume is opaque here and stored as bytes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping

import msgspec

from topics.records.verdicts import Counted

VERSION = 3
RULE_BYTES = 8
"""The length of the prefix of a rule's fingerprint that distinguishes it from thousands of others."""


class Holder(msgspec.Struct, frozen=True, array_like=True):
    """The source partition that holds back a clock, and its watermark; None while it has none."""

    topic: str
    partition: int
    watermark_ms: int | None


class RulesFrom(msgspec.Struct, frozen=True, array_like=True):
    """Rules that judge the traces that start at record time `from_ms` or later.

    `rules` is the concatenation of the first `RULE_BYTES` of their fingerprints.
    """

    from_ms: int
    rules: bytes


class JudgingTimes(msgspec.Struct, frozen=True, array_like=True):
    """The time from which each rule of a facts partition judges, small enough for thousands of rules.

    The rules in all of `rule_sets` judge the traces that start at record time `from_ms` (0: at any time) or later,
    except the rules in `others`, which have their own times.
    """

    rule_sets: list[str]
    from_ms: int = 0
    others: list[RulesFrom] = []

    @classmethod
    def of(cls, rule_sets: Iterable[str], judges_from: Mapping[str, int]) -> JudgingTimes:
        """Build from the rules' times by fingerprint (32 hex characters); the most frequent time is stored once."""
        times = Counter(judges_from.values())
        usual_ms = max(times, key=lambda each_ms: (times[each_ms], -each_ms), default=0)
        others: defaultdict[int, bytearray] = defaultdict(bytearray)
        for rule in sorted(judges_from):
            if judges_from[rule] != usual_ms:
                others[judges_from[rule]] += _short(rule)
        rules = [RulesFrom(from_ms, bytes(others[from_ms])) for from_ms in sorted(others)]
        return cls(sorted(rule_sets), usual_ms, rules)

    def judges_from(self, rules_of: Callable[[str], frozenset[str]]) -> dict[str, int]:
        """Return the time of each rule that judges, by fingerprint; `rules_of` returns the rules of a set."""
        if not self.rule_sets:
            return {}
        times_ms = {
            each.rules[at : at + RULE_BYTES]: each.from_ms
            for each in self.others
            for at in range(0, len(each.rules), RULE_BYTES)
        }
        everywhere = frozenset.intersection(*map(rules_of, self.rule_sets))
        return {rule: times_ms.get(_short(rule), self.from_ms) for rule in everywhere}


def _short(rule: str) -> bytes:
    return bytes.fromhex(rule)[:RULE_BYTES]


class PartitionStatus(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """The status of a facts partition when its checkpoint was written, for monitoring: no state is recovered from it.

    `clock_ms` is None until every source partition has a watermark; `rules` is the rule set of the last facts message.
    `judging` is None in checkpoints of versions that did not record it.
    """

    clock_ms: int | None
    held_by: Holder | None
    open_windows: int
    rules: str | None
    judging: JudgingTimes | None = None


class HourlySignals(msgspec.Struct, frozen=True, array_like=True):
    """The number of new signals of each rule, by id, published in one hour of record time, counted from 1970.

    `replay` identifies the reading of the input to which the hour belongs (`topics.records.facts.Section`).
    """

    hour: int
    signals: dict[str, int]
    replay: int = 0


class Hour(msgspec.Struct, frozen=True, array_like=True):
    """An hour of record time, counted from 1970, in one reading of the input.

    `log` is the topic id of the facts log; `replay` identifies the reading.
    """

    log: str
    replay: int
    number: int


class FirstWithheld(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """The first finding of a rule that was withheld in an hour, an abridged `topics.signals.finding.Finding`.

    `partition` is the facts partition, `rule_set` the fingerprint of a set that contains the rule, and `fingerprint`
    that of the rule.
    """

    partition: int
    rule_set: str
    fingerprint: str
    closed_ms: int
    first_fact_ms: int
    trace_id: bytes
    verdict: str
    late: bool
    close_reason: str
    first_ms: int
    last_ms: int
    spans: int
    root_seen: bool


class Withheld(msgspec.Struct, frozen=True, array_like=True):
    """The number of findings of a rule, given by id, that the limit of signals withheld in an hour."""

    hour: Hour
    rule: str
    count: int
    first: FirstWithheld


class Checkpoint(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """The progress of one facts partition.

    All results of the facts messages below `published_to` are on the topics. The log from `start_offset` on, together
    with `start`, the opaque initial state of the state machine at that offset, rebuilds the same windows. `topic_id` is
    the id of the facts topic: a checkpoint of another log is void. `covered`, also opaque, records where the
    partition's coverage records end; `start_offset` is never beyond that. `counted` is the state of its chain of counts
    records, which continues in a recreated log: there the generations of reading are numbered from `first_generation`,
    and `generation` is the current one.

    `withheld` are the findings that the partition withheld and that, as far as it knows, no summary covers yet; it
    withholds no more findings of an hour before `reached`. `summarized_to`, in the checkpoint of the partition that
    publishes summaries, is the first hour whose summaries it has not published.
    """

    version: int
    topic_id: str
    published_to: int
    start_offset: int
    start: bytes
    covered: bytes
    status: PartitionStatus | None = None
    hourly_signals: HourlySignals | None = None
    counted: Counted = Counted()
    first_generation: int = 0
    generation: int = 0
    withheld: list[Withheld] = []
    reached: Hour | None = None
    summarized_to: Hour | None = None


def key(partition: int) -> bytes:
    """Return the record's key.

    >>> key(3)
    b'3'
    """
    return str(partition).encode()


def encode(checkpoint: Checkpoint) -> bytes:
    """Encode the checkpoint as the record's value."""
    return msgspec.msgpack.encode(checkpoint)


class _Versioned(msgspec.Struct, array_like=True):
    version: int


def version(value: bytes) -> int | None:
    """Return the format version of a value; None when it has none, so that no version can have written it.

    >>> version(msgspec.msgpack.encode([9, "whatever"])), version(b"garbage")
    (9, None)
    """
    try:
        return msgspec.msgpack.decode(value, type=_Versioned).version
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def decode(value: bytes) -> Checkpoint:
    """Decode a checkpoint; raises `msgspec.DecodeError` if it has another version or is malformed."""
    checkpoint = msgspec.msgpack.decode(value, type=Checkpoint)
    if checkpoint.version != VERSION:
        raise msgspec.DecodeError(f"checkpoint format {checkpoint.version}, this program reads {VERSION}")
    return checkpoint
