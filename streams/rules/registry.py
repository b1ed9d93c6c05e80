"""Writes rule sets to `betrace.rules`, and reads them back.

In: a compiled set, or the topic. Out: all known sets by fingerprint, and the active one.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from dsl import RulesError, RuleSet, compile_texts
from streams.config.settings import Settings
from streams.errors import ConfigError, NotDoneError, StateError
from streams.kafka.unreadable import UnreadableRange
from streams.rules.rules_topic import PUSH_HELP, RulesTopic, read_topic
from topics.records import rules as records
from topics.records.rules import Origin, PushRecord

log = structlog.get_logger()

WAIT_S = 30.0
SET_BYTES = 8 << 20

HELP = "betrace doctor says what depends on it, and with --repair removes it if nothing does"
_AGAIN = (
    "Push those rules again with betrace rules push, and return to the set that was active with betrace "
    "rules rollback; or let the version that pushed them judge these facts first"
)


@dataclass(slots=True, kw_only=True)
class RuleSets:
    """The known rule sets, by fingerprint.

    A set pushed by a version for which its texts had another meaning has a new fingerprint now. It is also known under
    the old one, where it judges nothing: the facts projected under that fingerprint have the other meaning.

    `unreadable` says why a set cannot be read: its record is damaged, or this version cannot compile it. `lost` are the
    ranges of the topic that cannot be read, `lost_since_active` those in which another set may have been activated.
    """

    sets: dict[str, RuleSet] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    lost: list[UnreadableRange] = field(default_factory=list)
    lost_since_active: list[UnreadableRange] = field(default_factory=list)
    _judged: dict[str, frozenset[str]] = field(default_factory=dict)
    _counted: dict[bytes, int] = field(default_factory=dict)
    _counted_sets: int = 0

    def add(self, rules: RuleSet) -> None:
        """Add a set."""
        self.sets[rules.fingerprint] = rules

    def add_pushed(self, pushed_as: str, rules: RuleSet) -> None:
        """Add a set under the fingerprint it was pushed with, which may be that of an older meaning."""
        self.add(rules)
        if pushed_as != rules.fingerprint:
            self.sets[pushed_as] = rules
            self._judged[pushed_as] = frozenset()

    def update(self, others: RuleSets) -> None:
        """Add the sets of another instance."""
        self.sets.update(others.sets)
        self.unreadable = others.unreadable
        self.lost, self.lost_since_active = others.lost, others.lost_since_active
        self._judged.update(others._judged)

    def rule_fingerprints(self, fingerprint: str) -> frozenset[str]:
        """Return the fingerprints of the rules that a set judges: facts are projected only for enabled rules.

        The result is empty for an unknown set: if it is the previous set, every rule of the next one counts as new.
        """
        if fingerprint not in self.sets:
            return frozenset()
        judged = self._judged.get(fingerprint)
        if judged is None:
            judged = frozenset(rule.fingerprint for rule in self.sets[fingerprint].rules if rule.enabled)
            self._judged[fingerprint] = judged
        return judged

    def counted(self) -> dict[bytes, int]:
        """Return the most identities that any known rule needs of each atom's facts; sets are never forgotten."""
        if self._counted_sets != len(self.sets):
            counted: dict[bytes, int] = {}
            for rules in self.sets.values():
                for fingerprint, atom in rules.atoms.items():
                    if atom.counted:
                        counted[fingerprint] = max(atom.counted, counted.get(fingerprint, 0))
            self._counted, self._counted_sets = counted, len(self.sets)
        return self._counted


