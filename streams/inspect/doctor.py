"""Records of BeTrace's own topics that cannot be read: what each one stops, and what may be done about it.

In: `betrace.rules` and `betrace.checkpoints`. Out: findings; of those that can be repaired, the repair.

What must hold: a repair takes nothing away that any version can read and anything depends on, and nothing counts twice
after it. A worker passes over most of these records by itself; what is left to a person is what only a person knows:
whether another version has run here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from confluent_kafka import KafkaError, Producer

from streams.config.settings import Settings
from streams.errors import ConfigError, StateError
from streams.rules import registry
from streams.sessions.last_checkpoint import Search, recovered, search
from topics.cluster import admin as kafka
from topics.records import checkpoints
from topics.records.checkpoints import Checkpoint

WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Finding:
    """A record that cannot be read: where it is, why, and what follows.

    `stops` a start of a worker, or not. `repair` removes it or makes it good; None when a repair would not be safe, or
    none is needed.
    """

    where: str
    reason: str
    follows: str
    stops: bool
    repair: Callable[[], None] | None = None


def look(settings: Settings) -> list[Finding]:
    """All findings; nothing is changed.

    Raises:
        AdminError, BetraceError: Kafka does not answer, or the topics are not there.
    """
    topic = settings.topic("checkpoints")
    count = kafka.partition_counts(kafka.connect(settings.client()), [topic]).get(topic)
    if count is None:
        raise StateError(f"there is no topic {topic}", action="run betrace topics create, or give another --prefix")
    searches = [search(settings, number, _never, for_this_version=True) for number in range(count)]
    found = [_checkpoint_finding(settings, each) for each in searches if each.other or each.passed_over]
    return [*_rules_findings(settings, searches), *found]


def _rules_findings(settings: Settings, searches: list[Search]) -> list[Finding]:
    known, active = registry.read(settings)
    needed = {active, *(rule_set for each in searches for rule_set in _rule_sets(each.last))}
    topic = settings.topic("rules")
    found = []
    if active is not None and active not in known.sets:
        again = "push rules with betrace rules push DIR, or go back to a set with betrace rules rollback SET"
        found.append(Finding(f"{topic} key active", "the active set is not there or cannot be read", again, stops=True))
    for key, damage in registry.unreadable_keys(settings).items():
        name = key.decode(errors="replace")
        where, is_needed = f"{topic} key {name}", name in needed
        follows = "facts were projected with it: push those rules again" if is_needed else "nothing depends on it"
        if damage.is_set:
            if not is_needed:
                follows = "nothing depends on it; it is kept as part of the history"
            found.append(Finding(where, damage.reason, follows, stops=is_needed))
            continue
        removal = None if is_needed else partial(registry.remove, settings, key)
        found.append(Finding(where, damage.reason, follows, stops=is_needed, repair=removal))
    return found


def _rule_sets(last: Checkpoint | None) -> list[str]:
    standing = None if last is None else last.status
    if standing is None:
        return []
    judging = [] if standing.judging is None else standing.judging.rule_sets
    return [*judging, *([] if standing.rules is None else [standing.rules])]


def _checkpoint_finding(settings: Settings, found: Search) -> Finding:
    topic = f"{settings.topic('positions')}[{found.number}]"
    if found.other is None:
        offsets = ", ".join(map(str, sorted(found.passed_over)[:10]))
        return Finding(
            f"{topic} offsets {offsets}",
            "; ".join(sorted({*found.passed_over.values()})[:3]),
            "workers pass over it, and the next checkpoint is written behind it",
            stops=False,
        )
    follows = "start the version that wrote it; a repair is right only where no other version has run here"
    return Finding(topic, found.other, follows, stops=True, repair=partial(_go_back, settings, found))


def _go_back(settings: Settings, found: Search) -> None:
    """Writes the last checkpoint of this version once more, behind what is of another one; else one of no log."""
    members = kafka.group_members(kafka.connect(settings.client()), settings.group("sessions"))
    if members != 0:
        raise ConfigError("workers of sessions are running, or it is not known whether: stop them before the repair")
    last = found.last or recovered(settings, found.number, _never)
    last = last or Checkpoint(checkpoints.VERSION, "", 0, 0, b"", b"")
    errors: list[KafkaError] = []
    producer = Producer({**settings.client(), "enable.idempotence": True})
    producer.produce(
        settings.topic("checkpoints"),
        checkpoints.encode(last),
        checkpoints.key(found.number),
        found.number,
        lambda error, _: errors.append(error) if error else None,
    )
    if producer.flush(WAIT_S) or errors:
        reason = errors[0].str() if errors else "no answer"
        raise ConfigError(f"the checkpoint of facts partition {found.number} was not written: {reason}")


def _never() -> bool:
    return False
