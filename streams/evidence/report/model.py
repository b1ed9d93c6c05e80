"""Defines a report as data; its JSON is the output of `betrace evidence report --format json`.

Times are Unix milliseconds of record time, `to_ms` always excluded; days are in UTC. `None` means unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from streams.evidence.report.coverage import Gap
from streams.evidence.report.gathered import Counts
from streams.evidence.report.history import Activation, Version
from streams.evidence.report.readings import Reset

SCHEMA = 2

NOT_VERIFIED = "NOT VERIFIED: the evidence was not checked."


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRequest:
    """What a report is about; `verify` is the command that verifies its evidence."""

    from_ms: int
    to_ms: int
    control: str | None
    made_ms: int
    verify: str


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """The verification of the evidence before this report was made, with the keys named: nothing in it was changed.

    `gaps` counts the coverage gaps that verification found; the report lists them itself.
    """

    keys: list[str]
    seals: int
    gaps: int
    head_size: int
    head_root: str


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """The source of the figures: the seals `[first_seal, end_seal)` of the log `origin`, and the tree head over them.

    `head_root` is the Merkle root (hex) of all seals before `head_size`. The tree head in `head_file` signs it;
    `head_sha256` is that of the tree head, `head_file_sha256` that of the whole file. `verified` is None if the
    evidence was not verified.
    """

    place: str
    origin: str | None
    first_seal: int
    end_seal: int
    head_size: int
    head_root: str | None
    head_file: str
    head_sha256: str | None
    head_file_sha256: str | None
    unreadable: list[str]
    verified: Verified | None


class SourceInput(msgspec.Struct, frozen=True, kw_only=True):
    """The records of one source partition that were judged, `[from_offset, to_offset)`; `lost` ranges never were."""

    topic: str
    partition: int
    epoch: int
    from_offset: int
    to_offset: int
    lost: list[tuple[int, int]]
    dead_letters: int | None


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """The input that was judged, and what arrived but could not be.

    `traces_seen_estimate` is a HyperLogLog estimate of the distinct traces, standard error 1.6 %. `undecodable` counts
    source records that became dead letters, `lost` source records that were deleted before they were read,
    `verdict_records_lost` records of counts or coverage that the ledger could not read.
    """

    traces_seen_estimate: int
    windows_judged: int
    sources: list[SourceInput]
    lost: int
    undecodable: int | None
    verdict_records_lost: int

    @property
    def is_whole(self) -> bool:
        """Whether nothing was lost or undecodable; False if the evidence does not say."""
        is_known = self.undecodable is not None or not self.sources
        return is_known and not (self.lost or self.undecodable or self.verdict_records_lost)


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the period was judged; `resets` are when the input was read again."""

    period_ms: int
    judged_ms: int
    hours: int
    hours_with_gaps: int
    gaps: list[Gap]
    resets: list[Reset]

    @property
    def coverage(self) -> float:
        """The part of the period that was judged."""
        return self.judged_ms / self.period_ms


class Span(msgspec.Struct, frozen=True):
    """A period, `to_ms` excluded."""

    from_ms: int
    to_ms: int


class RuleJudged(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule judged of the period: `times` are those in which it judged all chains that began.

    `read_twice` counts minutes that are in none of them because the input was read twice in a part of them.
    """

    judged_ms: int
    coverage: float
    times: list[Span]
    read_twice: int


class BackfillReport(msgspec.Struct, frozen=True, kw_only=True):
    """The times of the period that a backfill judged a rule in, when it last ran, and who ran it, as named.

    Late spans amend none of its verdicts. `undecodable` source records could not be read; `half_seen` traces are not
    counted because they began before the records read, `unfinished` ones because they had not ended with them: these
    three are of all its rules.
    """

    origin: str
    by: str
    made_ms: int
    times: list[Span]
    undecodable: int
    half_seen: int
    unfinished: int


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that applied to traces in the fortnight before and to none since day `since_ms` began."""

    since_ms: int
    applicable_before: int


class SilentService(msgspec.Struct, frozen=True, kw_only=True):
    """A service that sent input on `days_before` days of the fortnight before and none since day `since_ms` began."""

    name: str
    since_ms: int
    days_before: int


class DayCounts(msgspec.Struct, frozen=True, kw_only=True):
    """One day of a rule: `day_ms` is its start; `judged` the share of it, within the period, that the rule judged."""

    day_ms: int
    held: int
    broken: int
    undetermined: int
    judged: float


class ExceptionInForce(msgspec.Struct, frozen=True, kw_only=True):
    """An exception of a rule, and its owner; `expires` is its last day."""

    where: str
    owner: str | None
    reason: str | None
    expires: str | None
    has_expired: bool


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """A witness on the time axis of its trace; `start_ns` is None if the span does not have it."""

    subject: str
    name: str
    service: str | None
    start_ns: int | None
    duration_ns: int | None
    attributes: dict[str, str]


class BrokenTrace(msgspec.Struct, frozen=True, kw_only=True):
    """A signal in its state at the end of the period: when it happened, and when it was judged (`time_ms`)."""

    uid: str
    revision: int
    happened_ms: int
    time_ms: int
    trace_id: str
    verdict: str
    severity: str
    message: str
    missing: list[str]
    present: list[str]
    witnesses: list[Bar]


class RuleReport(msgspec.Struct, frozen=True, kw_only=True):
    """One rule over the period.

    `statement` is what the report states about it, `is_proven` whether all held over the whole period, `is_whole`
    whether it judged the whole period and nothing prevents a statement. `judged` is what it judged of the period, a
    part of it by `backfills`; `pass_rate` is held / applicable. `silence` is None if it is exercised. `versions` are
    the intervals in which it was in force. `broken_traces` are the newest of `signals`, which counts the signals in
    force.
    """

    id: str
    title: str
    severity: str | None
    owner: str | None
    controls: list[str]
    text: str | None
    fingerprints: list[str]
    is_shadow: bool
    counts: Counts
    applicable: int
    judged: RuleJudged
    pass_rate: float | None
    silence: Silence | None
    statement: str
    is_proven: bool
    is_whole: bool
    days: list[DayCounts]
    versions: list[Version]
    exceptions: list[ExceptionInForce]
    signals: int
    broken_traces: list[BrokenTrace]
    backfills: list[BackfillReport] = []


class ControlReport(msgspec.Struct, frozen=True, kw_only=True):
    """One control: the sums of its rules; `control` is None for rules that name none."""

    control: str | None
    rules: list[str]
    counts: Counts
    applicable: int
    pass_rate: float | None
    is_proven: bool


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a report says.

    `is_whole`: every rule judged all of the period, there is at least one, and no input was lost. `silent_services`
    sent input in the fortnight before and none in what was read of the last two days.
    """

    schema: int = SCHEMA
    made_ms: int
    from_ms: int
    to_ms: int
    period: str
    control: str | None
    statement: str
    is_whole: bool
    evidence: Evidence
    judged: Judged
    input: Input
    controls: list[ControlReport]
    rules: list[RuleReport]
    rule_sets: list[Activation]
    silent_services: list[SilentService] = []
    verify: str


def encode(report: Report) -> bytes:
    """Return the report as JSON."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1)
