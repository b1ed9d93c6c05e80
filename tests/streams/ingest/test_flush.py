"""The messages of one flush, whole and in parts."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.errors import ConfigError
from streams.ingest.flush import MAX_SERVICES, PIECE_TOUCHES, SectionBuilder, messages
from streams.ingest.intake import CONSUME_COUNTS
from streams.ingest.loop import FLUSH_BYTES, FLUSH_DEAD_LETTERS
from tests.support.builders import TRACE, entry, fact, section, trace_id
from topics import partition
from topics.records.facts import NO_SPAN, Entry, Fact, Facts, Section, Touch, decode, unpack_touches

LARGE_BYTES = 1_000_000


def begun() -> SectionBuilder:
    """Create a builder that continues at offset 10."""
    return SectionBuilder(topic="otlp_spans", partition=3, epoch=7, partition_count=4, from_offset=10, to_offset=10)


def decoded(values: list[bytes]) -> list[Facts]:
    """Decode messages."""
    return [decode(value) for value in values]


def test_section_has_its_source() -> None:
    """A section carries everything that its builder was given."""
    draft = begun()
    draft.to_offset = 15
    draft.lost.append((10, 12))

    [found] = draft.sections(1, 900)

    assert (
        Section(
            topic="otlp_spans",
            partition=3,
            epoch=7,
            replay=0,
            start_ms=None,
            partition_count=4,
            from_offset=10,
            to_offset=15,
            watermark_ms=900,
            lost=[(10, 12)],
            touches=b"",
            entries=[],
            dead_letters=[],
        )
        == found
    )


def test_dead_letters_are_sent_to_every_facts_partition() -> None:
    """Adjacent ones form one range, so a log of garbage makes no large message."""
    draft = begun()
    for offset in (10, 11, 12, 14):
        draft.add_dead_letter(offset)

    sections = draft.sections(2, 900)

    assert [[(10, 13), (14, 15)]] * 2 == [found.dead_letters for found in sections]


def test_maximum_of_dead_letters_fits_in_a_message() -> None:
    """The worst case: one batch more than triggers a flush, at the largest offsets, none adjacent."""
    draft = begun()
    for number in range(FLUSH_DEAD_LETTERS + CONSUME_COUNTS[1]):
        draft.add_dead_letter((1 << 62) + 2 * number)

    [whole] = messages("rules", draft.sections(1, 900), FLUSH_BYTES)

    assert len(whole) < FLUSH_BYTES // 2


def test_only_the_last_part_has_dead_letters() -> None:
    """So a reader that counts them must only know up to where it has counted."""
    draft = begun()
    draft.to_offset = 15
    for number in range(200):
        draft.add(trace_id(str(number)), 5, 10, 1, [fact()], root_seen=False)
    draft.add_dead_letter(14)

    *parts, last = decoded(messages("rules", draft.sections(1, 900), 2_000))

    assert parts
    assert {()} == {tuple(found.dead_letters or ()) for part in parts for found in part.sections}
    assert [[(14, 15)]] == [found.dead_letters for found in last.sections]


def test_services_are_named_once() -> None:
    """A message has them beside its sections, in its last part, sorted and limited in number."""
    draft = begun()
    draft.to_offset = 15
    for number in range(200):
        draft.add(trace_id(str(number)), 5, 10, 1, [fact()], root_seen=False)
    many = frozenset(f"s{number:04}" for number in range(MAX_SERVICES + 1))
    sections = draft.sections(1, 900)

    *parts, last = decoded(messages("rules", sections, 2_000, frozenset({"shop", "cart"})))
    [of_many] = decoded(messages("rules", sections, LARGE_BYTES, many))

    assert parts
    assert {()} == {tuple(part.services) for part in parts}
    assert (["cart", "shop"], False) == (last.services, last.has_more_services)
    assert (sorted(many)[:MAX_SERVICES], True) == (of_many.services, of_many.has_more_services)


def test_trace_of_a_refused_record() -> None:
    """It has an entry without facts, because a touch cannot express that some are missing."""
    draft = begun()
    draft.add(TRACE, 5, 10, 3, [], root_seen=True, is_incomplete=True)
    draft.add(TRACE, 5, 11, 1, [fact(1)], root_seen=False)

    [found] = draft.sections(1, None)

    assert [Entry(TRACE, 10, 11, 5, 4, True, [fact(1)], True)] == found.entries  # noqa: FBT003, as on the topic


def test_every_facts_partition_gets_a_section() -> None:
    """A facts partition without entries still gets the position and the watermark."""
    draft = begun()
    draft.add(TRACE, 5, 10, 1, [fact()], root_seen=False)

    sections = draft.sections(4, 900)

    assert [900] * 4 == [found.watermark_ms for found in sections]
    assert [number == partition.of_trace(TRACE, 4) for number in range(4)] == [
        bool(found.entries) for found in sections
    ]


def test_records_of_one_tick_share_an_entry() -> None:
    """Records of one trace in one tick are one entry."""
    draft = begun()
    draft.add(TRACE, 5, 10, 2, [fact(1)], root_seen=True)
    draft.add(TRACE, 5, 12, 3, [fact(2)], root_seen=False)

    [found] = draft.sections(1, None)

    assert [Entry(TRACE, 10, 12, 5, 5, True, [fact(1), fact(2)])] == found.entries  # noqa: FBT003, as on the topic


def test_records_of_two_ticks_are_two_entries() -> None:
    """Records of one trace in different ticks are different entries, because they determine the window's bounds."""
    draft = begun()
    draft.add(TRACE, 5, 10, 1, [fact(1)], root_seen=False)
    draft.add(TRACE, 6, 11, 1, [fact(2)], root_seen=False)

    [found] = draft.sections(1, None)

    assert [5, 6] == [one.tick for one in found.entries]


