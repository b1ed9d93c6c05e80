"""Finds whether a signal was published for a trace and a rule, and why not.

In: the signals topic, and the history of pushes. Out: the last revision of each rule's signal, or the reason why there
is none although the rule is broken or undetermined.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from confluent_kafka import Message

from dsl import Mode, Rule
from streams.config.units import iso_ms
from streams.rules.history import Pushed
from topics.signals.digest import Digest, NotASignalError, digest


def last_signals(messages: Iterable[Message], trace_id: str) -> dict[str, Digest]:
    """Return the last revision of each rule's signal about the trace, by rule id."""
    last: dict[str, Digest] = {}
    for message in messages:
        value = message.value() or b""
        if trace_id.encode() not in value:
            continue
        try:
            signal = digest(value)
        except NotASignalError:
            continue
        before = last.get(signal.rule_id)
        is_later = before is None or (before.time_ms, before.revision) < (signal.time_ms, signal.revision)
        if signal.trace_id == trace_id and is_later:
            last[signal.rule_id] = signal
    return last


def reason(rule: Rule, sets: Iterable[Pushed], *, began_ms: int, reach_ms: int, gap_ms: int) -> str:
    """Return why there is no signal for a trace that began at `began_ms`, as far as Kafka shows it.

    `reach_ms` is gap + lateness.
    """
    since_ms = in_force_since(rule.fingerprint, [*sets])
    if since_ms is None:
        return "the rule is not active"
    if rule.mode is Mode.SHADOW:
        return "the rule is in shadow"
    if since_ms and began_ms <= since_ms + reach_ms:
        return f"the rule judges traces that begin after about {iso_ms(since_ms + reach_ms)}"
    return f"a trace is judged {gap_ms / 1000:g}s after its last span; check betrace status for lag"


def in_force_since(fingerprint: str, sets: Sequence[Pushed]) -> int | None:
    """Return since when the rule has been in force, in Unix ms: 0 since the first push, None if it is not."""
    has_rule = {
        each.fingerprint
        for each in sets
        if each.rules and any(rule.fingerprint == fingerprint and rule.enabled for rule in each.rules.rules)
    }
    since_ms: int | None = None
    for number, push in enumerate(sorted((push for each in sets for push in each.pushes), key=lambda one: one.number)):
        if push.rule_set not in has_rule:
            since_ms = None
        elif since_ms is None:
            since_ms = push.time_ms if number else 0
    return since_ms
