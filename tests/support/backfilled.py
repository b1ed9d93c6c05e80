"""A backfill of a `Lifetime`, without Kafka and processes: its source is judged in one piece.

What the processes of a replay and the transactions do is in tests/broker/test_backfill.py; all that decides is here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from dsl import RuleSet
from streams.backfill import plan as planning
from streams.backfill.hours import HourOutcomes, PartitionHours, ReadHours
from streams.backfill.plan import Backfill, Known
from streams.backfill.verdict_log import LiveStart, PartitionDone, live_starts
from streams.replay.plan import Input, Period, Plan, times
from streams.replay.selection import CountedOutcome, RulePart, SelectedVerdicts, Selection
from streams.replay.source_reader import HOUR_MS, HourRead
from streams.windows.chain import Bounds
from streams.windows.partition import Partition
from streams.windows.positions import Position
from streams.windows.sessions import Sessions
from tests.support.lifetime import SETTINGS, TOPIC, Lifetime, compiled, section
from topics.records import verdicts
from topics.records.facts import TICK_MS, VERSION, Facts
from topics.records.verdicts import LIVE_ORIGIN, Coverage

NOW_MS = 9_000_000_000
BY = "ann"
NEVER_MS = 1 << 50


def known(life: Lifetime) -> Known:
    """What the verdicts say of live and of backfills."""
    live: dict[tuple[int, str], LiveStart] = {}
    backfills: defaultdict[str, dict[int, PartitionDone]] = defaultdict(dict)
    for record in map(verdicts.decode, life.records("verdicts")):
        if not isinstance(record, Coverage):
            continue
        if record.origin == LIVE_ORIGIN:
            for at, begin in live_starts(record):
                live[at] = begin.earliest(live.get(at))
        else:
            begin_ms = min(rule.from_ms for rule in record.rules or ())
            new = PartitionDone(
                begin_ms=begin_ms, counted=record.counted, to_ms=record.to_ms, settled_to_ms=record.settled_to_ms
            )
            backfills[record.origin].setdefault(0, new).add(record)
    return Known(1, live, backfills)


def judged(life: Lifetime, rules: RuleSet, selection: Selection, plan: Plan) -> list[CountedOutcome]:
    """What the selection finds in all that the source holds."""
    verdicts_ = SelectedVerdicts(SETTINGS, rules, plan, selection)
    position = Position.initial(0, missing_until_ms=plan.edge_ms)
    sessions = Sessions(Bounds.of(SETTINGS), {})
    partition = Partition((TOPIC,), sessions, lambda _: selection.fingerprints, out_of_order_ms=0, position=position)
    reach_ms = SETTINGS.gap_ms + SETTINGS.lateness_ms
    partition.rules.since_ms = dict.fromkeys(selection.fingerprints, selection.live_from_ms - reach_ms)
    sessions.track_presence(partition.rules.half_seen_until_ms(reach_ms=reach_ms))
    verdicts_.judge(
        partition.apply(0, Facts(version=VERSION, rules=rules.fingerprint, sections=[section(life.log, rules)]))
    )
    verdicts_.judge(sessions.end())
    outcomes, _ = verdicts_.take()
    return outcomes


def everything(life: Lifetime, rule_set: str, rule: str) -> list[CountedOutcome]:
    """What a replay of all that the source holds says with a rule."""
    rules = compiled(rule_set)
    [fingerprint] = [each.fingerprint for each in rules.rules if each.id == rule]
    selection = Selection(1, {(0, fingerprint): RulePart(NEVER_MS, ((0, NEVER_MS),))}, "betrace.backfill/all")
    return judged(life, rules, selection, _plan(life, 0, NEVER_MS))


def decide(life: Lifetime, rule: str, begin_ms: int = 0) -> Backfill | None:
    """What is left to be done for a rule of the active set."""
    rules = compiled(life.rule_set)
    meant = frozenset(each.fingerprint for each in rules.rules if each.id == rule)
    return planning.decide(known(life), rules, meant, begin_ms, "betrace.")


def backfill(life: Lifetime, rule: str, begin_ms: int = 0, *, hours: int | None = None, unreadable: int = 0) -> None:
    """Does it, and seals what it says; killed after so many hours. So many records of each hour cannot be read."""
    found = decide(life, rule, begin_ms)
    assert found is not None
    plan = _plan(life, found.begin_ms, found.selection.live_from_ms)
    by_hour: defaultdict[int, HourOutcomes] = defaultdict(HourOutcomes)
    for outcome in judged(life, found.rules, found.selection, plan):
        by_hour[outcome.hour_ms].outcomes.append(outcome)
    read = ReadHours()
    for offset, record in enumerate(life.log):
        read.take((TOPIC, 0), record.tick * TICK_MS // HOUR_MS * HOUR_MS, HourRead(offset + 1, 0))
    work = PartitionHours(0, SETTINGS, found, plan, BY)
    for hour in work.left()[:hours]:
        read.take((TOPIC, 0), hour, HourRead(0, unreadable))
        made = work.records(hour, by_hour[hour], read, NOW_MS)
        for key, value, _ in made.signals:
            life.publish("signals", key, value)
        for verdict_key, value in made.verdicts:
            life.publish("verdicts", verdict_key, value)
    life.seal()


def _plan(life: Lifetime, from_ms: int, to_ms: int) -> Plan:
    period = Period(from_ms, to_ms)
    read_from_ms, until_ms, _ = times(SETTINGS, period, NOW_MS)
    inputs = (Input(topic=TOPIC, partition=0, partition_count=1, begin=0, end=len(life.log)),)
    return Plan(
        period=period,
        inputs=inputs,
        read_from_ms=read_from_ms,
        until_ms=until_ms,
        clock_ms=until_ms,
        lost=(),
        expected=len(life.log),
    )


def leaves(life: Lifetime, rule: str) -> Iterator[bytes]:
    """The hashes of all verdicts of a rule that are sealed, live's and a backfill's."""
    for record in map(verdicts.decode, life.records("verdicts")):
        if isinstance(record, verdicts.VerdictCounts) and record.rule == rule:
            yield from verdicts.hashes(record.leaves)
