"""Twice the input is twice the work, counted in steps of Python, so that the load of the machine does not matter."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import TypeAlias

import pytest

from streams.windows.partition import Partition
from streams.windows.positions import Position
from streams.windows.sessions import Sessions
from tests.support.builders import BOUNDS, TOPIC, entry, section
from topics.records.facts import TICK_MS, VERSION, Facts, Touch

Trace: TypeAlias = Callable[[FrameType, str, object], "Trace"]

ROUNDS = 5
TWICE = 2.1


def steps(work: Callable[[], object]) -> int:
    """Count the instructions that Python executes."""
    counted = 0

    def count(frame: FrameType, event: str, _argument: object) -> Trace:
        nonlocal counted
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        counted += event == "opcode"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        work()
    finally:
        sys.settrace(before)
    return counted


def closing(traces: int, sources: int) -> Callable[[], object]:
    """Return the work of a facts partition whose sources each send so many traces in a few messages.

    In the end all windows close.
    """
    sessions = Sessions(BOUNDS, {})
    partition = Partition(
        (TOPIC,), sessions, lambda _: frozenset({"rule"}), out_of_order_ms=0, position=Position.initial(0)
    )
    ids = [[(source * traces + number).to_bytes(16) for number in range(traces)] for source in range(sources)]
    messages = [
        Facts(
            version=VERSION,
            rules="rules",
            sections=[
                section(
                    tick * traces,
                    (tick + 1) * traces,
                    tick * TICK_MS,
                    [entry(tick, trace=trace, offset=tick * traces + at) for at, trace in enumerate(of_source)],
                    [Touch(trace, tick, 1) for trace in of_source],
                    partition=source,
                    partition_count=sources,
                )
                for source, of_source in enumerate(ids)
            ],
        )
        for tick in range(ROUNDS)
    ]
    end = ROUNDS * traces
    last = [section(end, end, 1000 * TICK_MS, partition=source, partition_count=sources) for source in range(sources)]

    # A new source costs, once, time that grows with the number of sources.
    assert [] == [*partition.apply(0, messages[0])]

    def work() -> None:
        rest = [*messages[1:], Facts(version=VERSION, rules="rules", sections=last)]
        closed = sum(len([*partition.apply(offset, message)]) for offset, message in enumerate(rest, 1))
        assert closed == traces * sources

    return work


@pytest.mark.parametrize("sources", [1, 8])
def test_twice_the_traces(sources: int) -> None:
    """Windows of twice as many traces take twice the work to open, extend and close."""
    once, twice = steps(closing(50, sources)), steps(closing(100, sources))

    assert twice <= TWICE * once


@pytest.mark.parametrize("traces", [1, 8])
def test_twice_the_source_partitions(traces: int) -> None:
    """Twice as many source partitions, each with as many traces, take twice the work."""
    once, twice = steps(closing(traces, 40)), steps(closing(traces, 80))

    assert twice <= TWICE * once
