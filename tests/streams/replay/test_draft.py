"""What waits for a flush, and who is told of it."""

from __future__ import annotations

from dsl import compile_texts
from dsl.span import Span
from streams.project import Projector
from streams.replay.draft import TickDraft, shares
from streams.traces import TraceSpans
from topics.facts import Touch, unpack_touches

RULES, _ = compile_texts({"a.rules": '// "A"\na and b\n'})
ONE, OTHER = bytes([1]) * 16, bytes([2]) * 16


def seen(span_count: int, *names: str, root_seen: bool = False) -> TraceSpans:
    """So many spans, of which some with these names are looked at."""
    spans = [Span(name, bytes([number + 1]) * 8) for number, name in enumerate(names)]
    return TraceSpans(span_count, root_seen, spans)


def test_records_of_one_trace_in_a_tick_are_one() -> None:
    """Span counts add up, a root is a root, and the offsets are of records that brought facts."""
    at, projector = TickDraft(), Projector(RULES)
    at.add(5, {ONE: seen(2, root_seen=True)}, projector)
    at.add(6, {ONE: seen(1, "a")}, projector)
    at.add(7, {ONE: seen(1), OTHER: seen(3)}, projector)
    at.add(8, {ONE: seen(1, "b")}, projector)

    [share] = shares({40: at}, 1)

    [entry] = share.entries
    assert (ONE, 6, 8, 40, 5, True, 2) == (
        *(entry.trace_id, entry.first_offset, entry.offset, entry.tick),
        *(entry.span_count, entry.root_seen, len(entry.facts)),
    )
    assert [Touch(OTHER, 40, 3)] == list(unpack_touches(bytes(share.touches)))


def test_span_that_no_rule_holds_for_is_a_touch() -> None:
    """A span that was looked at and satisfies no atom brings no entry."""
    at = TickDraft()
    at.add(5, {ONE: seen(1, "c")}, Projector(RULES))

    [share] = shares({40: at}, 1)

    assert ([], [Touch(ONE, 40, 1)]) == (share.entries, list(unpack_touches(bytes(share.touches))))


def test_each_trace_has_one_process() -> None:
    """Whichever input and tick it comes in; and together they are told of all."""
    trace_ids = [number.to_bytes(16) for number in range(1, 200)]
    ticks = {40: TickDraft(), 41: TickDraft()}
    for at in ticks.values():
        at.add(5, {trace_id: seen(1) for trace_id in trace_ids}, Projector(RULES))

    told = [{touch.trace_id for touch in unpack_touches(bytes(share.touches))} for share in shares(ticks, 3)]

    assert len(trace_ids) == sum(map(len, told))
    assert set(trace_ids) == set().union(*told)
    assert all(told)