def test_records_without_facts_are_a_touch() -> None:
    """A trace without a hit is sent as id, tick and span count."""
    draft = begun()
    draft.add(TRACE, 5, 10, 2, [], root_seen=False)
    draft.add(TRACE, 5, 11, 3, [], root_seen=False)

    [found] = draft.sections(1, None)

    assert [Touch(TRACE, 5, 5)] == list(unpack_touches(found.touches))
    assert [] == found.entries


def test_traces_out_of_bounds_are_marked_where_they_are() -> None:
    """The mark goes to the facts partition of its trace, once for each tick, also in a split message."""
    draft = begun()
    traces = [trace_id(str(number)) for number in range(2 * PIECE_TOUCHES)]
    for trace in traces:
        draft.out_of_bounds |= {(trace, 5)}
        draft.add(trace, 5, 10, 1, [], root_seen=False)

    of_partitions = draft.sections(3, None)

    told = [[touch for touch in unpack_touches(each.touches) if touch.span_count == NO_SPAN] for each in of_partitions]
    assert [partition.of_trace(trace, 3) for trace in sorted(traces)].count(0) == len(told[0])
    assert sorted(Touch(trace, 5, NO_SPAN) for trace in traces) == sorted(touch for part in told for touch in part)
    parts = [decode(value) for value in messages("rules", [of_partitions[0]], 20_000)]
    split = [touch for part in parts for each in part.sections for touch in unpack_touches(each.touches)]
    assert (len(parts) > 1, list(unpack_touches(of_partitions[0].touches))) == (True, split)


def test_offsets_are_of_records_with_facts() -> None:
    """Which touches share an entry depends on the time of the flush, so its offsets are not theirs."""
    draft = begun()
    for offset, facts in ((10, []), (12, [fact(1)]), (14, [fact(2)]), (15, list[Fact]())):
        draft.add(TRACE, 5, offset, 1, facts, root_seen=False)

    [found] = draft.sections(1, None)

    assert [(12, 14, 4)] == [(one.first_offset, one.offset, one.span_count) for one in found.entries]


def test_message_within_the_limit_is_whole() -> None:
    """A message exactly at the limit is not split."""
    sections = [section(0, 9, 900, [entry(5)])]
    [whole] = messages("rules", sections, LARGE_BYTES)

    parts = messages("rules", sections, len(whole))

    assert [whole] == parts


def test_message_one_byte_too_large_is_split() -> None:
    """A message one byte over the limit is split, and only the last part moves the position."""
    sections = [section(0, 9, 900, [entry(5, offset=1), entry(6, offset=2)], lost=[(0, 1)])]
    [whole] = messages("rules", sections, LARGE_BYTES)

    parts = decoded(messages("rules", sections, len(whole) - 1))

    assert [(0, None, []), (9, 900, [(0, 1)])] == [
        (part.sections[0].to_offset, part.sections[0].watermark_ms, part.sections[0].lost) for part in parts
    ]


def test_entry_larger_than_a_part_is_split() -> None:
    """An entry that fits in no part is split by facts; its spans are counted once."""
    sections = [section(0, 9, 900, [entry(5, *map(fact, range(9)))])]

    parts = decoded(messages("rules", sections, 200))

    entries = [one for part in parts for one in part.sections[0].entries]
    assert list(map(fact, range(9))) == [one for found in entries for one in found.facts]
    assert 1 == sum(found.span_count for found in entries)


