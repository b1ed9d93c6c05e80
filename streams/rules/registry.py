"""Rule sets at run time: written to and read from `betrace.rules`.

In: a compiled set, or the topic. Out: all known sets by fingerprint, and the active one.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from dsl import RulesError, RuleSet, compile_texts
from streams.config.settings import Settings
from streams.errors import ConfigError, StateError
from streams.kafka import reader
from topics.records import rules as records

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


@dataclass(frozen=True, slots=True)
class Activation:
    """Who made the active set active and when (Unix ms), and which was active before (None: none, or not known)."""

    by: str
    time_ms: int
    previous: str | None


@dataclass(frozen=True, slots=True)
class Pushed:
    """A rule set as it is on the topic; `rules` is None when this version cannot compile it.

    `activation` is None of one that is not active.
    """

    fingerprint: str
    record: records.RuleSetRecord
    activation: Activation | None
    rules: RuleSet | None

    @property
    def is_active(self) -> bool:
        """Workers judge with it."""
        return self.activation is not None


def push(settings: Settings, rules: RuleSet, *, now_ms: int, revision: str | None = None) -> None:
    """Writes the set and makes it the active one; `revision` is what its files are of.

    Raises:
        ConfigError: the brokers did not take it.
        StateError: the topic cannot be read.
    """
    latest = _latest(settings)
    before = _active_in(latest)
    if before == rules.fingerprint:
        # Pushed again, as at every start of a single process: it still comes after what it first came after.
        before = _previous(latest.get(before.encode(), b""))
    record = records.RuleSetRecord(
        texts=dict(rules.texts), pushed_by=_user(), pushed_ms=now_ms, previous=before, revision=revision
    )
    # One after the other: the active set must never be one that was not written.
    _write(settings, rules.fingerprint.encode(), records.encode(record))
    _activate(settings, rules.fingerprint, before)


def activate(settings: Settings, fingerprint: str) -> None:
    """Makes a set that was pushed the active one.

    Raises:
        ConfigError: the brokers did not take it.
        StateError: the topic cannot be read.
    """
    _activate(settings, fingerprint, _active_in(_latest(settings)))


def _activate(settings: Settings, fingerprint: str, before: str | None) -> None:
    headers = {records.BY_HEADER: _user().encode()}
    if before is not None:
        headers[records.PREVIOUS_HEADER] = before.encode()
    _write(settings, records.ACTIVE_KEY, fingerprint.encode(), headers)


def _active_in(latest: Mapping[bytes, bytes]) -> str | None:
    return latest.get(records.ACTIVE_KEY, b"").decode(errors="replace") or None


def _previous(value: bytes) -> str | None:
    try:
        return records.decode(value).previous
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def history(settings: Settings) -> list[Pushed]:
    """The sets on `betrace.rules`, the one that was pushed last first.

    Raises:
        StateError: the topic cannot be read.
    """
    latest = _latest_messages(settings)
    active = latest.pop(records.ACTIVE_KEY, None)
    found = [_pushed(key.decode(errors="replace"), message.value(), active) for key, message in latest.items()]
    return sorted(
        (each for each in found if each is not None), key=lambda each: (-each.record.pushed_ms, each.fingerprint)
    )


def _pushed(fingerprint: str, value: bytes | None, active: Message | None) -> Pushed | None:
    try:
        record = records.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    try:
        rules, _ = compile_texts(record.texts)
    except RulesError:
        rules = None
    is_active = active is not None and active.value() == fingerprint.encode()
    return Pushed(fingerprint, record, _activation(active) if active is not None and is_active else None, rules)


def _activation(active: Message) -> Activation:
    headers: Iterable[tuple[str, str | bytes | None]] = active.headers() or ()  # type: ignore[assignment]
    said = {key: value.decode(errors="replace") for key, value in headers if isinstance(value, bytes)}
    by = said.get(records.BY_HEADER, "unknown")
    return Activation(by, active.timestamp()[1], said.get(records.PREVIOUS_HEADER))


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
        if not value:
            continue  # deleted, as compaction will
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
    return {key: message.value() or b"" for key, message in _latest_messages(settings).items()}


def _latest_messages(settings: Settings) -> dict[bytes, Message]:
    return {message.key() or b"": message for message in reader.read(settings, settings.topic("rules"))}


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
