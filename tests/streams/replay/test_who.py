"""Tests broken traces grouped by an attribute."""

from __future__ import annotations

from streams.replay.outcome import NOBODY, Signal
from streams.replay.who import groups


def signal(who: str, number: int, verdict: str = "broken", revision: int = 1, rule: str = "a") -> Signal:
    """A signal about the trace with this number."""
    said = (f"{rule}{number}", revision, rule, number.to_bytes(16, "big"), verdict, "low", number * 1000)
    is_last = False
    return Signal(is_last, 90_000 + number, *said, f"no {number}", who, None, happened_ms=number * 1000 - 500)


def test_largest_group_comes_first() -> None:
    """The same attacker seven times is one group, with what happened in order."""
    signals = [signal("u-1", 5), *(signal("u-2", number) for number in (9, 7, 8)), signal("u-2", 7, rule="b")]

    first, second = groups(signals)

    assert ("u-2", 4, 3, {"a": 3, "b": 1}) == (first.who, first.broken, first.traces, first.rules)
    assert ["no 7", "no 7", "no 8", "no 9"] == [moment.message for moment in first.timeline]
    assert ("1970-01-01T00:00:06.500Z", "1970-01-01T00:00:08.500Z") == (first.first, first.last)
    assert [("1970-01-01T00:00:07.500Z", "1970-01-01T00:01:30.008Z")] == [
        (moment.time, moment.judged_at) for moment in first.timeline if moment.message == "no 8"
    ]
    assert "u-1" == second.who


def test_repaired_trace_is_left_out() -> None:
    """What late spans repaired is left out; what they broke counts once."""
    signals = [
        signal("u-1", 1),
        signal("u-1", 1, "held", 2),
        signal("u-2", 2, "undetermined"),
        signal("u-2", 2, revision=2),
    ]

    [only] = groups(signals)

    assert ("u-2", 1) == (only.who, only.broken)


def test_traces_without_the_attribute_come_last() -> None:
    """Traces without the attribute are a group of their own, without a name."""
    found = groups([signal(NOBODY, 1), signal(NOBODY, 2), signal("u-1", 3)])

    assert ["u-1", None] == [group.who for group in found]


def test_timeline_is_of_what_happened() -> None:
    """A late trace is shown when it happened, not when its record came; an impossible time is clamped."""
    early = signal("u-1", 9)._replace(happened_ms=1_000)
    never = signal("u-1", 8)._replace(happened_ms=1 << 60)

    [only] = groups([signal("u-1", 7), never, early])

    assert ["no 9", "no 7", "no 8"] == [moment.message for moment in only.timeline]
    assert ("1970-01-01T00:00:01.000Z", "9999-12-31T23:59:59.999Z") == (only.first, only.last)