def test_many_touches_are_split() -> None:
    """More touches than fit in one piece are all sent, in order."""
    touches = [Touch(trace_id(str(number)), number, 1) for number in range(2 * PIECE_TOUCHES + 1)]

    parts = decoded(messages("rules", [section(0, 9, 900, (), touches)], 40_000))

    assert touches == [touch for part in parts for touch in unpack_touches(part.sections[0].touches)]


def test_fact_larger_than_a_message() -> None:
    """A fact that fits in no message is refused, with the limit and an action."""
    sections = [section(0, 9, 900, [entry(5, fact(name="x" * 500))])]

    with pytest.raises(ConfigError, match=r"a fact is larger than the room .* bytes\): start more ingest workers"):
        messages("rules", sections, 300)


def test_touch_larger_than_a_message() -> None:
    """A limit that leaves no room for a touch is refused."""
    sections = [section(0, 9, 900, (), [Touch(TRACE, 1, 1)])]
    [bare] = messages("rules", [section(0, 9, 900)], LARGE_BYTES)

    with pytest.raises(ConfigError, match=r"a touch is larger .*: start more ingest workers"):
        messages("rules", sections, len(bare) + 1)


def test_too_many_source_partitions() -> None:
    """A limit that leaves no room for the positions of all source partitions is refused."""
    sections = [section(0, 9, 900, partition=number) for number in range(50)]

    with pytest.raises(ConfigError, match=r"all source partitions is larger .*: start more ingest workers"):
        messages("rules", sections, 500)


facts = st.builds(fact, st.integers(0, 99), st.integers(0, 9), name=st.text("ab", max_size=40))
entries = st.builds(
    lambda tick, trace, found: entry(tick, *found, trace=trace_id(trace)),
    st.integers(0, 99),
    st.sampled_from("abc"),
    st.lists(facts, min_size=1, max_size=9),
)
touches = st.builds(Touch, st.sampled_from("abc").map(trace_id), st.integers(0, 99), st.integers(1, 9))
sections_of_a_flush = st.lists(
    st.builds(
        section,
        st.just(10),
        st.integers(10, 99),
        st.none() | st.integers(0, 1 << 40),
        st.lists(entries, max_size=6),
        st.lists(touches, max_size=40),
        lost=st.lists(st.just((10, 12)), max_size=1),
    ),
    min_size=1,
    max_size=3,
).map(lambda found: [replace(one, partition=number) for number, one in enumerate(found)])


@given(sections_of_a_flush, st.integers(0, 400))
def test_nothing_is_lost_by_splitting(sections: list[Section], room_bytes: int) -> None:
    """Facts, touches and span counts of the parts are those of the whole; each part is within the limit.

    Only the last part moves a position or a watermark, or reports a loss.
    """
    [bare] = messages("rules", [replace(one, touches=b"", entries=[]) for one in sections], LARGE_BYTES)
    limit_bytes = len(bare) + room_bytes
    try:
        values = messages("rules", sections, limit_bytes)
    except ConfigError:
        assume(room_bytes > 140)
        raise

    parts = decoded(values)
    assert all(len(value) <= limit_bytes for value in values)
    assert said(sections) == said([one for part in parts for one in part.sections])
    assert spans(sections) == spans([one for part in parts for one in part.sections])
    assert [standing(one) for one in sections] == [standing(one) for one in parts[-1].sections]
    assert all((10, None, []) == standing(one) for part in parts[:-1] for one in part.sections)
    assert {"rules"} == {part.rules for part in parts}


def said(sections: list[Section]) -> Counter[tuple[object, ...]]:
    """Return every fact with its position, and every touch."""
    found: Counter[tuple[object, ...]] = Counter()
    for one in sections:
        found.update(
            (one.partition, at.trace_id, at.tick, at.offset, repr(hit)) for at in one.entries for hit in at.facts
        )
        found.update((one.partition, *touch) for touch in unpack_touches(one.touches))
    return found


def spans(sections: list[Section]) -> int:
    """Return the spans of all entries."""
    return sum(at.span_count for one in sections for at in one.entries)


def standing(one: Section) -> tuple[int, int | None, list[tuple[int, int]]]:
    """Return the position that a section gives its source partition."""
    return (one.to_offset, one.watermark_ms, one.lost)
