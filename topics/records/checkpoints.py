"""`betrace.checkpoints`: up to where each facts partition is published, and from where it can be built again.

One record per facts partition, in the partition of the same number, written in the transaction of the signals it speaks
of. What the state machine needs to begin there is its own business and comes as bytes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping

import msgspec

from topics.records.verdicts import Counted

VERSION = 3
RULE_BYTES = 8
"""Of a rule's fingerprint so many bytes tell it from thousands of others."""


class Holder(msgspec.Struct, frozen=True, array_like=True):
    """The source partition that holds a clock, and its watermark; None when it has none yet."""

    topic: str
    partition: int
    watermark_ms: int | None


class RulesFrom(msgspec.Struct, frozen=True, array_like=True):
    """Rules that judge traces that begin at record time `from_ms` or later.

    `rules` is the first `RULE_BYTES` of each one's fingerprint, one after the other.
    """

    from_ms: int
    rules: bytes


class JudgingTimes(msgspec.Struct, frozen=True, array_like=True):
    """From when each rule of a facts partition judges, small enough for thousands of rules.

    The rules that are in all of `rule_sets` judge: traces that begin at record time `from_ms` (0: at any) or later, or
    at the time that `others` say.
    """

    rule_sets: list[str]
    from_ms: int = 0
    others: list[RulesFrom] = []

    @classmethod
    def of(cls, rule_sets: Iterable[str], judges_from: Mapping[str, int]) -> JudgingTimes:
        """The times of rules by their fingerprints, 32 hex characters; the most frequent one is said once."""
        times = Counter(judges_from.values())
        usual_ms = max(times, key=lambda each_ms: (times[each_ms], -each_ms), default=0)
        others: defaultdict[int, bytearray] = defaultdict(bytearray)
        for rule in sorted(judges_from):
            if judges_from[rule] != usual_ms:
                others[judges_from[rule]] += _short(rule)
        rules = [RulesFrom(from_ms, bytes(others[from_ms])) for from_ms in sorted(others)]
        return cls(sorted(rule_sets), usual_ms, rules)

    def judges_from(self, rules_of: Callable[[str], frozenset[str]]) -> dict[str, int]:
        """The time of each rule that judges, by fingerprint; `rules_of` gives the rules of a set."""
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


class PartitionStatus(msgspec.Struct, frozen=True, array_like=True):
    """How a facts partition stood when its checkpoint was made, for who looks: nothing goes on from it.

    `clock_ms` is None before every source partition has a watermark, `rules` the rule set of the last facts message.
    `judging` is None of a version that did not say from when rules judge.
    """

    clock_ms: int | None
    held_by: Holder | None
    open_windows: int
    rules: str | None
    judging: JudgingTimes | None = None


class HourlySignals(msgspec.Struct, frozen=True, array_like=True):
    """How many new signals of each rule, by id, were published in an hour of record time, counted from 1970.

    `replay` is the reading of the input that the hour is of (`topics.records.facts.Section`).
    """

    hour: int
    signals: dict[str, int]
    replay: int = 0


class Hour(msgspec.Struct, frozen=True, array_like=True):
    """An hour of record time, counted from 1970, in one reading of the input.

    `log` is the topic id of the facts log, `replay` the reading.
    """

    log: str
    replay: int
    number: int


class FirstWithheld(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """The first finding of a rule that was withheld in an hour, a `topics.signals.finding.Finding` in short.

    `partition` is the facts partition, `rule_set` the fingerprint of a set that has the rule, `fingerprint` the rule's.
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
    """How many findings of a rule, by its id, were withheld in an hour because of the limit of signals."""

    hour: Hour
    rule: str
    count: int
    first: FirstWithheld


class Checkpoint(msgspec.Struct, frozen=True, array_like=True):
    """Where one facts partition stands.

    Everything that follows from facts messages below `published_to` is on the topics. With the log from `start_offset`
    on and `start`, the state machine's own beginning there, the same windows are built again. `topic_id` is the facts
    topic's: a checkpoint of another log says nothing. `covered`, its own business too, says where the partition's
    coverage records end; `start_offset` is never above. `counted` is the chain of its counts records, which goes on
    over another log too: there the generations of reading are numbered from `first_generation`, the present one is
    `generation`.

    `withheld` is what the partition withheld and no summary is known to tell of yet; of an hour before `reached` it
    withholds nothing more. `summarized_to`, in the checkpoint of the partition that publishes summaries, is the first
    hour of which it has published none.
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
    """The record's key.

    >>> key(3)
    b'3'
    """
    return str(partition).encode()


def encode(checkpoint: Checkpoint) -> bytes:
    """The record's value."""
    return msgspec.msgpack.encode(checkpoint)


class _Versioned(msgspec.Struct, array_like=True):
    version: int


def version(value: bytes) -> int | None:
    """The format that a value says it has, None when it says none: no version has written such a checkpoint.

    >>> version(msgspec.msgpack.encode([9, "whatever"])), version(b"garbage")
    (9, None)
    """
    try:
        return msgspec.msgpack.decode(value, type=_Versioned).version
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def decode(value: bytes) -> Checkpoint:
    """The checkpoint in `value`; raises `msgspec.DecodeError` when it is of another version or malformed."""
    checkpoint = msgspec.msgpack.decode(value, type=Checkpoint)
    if checkpoint.version != VERSION:
        raise msgspec.DecodeError(f"checkpoint format {checkpoint.version}, this program reads {VERSION}")
    return checkpoint