def push(
    settings: Settings,
    rules: RuleSet,
    *,
    now_ms: int,
    revision: str | None = None,
    by: str | None = None,
    origin: Origin = Origin.PUSH,
) -> None:
    """Write the set if it is missing, and make it the active one.

    `revision` is the source revision of its files, `by` who pushes, the user of this process by default.

    Raises:
        ConfigError: the brokers rejected it.
        StateError: the topic cannot be read.
    """
    content = read_topic(settings)
    made = PushRecord(
        rule_set=rules.fingerprint,
        pushed_by=by or user(),
        pushed_ms=now_ms,
        origin=origin,
        previous=_previous(content),
        revision=revision,
    )
    key = rules.fingerprint.encode()
    # Written once: the record of its first push is never overwritten, unless it cannot be read.
    written = content.latest.get(key)
    if _fault(b"" if written is None else written.value() or b"") is not None:
        _write(settings, key, records.encode(_rule_set(rules, made)))
    _activate(settings, made)


def activate(settings: Settings, fingerprint: str, *, now_ms: int, by: str | None = None) -> None:
    """Make a set that was pushed before the active one.

    Raises:
        ConfigError: the brokers rejected it.
        StateError: the topic cannot be read.
    """
    previous = _previous(read_topic(settings))
    _activate(
        settings,
        PushRecord(
            rule_set=fingerprint, pushed_by=by or user(), pushed_ms=now_ms, origin=Origin.ROLLBACK, previous=previous
        ),
    )


def _rule_set(rules: RuleSet, made: PushRecord) -> records.RuleSetRecord:
    return records.RuleSetRecord(
        texts=dict(rules.texts),
        pushed_by=made.pushed_by,
        pushed_ms=made.pushed_ms,
        previous=made.previous,
        revision=made.revision,
    )


def _activate(settings: Settings, made: PushRecord) -> None:
    """Record the push, then activate the set: if killed in between, the history has a push that never took effect."""
    key = records.push_key(made.pushed_ms)
    _write(settings, key, records.encode(made))
    headers = {records.BY_HEADER: made.pushed_by.encode(), records.PUSH_HEADER: key}
    if made.previous is not None:
        headers[records.PREVIOUS_HEADER] = made.previous.encode()
    _write(settings, records.ACTIVE_KEY, made.rule_set.encode(), headers)


def _previous(content: RulesTopic) -> str | None:
    """Return the set that is active before a push, None if there is none or it is not certain."""
    return None if content.lost_since_active else content.active


def _compiled(value: bytes) -> RuleSet | str:
    """Return the compiled set of a record, or why it cannot be read."""
    try:
        return compile_texts(records.decode(value).texts)[0]
    except (RulesError, msgspec.DecodeError, UnicodeDecodeError) as error:
        return str(error)


def _fault(value: bytes) -> str | None:
    compiled = _compiled(value)
    return compiled if isinstance(compiled, str) else None


def _write(settings: Settings, key: bytes, value: bytes | None, headers: dict[str, bytes] | None = None) -> None:
    producer = Producer({**settings.client(), "enable.idempotence": True, "message.max.bytes": SET_BYTES})
    topic = settings.topic("rules")
    errors: list[KafkaError] = []
    try:
        producer.produce(
            topic,
            value,
            key,
            on_delivery=lambda error, _: errors.append(error) if error else None,
            headers=[*(headers or {}).items()],
        )
    except KafkaException as error:
        raise _not_written(topic, error.args[0].str()) from error
    if producer.flush(WAIT_S) or errors:
        raise _not_written(topic, errors[0].str() if errors else "no answer")


def read(settings: Settings) -> tuple[RuleSets, str | None]:
    """Return all sets on `betrace.rules`, compiled, and the fingerprint of the active one; None if nothing was pushed.

    The fingerprint is the set's current one, whatever it was pushed with: an upgrade that changes the meaning of texts
    acts as a push of the same texts. Logs a warning for a set that cannot be read; it stops only those who need it.

    Raises:
        StateError: the topic cannot be read.
    """
    content = read_topic(settings)
    known, active = RuleSets(lost=content.lost, lost_since_active=content.lost_since_active), content.active
    for key, message in content.latest.items():
        value = message.value()
        if not value or records.is_push(key) or key == records.ACTIVE_KEY:
            continue  # deleted before compaction, or a record of the history, which nobody judges with
        name = key.decode(errors="replace")
        compiled = _compiled(value)
        if isinstance(compiled, str):
            known.unreadable[name] = compiled
        else:
            known.add_pushed(name, compiled)
    for name, reason in known.unreadable.items():
        log.warning("a rule set cannot be read and is skipped", rule_set=name, reason=reason, help=HELP)
    return known, known.sets[active].fingerprint if active in known.sets else active


