"""Windows that are rebuilt from the facts log: from its first required message, with only a resume point."""

from __future__ import annotations

import msgspec

from streams.windows.partition import Partition
from streams.windows.positions import Position
from streams.windows.sessions import Sessions
from tests.support.builders import BOUNDS, TOPIC, TRACE, Closed, Story, closed, entry, message, section, trace_id
from topics.records.facts import TICK_MS, Facts

RULES = {"rules": frozenset({"a"})}
OUT_OF_ORDER_MS = 2_000
NOW_TICK = 17_952_786_000
"""A tick of the present."""

B = trace_id("b")


def partition_at(position: Position) -> Partition:
    """Create a partition that has only a position."""
    sessions = Sessions(BOUNDS, {})
    sessions.restore_position(position.ended_chains, position.long_presences, has_store=False)
    return Partition((TOPIC,), sessions, RULES.__getitem__, out_of_order_ms=OUT_OF_ORDER_MS, position=position)


def apply_log(partition: Partition, log: list[Facts], until: int, *, step_at: int | None = None) -> list[Closed]:
    """Apply the log up to an offset, with a step at one or at each; return the closes."""
    found: list[Closed] = []
    while partition.next_offset < until:
        found += [closed(close) for close in partition.apply(partition.next_offset, log[partition.next_offset])]
        if step_at in {None, partition.next_offset}:
            partition.position()
    return found


def at(number: int, tick: int, *traces: bytes) -> Facts:
    """Return message `number`: a hit of each trace in a tick, and a watermark that has passed it."""
    entries = [entry(tick, trace=trace, offset=number) for trace in traces]
    return message(section(number, number + 1, (tick + 1) * TICK_MS, entries))


def state(partition: Partition) -> dict[bytes, bytes]:
    """Return all state of traces."""
    chains = partition.sessions.chains
    return {trace_id: msgspec.msgpack.encode(chains.get(trace_id)) for trace_id in chains}


def rebuilt(log: list[Facts], stop: int, *, step_at: int | None = None) -> tuple[Partition, Partition]:
    """Return a worker that read up to `stop`, and one rebuilt from the first one's position."""
    first = partition_at(Position.initial(0))
    apply_log(first, log, stop, step_at=step_at)
    again = partition_at(first.position().without_local_state())
    assert again.next_offset > 0, "it must not begin at the beginning"
    apply_log(again, log, stop)
    return first, again


def test_tail_of_a_trace_that_began_before() -> None:
    """The last record of a trace that ended long ago opens no window, and the open window is restored."""
    log = [at(number, 5 * (number + 1), *traces) for number, traces in enumerate([(TRACE,), (TRACE, B), *[(B,)] * 14])]
    log.append(message(section(16, 16, 500 * TICK_MS)))

    first, again = rebuilt(log, 16)

    assert {B} == state(first).keys()
    assert state(first) == state(again)
    assert apply_log(first, log, 17) == apply_log(again, log, 17)


def test_tail_of_an_ended_chain() -> None:
    """A trace that never rests is marked headless, although its beginning is not read."""
    ticks = range(0, 400, 5)
    log = [at(number, tick, TRACE, *([B] if tick >= 350 else [])) for number, tick in enumerate(ticks)]
    log.append(message(section(len(log), len(log), 1_000 * TICK_MS)))

    first, again = rebuilt(log, len(log) - 1)

    assert {TRACE, B} == state(first).keys()
    assert state(first) == state(again)
    assert apply_log(first, log, len(log)) == apply_log(again, log, len(log))


def test_tail_of_two_ended_chains() -> None:
    """With few resume points, the log begins in the first of two ended chains: neither comes back."""
    log = [at(number, 5 * number, TRACE) for number in range(70)]
    log.append(message(section(len(log), len(log), 1_000 * TICK_MS)))

    first, again = rebuilt(log, len(log) - 1, step_at=25)

    assert {TRACE} == state(first).keys()
    assert state(first) == state(again)
    assert apply_log(first, log, len(log)) == apply_log(again, log, len(log))


def test_resume_point_has_its_own_offsets() -> None:
    """Source offsets are those applied before the first message that is read again: no open window is lost."""
    log = [at(number, 20 * number, trace_id(str(number))) for number in range(12)]

    first, again = rebuilt(log, 12)

    position = first.position()
    [mark] = [each.progress for each in position.resume_points[0].progress]
    assert position.resume_points[0].facts_offset == mark.applied_to
    assert first.sessions.open_windows == again.sessions.open_windows > 0
    assert state(first) == state(again)


def test_first_time_is_far_from_zero() -> None:
    """The first clock is decades above zero: ticks in between are not visited, and a window closes at once."""
    story = Story().hit(NOW_TICK)

    closes = story.until(NOW_TICK + BOUNDS.gap + 1)

    assert [(NOW_TICK, NOW_TICK)] == [(close.first, close.last) for close in closes]


def test_touch_that_is_read_before_the_hit() -> None:
    """A touch extends the window of an earlier hit that is read after it."""
    story = Story().touch(8).hit(3)

    assert [(3, 8)] == [(close.first, close.last) for close in story.until(100)]


def test_sessions_that_are_read_before_the_first_one_closes() -> None:
    """Two windows of a trace become one chain, whichever is read first."""
    story = Story().hit(60).hit(20)

    assert [(20, 20), (20, 60)] == [(close.chain_first, close.first) for close in story.until(100)]
