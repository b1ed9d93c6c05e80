"""Rule sets at run time: written to and read from `betrace.rules`.

In: a compiled set, or the topic. Out: all known sets by fingerprint, and the active one.
"""

from __future__ import annotations

import getpass
from dataclasses import dataclass, field

import msgspec
from confluent_kafka import KafkaError, KafkaException, Producer

from dsl import RulesError, RuleSet, compile_texts
from streams import reader
from streams.errors import ConfigError, StateError
from streams.settings import Settings
from topics import rules as records

WAIT_S = 30.0
SET_BYTES = 8 << 20


@dataclass(slots=True)
class RuleSets:
    """The rule sets that are known, by fingerprint."""

    sets: dict[str, RuleSet] = field(default_factory=dict)
    _judged: dict[str, frozenset[str]] = field(default_factory=dict)
    _counted: dict[bytes, int] = field(default_factory=dict)
    _counted_sets: int = 0

    def add(self, rules: RuleSet) -> None:
        """Makes a set known."""
        self.sets[rules.fingerprint] = rules

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


@dataclass(frozen=True, slots=True)
class Pushed:
    """A rule set as it is on the topic; `rules` is None when this version cannot compile it."""

    fingerprint: str
    record: records.RuleSetRecord
    is_active: bool
    rules: RuleSet | None


def push(settings: Settings, rules: RuleSet, *, now_ms: int) -> None:
    """Writes the set and makes it the active one.

    Raises:
        ConfigError: the brokers did not take it.
    """
    record = records.RuleSetRecord(texts=dict(rules.texts), pushed_by=_user(), pushed_ms=now_ms)
    # One after the other: the active set must never be one that was not written.
    _write(settings, rules.fingerprint.encode(), records.encode(record))
    activate(settings, rules.fingerprint)


def activate(settings: Settings, fingerprint: str) -> None:
    """Makes a set that was pushed the active one.

    Raises:
        ConfigError: the brokers did not take it.
    """
    _write(settings, records.ACTIVE_KEY, fingerprint.encode())


def history(settings: Settings) -> list[Pushed]:
    """The sets on `betrace.rules`, the one that was pushed last first.

    Raises:
        StateError: the topic cannot be read.
    """
    latest = _latest(settings)
    active = latest.pop(records.ACTIVE_KEY, b"").decode(errors="replace")
    found = [_pushed(key.decode(errors="replace"), value, active) for key, value in latest.items() if value]
    return sorted(
        (each for each in found if each is not None), key=lambda each: (-each.record.pushed_ms, each.fingerprint)
    )


def _pushed(fingerprint: str, value: bytes, active: str) -> Pushed | None:
    try:
        record = records.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    try:
        rules, _ = compile_texts(record.texts)
    except RulesError:
        rules = None
    return Pushed(fingerprint, record, fingerprint == active, rules)


def _write(settings: Settings, key: bytes, value: bytes) -> None:
    producer = Producer({**settings.client(), "enable.idempotence": True, "message.max.bytes": SET_BYTES})
    topic = settings.topic("rules")
    errors: list[KafkaError] = []
    try:
        producer.produce(topic, value, key, on_delivery=lambda error, _: errors.append(error) if error else None)
    except KafkaException as error:
        raise _not_written(topic, error.args[0].str()) from error
    if producer.flush(WAIT_S) or errors:
        raise _not_written(topic, errors[0].str() if errors else "no answer")


def read(settings: Settings) -> tuple[RuleSets, str | None]:
    """All sets on `betrace.rules`, compiled, and the fingerprint of the active one (None: nothing was pushed).

    Raises:
        StateError: the topic cannot be read, or holds a set that does not compile.
    """
    known, active = RuleSets(), None
    for key, value in _latest(settings).items():
        if not value:
            continue  # deleted, as compaction will
        try:
            if key == records.ACTIVE_KEY:
                active = value.decode()
            else:
                known.add(compile_texts(records.decode(value).texts)[0])
        except (RulesError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StateError(
                f"rule set {key.decode(errors='replace')} on {settings.topic('rules')} cannot be read: {error}",
                action="upgrade this worker to the version that pushed it",
            ) from error
    return known, active


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


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
