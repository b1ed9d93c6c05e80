"""Finds records of BeTrace's own topics that cannot be read, what each one stops, and what to do about it.

Some have a form that is not known, others no client can read at all: a damaged batch, or one that cannot be inflated.

In: `betrace.rules` and `betrace.checkpoints`. Out: findings, and the repair of those that can be repaired.

A repair removes nothing that some version can read and something depends on, and causes nothing to be counted twice. A
worker skips most of these records by itself; an operator decides only what no program can know: whether another version
has run here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from confluent_kafka import KafkaError, Producer

from streams.config.settings import Settings
from streams.errors import ConfigError, StateError
from streams.kafka.unreadable import UnreadableRange
from streams.rules import registry
from streams.rules.registry import RuleSets
from streams.rules.rules_topic import PUSH_HELP
from streams.sessions.last_checkpoint import Search, checkpoint_from_verdicts, search
from topics.cluster import admin as kafka
from topics.records import checkpoints
from topics.records.checkpoints import Checkpoint

WAIT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A record that cannot be read: its offset or key, the reason, and what follows.

    `stops` tells whether it stops a worker at its start. `repair` removes or corrects the record; None if a repair
    would be unsafe, or is not needed.
    """

    where: str
    reason: str
    follows: str
    stops: bool
    repair: Callable[[], None] | None = None


def find_damage(settings: Settings) -> list[Finding]:
    """Return all findings; change nothing.

    Raises:
        AdminError, BetraceError: Kafka does not answer, or the topics do not exist.
    """
    topic = settings.topic("checkpoints")
    count = kafka.partition_counts(kafka.connect(settings.client()), [topic]).get(topic)
    if count is None:
        raise StateError(f"there is no topic {topic}", action="run betrace topics create, or give another --prefix")
    searches = [search(settings, number, _never, for_this_version=True) for number in range(count)]
    findings = [_checkpoint_finding(settings, each) for each in searches if each.other_version or each.passed_over]
    lost = [finding for each in searches for finding in _lost_checkpoints(each)]
    return [*_rules_findings(settings, searches), *findings, *lost]


def _rules_findings(settings: Settings, searches: list[Search]) -> list[Finding]:
    known, active = registry.read(settings)
    needed = {active, *(rule_set for each in searches for rule_set in _rule_sets(each.last))}
    topic = settings.topic("rules")
    findings = []
    if active is not None and active not in known.sets:
        again = "push rules with betrace rules push DIR, or return to a set with betrace rules rollback SET"
        findings.append(
            Finding(
                where=f"{topic} key active",
                reason="the active set is missing or cannot be read",
                follows=again,
                stops=True,
            )
        )
    findings += [_lost_rules(each, known, active, topic) for each in known.lost]
    if known.lost:
        for missing in sorted(needed - known.sets.keys() - known.unreadable.keys() - {active}, key=str):
            reason = "facts were projected with it, and it is not on the topic"
            findings.append(
                Finding(where=f"{topic} key {missing}", reason=reason, follows="push those rules again", stops=True)
            )
    for key, damage in registry.unreadable_keys(settings).items():
        name = key.decode(errors="replace")
        where, is_needed = f"{topic} key {name}", name in needed
        follows = "facts were projected with it: push those rules again" if is_needed else "nothing depends on it"
        if damage.is_set:
            if not is_needed:
                follows = "nothing depends on it; it is kept as part of the history"
            findings.append(Finding(where=where, reason=damage.reason, follows=follows, stops=is_needed))
            continue
        removal = None if is_needed else partial(registry.remove, settings, key)
        findings.append(Finding(where=where, reason=damage.reason, follows=follows, stops=is_needed, repair=removal))
    return findings


def _lost_rules(lost: UnreadableRange, known: RuleSets, active: str | None, topic: str) -> Finding:
    """Return the finding for a range of the rules topic; it stops no worker as long as a set is active."""
    follows = "nothing depends on it: rules were activated after it"
    if lost in known.lost_since_active:
        follows = f"another set than {active or 'none'} may have been activated there: {PUSH_HELP}"
    return Finding(where=_where(topic, lost), reason=lost.reason, follows=follows, stops=False)


def _lost_checkpoints(search: Search) -> Iterator[Finding]:
    """Yield the findings for ranges of the checkpoints topic."""
    for lost in search.lost:
        follows = "nothing depends on it: a later checkpoint can be read"
        if lost in search.lost_since_last:
            follows = (
                "it may have held the last checkpoint: a worker that opens the partition compares the one before it "
                "with the verdicts, and if a later one is lost, restores it from its store or reads the facts as a new "
                "generation; start a worker, its next checkpoint is written after these records"
            )
        yield Finding(
            where=_where(lost.source[0], lost, search.number), reason=lost.reason, follows=follows, stops=False
        )


def _where(topic: str, lost: UnreadableRange, number: int = 0) -> str:
    return f"{topic}[{number}] offsets {lost.from_offset} to {lost.to_offset - 1}"


def _rule_sets(last: Checkpoint | None) -> list[str]:
    status = None if last is None else last.status
    if status is None:
        return []
    judging = [] if status.judging is None else status.judging.rule_sets
    return [*judging, *([] if status.rules is None else [status.rules])]


def _checkpoint_finding(settings: Settings, search: Search) -> Finding:
    topic = f"{settings.topic('checkpoints')}[{search.number}]"
    if search.other_version is None:
        offsets = ", ".join(map(str, sorted(search.passed_over)[:10]))
        return Finding(
            where=f"{topic} offsets {offsets}",
            reason="; ".join(sorted({*search.passed_over.values()})[:3]),
            follows="workers skip it, and the next checkpoint is written after it",
            stops=False,
        )
    follows = "start the version that wrote it; repair it only if no other version has run here"
    return Finding(
        where=topic,
        reason=search.other_version,
        follows=follows,
        stops=True,
        repair=partial(_go_back, settings, search),
    )


def _go_back(settings: Settings, search: Search) -> None:
    """Write this version's last checkpoint again, after one of another version; without any, an empty one."""
    members = kafka.group_members(kafka.connect(settings.client()), settings.group("sessions"))
    if members != 0:
        raise ConfigError("workers of sessions are running, or may be: stop them before the repair")
    last = search.last or checkpoint_from_verdicts(settings, search.number, _never)
    last = last or Checkpoint(
        version=checkpoints.VERSION, topic_id="", published_to=0, start_offset=0, start=b"", covered=b""
    )
    errors: list[KafkaError] = []
    producer = Producer({**settings.client(), "enable.idempotence": True})
    producer.produce(
        settings.topic("checkpoints"),
        checkpoints.encode(last),
        checkpoints.key(search.number),
        search.number,
        lambda error, _: errors.append(error) if error else None,
    )
    if producer.flush(WAIT_S) or errors:
        reason = errors[0].str() if errors else "no answer"
        raise ConfigError(f"the checkpoint of facts partition {search.number} was not written: {reason}")


def _never() -> bool:
    return False