@dataclass(frozen=True, slots=True)
class Damage:
    """Why the record of a set cannot be read; `is_set` if it is a set that this version cannot compile."""

    reason: str
    is_set: bool


def unreadable_keys(settings: Settings) -> dict[bytes, Damage]:
    """Return the records of sets that cannot be read, by key; raises `StateError` if the topic cannot be read."""
    damage = {}
    for key, message in read_topic(settings).latest.items():
        value = message.value() or b""
        reason = None if not value or key == records.ACTIVE_KEY or records.is_push(key) else _fault(value)
        if reason is not None:
            damage[key] = Damage(reason, _is_set(value))
    return damage


def _is_set(value: bytes) -> bool:
    try:
        records.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def remove(settings: Settings, key: bytes) -> None:
    """Delete the record of a set; raises `ConfigError` if the brokers reject that."""
    _write(settings, key, None)


def fetch(settings: Settings, known: RuleSets, rule_sets: Iterable[str]) -> None:
    """Add these sets, which may have been pushed since `known` was read.

    Raises:
        NotDoneError: one of them is missing or cannot be read; nothing can be judged without it.
        StateError: the topic cannot be read.
    """
    missing = sorted({*rule_sets} - known.sets.keys())
    if not missing:
        return
    pushed, _ = read(settings)
    known.update(pushed)
    for rule_set in missing:
        if rule_set in known.unreadable:
            reason = f"cannot be read on {settings.topic('rules')}: {known.unreadable[rule_set]}"
            raise NotDoneError(f"facts were projected with rule set {rule_set}, which {reason}. {_AGAIN}")
        if rule_set not in known.sets:
            lost = "".join(f" ({each})" for each in known.lost[:1])
            raise NotDoneError(
                f"facts were projected with rule set {rule_set}, which is not on {settings.topic('rules')}{lost}: "
                "push those rules again with betrace rules push"
            )


def read_active(settings: Settings) -> RuleSet:
    """Return the active set.

    Raises:
        ConfigError: no set was pushed.
        StateError: the active set cannot be read.
    """
    known, active = read(settings)
    return active_of(settings, known, active)


def active_of(settings: Settings, known: RuleSets, active: str | None) -> RuleSet:
    """Return the active set of those that were read; raises as `read_active` does."""
    refuse_unreadable(settings, known, active)
    if active is None or active not in known.sets:
        raise ConfigError(f"no rules are active on {settings.topic('rules')}: push some with betrace rules push DIR")
    return known.sets[active]


def refuse_uncertain(known: RuleSets) -> None:
    """Raise `StateError` if another set may have been activated in records that cannot be read."""
    if known.lost_since_active:
        raise StateError(
            f"another rule set may be active: {known.lost_since_active[0]}",
            action=PUSH_HELP,
        )


def refuse_unreadable(settings: Settings, known: RuleSets, active: str | None) -> None:
    """Raise `StateError` if the active set exists but cannot be read."""
    if active in known.unreadable:
        raise StateError(
            f"the active rule set {active} on {settings.topic('rules')} cannot be read: {known.unreadable[active]}",
            action="push rules with betrace rules push DIR, return to an earlier set with betrace rules rollback SET, "
            "or start the version that pushed them",
        )


def _not_written(topic: str, reason: str) -> ConfigError:
    return ConfigError(f"the rules were not written to {topic}: {reason}")


def user() -> str:
    """Return the name of the user of this process, used if no other name is given."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
