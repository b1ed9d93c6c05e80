"""Reads the history of pushes: every rule set on `betrace.rules`, with each of its pushes.

In: the topic. Out: `history`, or whether the start of a single process may push.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec
from confluent_kafka import Message

from dsl import RulesError, RuleSet, compile_texts
from streams.config.settings import Settings
from streams.rules.rules_topic import read_topic
from topics.records import rules as records
from topics.records.rules import Origin, RuleSetRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """A push: who made a set active, when (Unix ms, the broker's time), in place of which set, and its source revision.

    `number` is its offset in the topic. `origin` is None if an older version, which kept only a set's last push, wrote
    it.
    """

    number: int
    rule_set: str
    by: str
    time_ms: int
    origin: Origin | None
    previous: str | None
    revision: str | None


@dataclass(frozen=True, slots=True)
class Activation:
    """Who made the active set active, when (Unix ms), and the set active before; None if there was none or unknown."""

    by: str
    time_ms: int
    previous: str | None
    is_certain: bool = True
    """Whether nothing after the activation is unreadable, where another set may have been activated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """A rule set with its pushes, oldest first; `rules` is None if this version cannot compile it.

    `activation` is None if the set is not active.
    """

    fingerprint: str
    record: RuleSetRecord
    pushes: tuple[Push, ...]
    activation: Activation | None
    rules: RuleSet | None

    @property
    def is_active(self) -> bool:
        """Whether workers judge with the set."""
        return self.activation is not None

    @property
    def last_push(self) -> Push:
        """The last push of its files; a rollback does not count."""
        return next((push for push in reversed(self.pushes) if push.origin is not Origin.ROLLBACK), self.pushes[-1])

    @property
    def revision(self) -> str | None:
        """The source revision that was last given for its files."""
        return next((push.revision for push in reversed(self.pushes) if push.revision is not None), None)


@dataclass(slots=True, kw_only=True)
class _Topic:
    """The content of the topic by key, with the sets in the order in which they were written."""

    sets: dict[str, tuple[int, RuleSetRecord]] = field(default_factory=dict)
    pushes: dict[str, list[Push]] = field(default_factory=dict)
    pushed_ms: dict[str, set[int]] = field(default_factory=dict)
    active: Message | None = None
    is_certain: bool = True

    def take(self, number: int, key: bytes, message: Message) -> None:
        """Add a record; one that cannot be read is ignored."""
        value = message.value() or b""
        try:
            if records.is_push(key):
                self._take_push(number, records.decode_push(value), message.timestamp()[1])
            elif key == records.ACTIVE_KEY:
                self.active = message
            else:
                self.sets[key.decode(errors="replace")] = number, records.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return

    def _take_push(self, number: int, record: records.PushRecord, time_ms: int) -> None:
        self.pushed_ms.setdefault(record.rule_set, set()).add(record.pushed_ms)
        self.pushes.setdefault(record.rule_set, []).append(
            Push(
                number=number,
                rule_set=record.rule_set,
                by=record.pushed_by,
                time_ms=time_ms,
                origin=record.origin,
                previous=record.previous,
                revision=record.revision,
            )
        )


def history(settings: Settings) -> list[Pushed]:
    """Return the sets on `betrace.rules`, the most recently pushed first.

    Raises:
        StateError: the topic cannot be read.
    """
    read = read_topic(settings)
    content = _Topic(is_certain=not read.lost_since_active)
    for key, message in read.latest.items():
        content.take(int(message.offset() or 0), key, message)
    sets = [_pushed(content, fingerprint) for fingerprint in content.sets]
    return sorted(sets, key=lambda each: each.last_push.number, reverse=True)


def refusal(sets: Iterable[Pushed], fingerprint: str) -> str | None:
    """Return why the start of a single process does not push a set; None if it does.

    It replaces only what another start pushed, and pushes only sets never pushed before: a restart undoes neither a
    push nor a rollback.
    """
    known = {each.fingerprint: each for each in sets}
    active = next((each for each in known.values() if each.is_active), None)
    if active is None:
        return None
    if active.fingerprint == fingerprint:
        return "they are active"
    if fingerprint in known:
        return "they were pushed before, and others have been activated since"
    if active.pushes[-1].origin is not Origin.RUN:
        return "the active ones were not pushed by a start of betrace run"
    return None


def _pushed(content: _Topic, fingerprint: str) -> Pushed:
    number, record = content.sets[fingerprint]
    try:
        rules, _ = compile_texts(record.texts)
    except RulesError:
        rules = None
    active = content.active
    is_active = active is not None and active.value() == fingerprint.encode()
    return Pushed(
        fingerprint=fingerprint,
        record=record,
        pushes=(*_older_push(content, number, fingerprint, record), *content.pushes.get(fingerprint, ())),
        activation=_activation(active, is_certain=content.is_certain) if active is not None and is_active else None,
        rules=rules,
    )


def _older_push(content: _Topic, number: int, fingerprint: str, record: RuleSetRecord) -> Iterator[Push]:
    """Yield the push that wrote the set, if it was by a version that kept no other record of it."""
    if record.pushed_ms not in content.pushed_ms.get(fingerprint, ()):
        yield Push(
            number=number,
            rule_set=fingerprint,
            by=record.pushed_by,
            time_ms=record.pushed_ms,
            origin=None,
            previous=record.previous,
            revision=record.revision,
        )


def _activation(active: Message, *, is_certain: bool) -> Activation:
    headers: Iterable[tuple[str, str | bytes | None]] = active.headers() or ()  # type: ignore[assignment]
    texts = {key: value.decode(errors="replace") for key, value in headers if isinstance(value, bytes)}
    by = texts.get(records.BY_HEADER, "unknown")
    return Activation(by, active.timestamp()[1], texts.get(records.PREVIOUS_HEADER), is_certain)
