"""Reads from the evidence which rule sets were pushed, by whom, and when each was active: `read(store)`.

In: evidence storage. Out: `History`. Few seals have rule sets: they are found by the growth of their log, in a few
reads each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from dsl import Rule, RulesError, compile_texts
from streams.evidence.ledger import entry, storage
from streams.evidence.ledger import seal as seals
from streams.evidence.ledger.seal import Seal
from streams.evidence.ledger.storage import Storage
from topics.records import rules as records
from topics.records.rules import PushRecord, RuleSetRecord
from topics.signals.ocsf import split_control

RULES = "rules"


class Activation(msgspec.Struct, frozen=True, kw_only=True):
    """From `from_ms` on (Kafka's time) a rule set was the active one.

    `pushed_by` is who made it active, `revision` the source revision of the files, both as named with the push; None if
    unknown. `sealed_ms` is the ledger's clock when it sealed the record: whoever may set the time of records on the
    topic can push in the past, but not seal there.
    """

    from_ms: int
    rule_set: str
    pushed_by: str | None
    revision: str | None = None
    sealed_ms: int | None = None


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A rule in force from `from_ms` to `to_ms` (None: still in force), with who pushed it, and its source revision.

    `sealed_ms` is that of the activation with which it began.
    """

    from_ms: int
    to_ms: int | None
    fingerprint: str
    mode: str
    text: str
    pushed_by: str | None
    revision: str | None
    sealed_ms: int | None = None


@dataclass(slots=True)
class History:
    """All rule sets by fingerprint with their activations, in order; `rules` are those in them.

    `pushes` are by their key on the topic.
    """

    sets: dict[str, RuleSetRecord] = field(default_factory=dict)
    activations: list[Activation] = field(default_factory=list)
    rules: dict[str, list[Rule]] = field(default_factory=dict)
    pushes: dict[str, PushRecord] = field(default_factory=dict)

    def learn(self, rule_set: str, texts: dict[str, str]) -> None:
        """Add the rules of a set; the pushes of a set that this version cannot read are known nevertheless."""
        try:
            compiled, _ = compile_texts(texts)
        except RulesError:
            return
        self.rules[rule_set] = [*compiled.rules]

    def latest(self, to_ms: int) -> dict[str, Rule]:
        """Return each rule by id, as defined in the last set before `to_ms` that has it."""
        order = [active.rule_set for active in self.activations if active.from_ms < to_ms]
        others = [rule_set for rule_set in self.rules if rule_set not in order]
        return {rule.id: rule for rule_set in (*others, *order) for rule in self.rules.get(rule_set, ())}

    def versions(self, rule_id: str) -> list[Version]:
        """Return the intervals in which a rule was in force, in order; a change starts another one."""
        intervals: list[Version] = []
        for active in self.activations:
            rule = next((one for one in self.rules.get(active.rule_set, ()) if one.id == rule_id and one.enabled), None)
            if intervals and intervals[-1].to_ms is None:
                if rule is not None and (intervals[-1].fingerprint, intervals[-1].mode) == (
                    rule.fingerprint,
                    rule.mode.value,
                ):
                    continue
                intervals[-1] = msgspec.structs.replace(intervals[-1], to_ms=active.from_ms)
            if rule is not None:
                intervals.append(
                    Version(
                        from_ms=active.from_ms,
                        to_ms=None,
                        fingerprint=rule.fingerprint,
                        mode=rule.mode.value,
                        text=rule.text,
                        pushed_by=active.pushed_by,
                        revision=active.revision,
                        sealed_ms=active.sealed_ms,
                    )
                )
        return intervals

    def controls(self) -> list[str]:
        """Return every control that a rule of any set names, each once however it is spelled."""
        names = {
            control_key(name): control_name(name)
            for rules in self.rules.values()
            for rule in rules
            for name in rule.controls
        }
        return sorted(names.values())


def control_name(control: str) -> str:
    """Return a control in its display form.

    >>> control_name("HIPAA 164.312(b)")
    'HIPAA/164.312(b)'
    """
    standard, name = split_control(control)
    return f"{standard}/{name}" if standard else name


def control_key(control: str) -> str:
    """Return what the spellings of one control have in common.

    >>> control_key("soc2/cc6.7") == control_key("SOC2 CC6.7")
    True
    """
    return control_name(control).casefold()


def read(store: Storage) -> History:
    """Return the history, without what cannot be read."""
    history = History()
    last = storage.last_seal(store)
    if last is None:
        return history
    for sealed_ms, sealed_entry in _entries(store, -1, 0, last, None):
        try:
            _take(history, sealed_entry, sealed_ms)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    for rule_set, record in history.sets.items():
        history.learn(rule_set, record.texts)
    return history


def _take(history: History, record: entry.Entry, sealed_ms: int) -> None:
    value = record.value_bytes()
    if record.key is None or not value:
        return
    if records.is_push(record.key.encode()):
        history.pushes[record.key] = records.decode_push(value)
    elif record.key.encode() == records.ACTIVE_KEY:
        _activate(history, record, value.decode(), sealed_ms)
    else:
        history.sets[record.key] = records.decode(value)


def _activate(history: History, sealed_entry: entry.Entry, rule_set: str, sealed_ms: int) -> None:
    if history.activations and history.activations[-1].rule_set == rule_set:
        return
    headers = dict(sealed_entry.headers)
    # A version without records of pushes named who activated the set; earlier ones only who pushed it.
    push, record = history.pushes.get(headers.get(records.PUSH_HEADER) or ""), history.sets.get(rule_set)
    named = push or record
    by = headers.get(records.BY_HEADER) or (named.pushed_by if named else None)
    revision = (push.revision if push else None) or (record.revision if record else None)
    history.activations.append(
        Activation(
            from_ms=sealed_entry.time_ms, rule_set=rule_set, pushed_by=by, revision=revision, sealed_ms=sealed_ms
        )
    )


def _entries(
    store: Storage, low: int, low_size: int, high: int, high_size: int | None
) -> Iterator[tuple[int, entry.Entry]]:
    """Yield the entries of the log of rules in the seals after `low`, to `high`, each with the time of its seal.

    The sizes are those after these seals.
    """
    if high_size is None:
        high_size = _size(store, high)
    if high_size == low_size:
        return
    if high - low == 1:
        yield from _entries_of(store, high)
        return
    middle = (low + high) // 2
    middle_size = _size(store, middle)
    yield from _entries(store, low, low_size, middle, middle_size)
    yield from _entries(store, middle, middle_size, high, high_size)


def _size(store: Storage, number: int) -> int:
    seal = _seal(store, number)[0]
    return sum(state.size for state in seal.logs if state.topic == RULES) if seal else 0


def _entries_of(store: Storage, number: int) -> Iterator[tuple[int, entry.Entry]]:
    seal, lines = _seal(store, number)
    if seal is None:
        return
    start = 0
    for state in seal.logs:
        if state.topic == RULES:
            for line in lines[start : start + state.added]:
                try:
                    yield seal.time_ms, entry.decode(line)
                except msgspec.DecodeError:
                    continue
        start += state.added


def _seal(store: Storage, number: int) -> tuple[Seal | None, list[bytes]]:
    try:
        parts = seals.split(store.read(storage.seal_path(number)))
        return seals.decode(parts.line), parts.entries
    except (OSError, msgspec.DecodeError):
        return None, []
