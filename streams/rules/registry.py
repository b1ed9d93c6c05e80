"""Rule sets at run time: written to and read from `betrace.rules`.

In: a compiled set, or the topic. Out: all known sets by fingerprint, and the active one.
"""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
from confluent_kafka import KafkaError, KafkaException, Producer

from dsl import RulesError, RuleSet, compile_texts
from streams.config.settings import Settings
from streams.errors import ConfigError, StateError
from streams.kafka import reader
from topics.records import rules as records
from topics.records.rules import Origin, PushRecord

WAIT_S = 30.0
SET_BYTES = 8 << 20


@dataclass(slots=True)
class RuleSets:
    """The rule sets that are known, by fingerprint.

    A set that a version pushed for which its texts meant something else has another fingerprint now. Under the old one
    it is known, and judges nothing: what was projected with it was projected with another meaning.
    """

    sets: dict[str, RuleSet] = field(default_factory=dict)
    _judged: dict[str, frozenset[str]] = field(default_factory=dict)
    _counted: dict[bytes, int] = field(default_factory=dict)
    _counted_sets: int = 0

    def add(self, rules: RuleSet) -> None:
        """Makes a set known."""
        self.sets[rules.fingerprint] = rules

    def add_pushed(self, pushed_as: str, rules: RuleSet) -> None:
        """Makes a set known that was pushed under a fingerprint, which may be that of an older meaning."""
        self.add(rules)
        if pushed_as != rules.fingerprint:
            self.sets[pushed_as] = rules
            self._judged[pushed_as] = frozenset()

    def update(self, others: RuleSets) -> None:
        """Makes others known, too."""
        self.sets.update(others.sets)
        self._judged.update(others._judged)

    def rule_fingerprints(self, fingerprint: str) -> frozenset[str]:
        """The fingerprints of the rules that a known set judges: of one that is not enabled nothing was projected."""
        judged = self._judged.get(fingerprint)
        if judged is None:
            judged = frozenset(rule.fingerprint for rule in self.sets[fingerprint].rules if rule.enabled)
            self._judged[fingerprint] = judged
        return judged

    def counted(self) -> dict[bytes, int]:
        """How many identities each atom's facts keep: as many as any known rule needs. Sets are never forgotten."""
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
    """Writes the set unless it is there, and makes it the active one.

    `revision` is what its files are of, `by` who pushes; without it the user of this process is named.

    Raises:
        ConfigError: the brokers did not take it.
        StateError: the topic cannot be read.
    """
    latest = _latest(settings)
    made = PushRecord(
        rule_set=rules.fingerprint,
        pushed_by=by or user(),
        pushed_ms=now_ms,
        origin=origin,
        previous=_active_in(latest),
        revision=revision,
    )
    key = rules.fingerprint.encode()
    # Written once: what is known of its first push is never written over.
    if not _is_rule_set(latest.get(key, b"")):
        _write(settings, key, records.encode(_rule_set(rules, made)))
    _activate(settings, made)


def activate(settings: Settings, fingerprint: str, *, now_ms: int, by: str | None = None) -> None:
    """Makes a set that was pushed the active one.

    Raises:
        ConfigError: the brokers did not take it.
        StateError: the topic cannot be read.
    """
    previous = _active_in(_latest(settings))
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
    """Records the push, then makes it count: killed in between, the history has a push that never counted."""
    key = records.push_key(made.pushed_ms)
    _write(settings, key, records.encode(made))
    headers = {records.BY_HEADER: made.pushed_by.encode(), records.PUSH_HEADER: key}
    if made.previous is not None:
        headers[records.PREVIOUS_HEADER] = made.previous.encode()
    _write(settings, records.ACTIVE_KEY, made.rule_set.encode(), headers)


def _active_in(latest: Mapping[bytes, bytes]) -> str | None:
    return latest.get(records.ACTIVE_KEY, b"").decode(errors="replace") or None


def _is_rule_set(value: bytes) -> bool:
    try:
        records.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def _write(settings: Settings, key: bytes, value: bytes, headers: dict[str, bytes] | None = None) -> None:
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
    """All sets on `betrace.rules`, compiled, and the fingerprint of the active one (None: nothing was pushed).

    The fingerprint is what the set has now, whatever it was pushed under: an upgrade that changes what texts mean is a
    push of the same texts.

    Raises:
        StateError: the topic cannot be read, or holds a set that does not compile.
    """
    known, active = RuleSets(), None
    for key, value in _latest(settings).items():
        if not value or records.is_push(key):
            continue  # deleted, as compaction will, or history, which nobody judges with
        try:
            if key == records.ACTIVE_KEY:
                active = value.decode()
            else:
                known.add_pushed(key.decode(), compile_texts(records.decode(value).texts)[0])
        except (RulesError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StateError(
                f"rule set {key.decode(errors='replace')} on {settings.topic('rules')} cannot be read: {error}",
                action="upgrade this worker to the version that pushed it",
            ) from error
    return known, known.sets[active].fingerprint if active in known.sets else active


def _latest(settings: Settings) -> dict[bytes, bytes]:
    """The last value of each key."""
    return {message.key() or b"": message.value() or b"" for message in reader.read(settings, settings.topic("rules"))}


def read_active(settings: Settings) -> RuleSet:
    """The active set.

    Raises:
        ConfigError: no set was pushed.
    """
    known, active = read(settings)
    if active is None or active not in known.sets:
        raise ConfigError(f"no rules are active on {settings.topic('rules')}: push some with betrace rules push DIR")
    return known.sets[active]


def _not_written(topic: str, reason: str) -> ConfigError:
    return ConfigError(f"the rules were not written to {topic}: {reason}")


def user() -> str:
    """The user of this process, as whoever pushes or judges without naming himself."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
