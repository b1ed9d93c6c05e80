"""Touches: traces by tick, in Python and compiled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.decode import backend, touches
from streams.decode.backend import Backend
from streams.decode.batches import Touches
from streams.decode.touches import PureTouches
from topics import partition
from topics.records.facts import Touch, unpack_touches

TRACE, OTHER = b"one trace's id: ", b"another one: 16\0"
KINDS = [Backend.PURE, *([Backend.CYTHON] if backend.compiled() else [])]
LAST_TICK = (1 << 63) - 1

trace_ids = st.sampled_from((TRACE, OTHER)) | st.binary(min_size=16, max_size=16)
ticks = st.sampled_from((0, 7, 8, 1 << 32, LAST_TICK))
additions = st.tuples(trace_ids, ticks, st.integers(1, 1000), st.booleans())
steps = st.lists(st.tuples(st.just("add"), additions) | st.tuples(st.just("take"), additions))


@pytest.fixture(params=KINDS, ids=lambda choice: choice.value)
def seen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Touches:
    """An empty collection, of either form."""
    monkeypatch.setenv(backend.VARIABLE, request.param.value)
    return touches.new_touches()


def packed(found: Touches, partitions: int) -> list[list[Touch]]:
    """Return the touches of each facts partition."""
    return [[*unpack_touches(each)] for each in found.pack(partitions)]


def taken(seen: Touches, trace_id: bytes, tick: int) -> tuple[int, bool] | None:
    """Return what is taken, None when it was absent."""
    try:
        return seen.take(trace_id, tick)
    except KeyError:
        return None


def test_spans_of_one_tick_are_one_touch(seen: Touches) -> None:
    """Other ticks and other traces are separate touches; they are packed in order of arrival."""
    seen.add(TRACE, 8, 1, False)  # noqa: FBT003, as in the product
    seen.add(TRACE, 7, 2, False)  # noqa: FBT003, as in the product
    seen.add(OTHER, 8, 3, False)  # noqa: FBT003, as in the product
    seen.add(TRACE, 8, 4, False)  # noqa: FBT003, as in the product

    assert [[Touch(TRACE, 8, 5), Touch(TRACE, 7, 2), Touch(OTHER, 8, 3)]] == packed(seen, 1)
    assert 3 == len(seen)


def test_taken_touch_is_removed(seen: Touches) -> None:
    """It becomes part of an entry; a root among its spans is remembered."""
    seen.add(TRACE, 8, 1, True)  # noqa: FBT003, as in the product
    seen.add(TRACE, 8, 2, False)  # noqa: FBT003, as in the product

    taken = seen.take(TRACE, 8)

    assert ((3, True), 0, [[]]) == (taken, len(seen), packed(seen, 1))
    with pytest.raises(KeyError):
        seen.take(TRACE, 8)


def test_touches_are_in_their_partitions(seen: Touches) -> None:
    """Each is in the facts partition of its trace."""
    for number in range(1000):
        seen.add(number.to_bytes(16), 7, 1, False)  # noqa: FBT003, as in the product

    found = packed(seen, 12)

    assert [{number} for number in range(12)] == [
        {partition.of_trace(each.trace_id, 12) for each in of} for of in found
    ]
    assert 1000 == sum(map(len, found))


def test_one_trace_in_256_is_sampled(seen: Touches) -> None:
    """The sample has whether its root was seen."""
    for number in range(512):
        seen.add(number.to_bytes(16), 7, 1, number == 256)

    assert [(bytes(16), False), ((256).to_bytes(16), True)] == seen.sample()


@pytest.mark.skipif(backend.compiled() is None, reason="the scanner was not compiled here")
@given(steps=steps, partitions=st.integers(1, 13))
def test_both_forms_do_the_same(steps: list[tuple[str, tuple[bytes, int, int, bool]]], partitions: int) -> None:
    """The forms agree on any sequence of additions and removals."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(backend.VARIABLE, Backend.CYTHON.value)
        pure, compiled = PureTouches(), touches.new_touches()

    for step, (trace_id, tick, span_count, root_seen) in steps:
        if step == "add":
            pure.add(trace_id, tick, span_count, root_seen)
            compiled.add(trace_id, tick, span_count, root_seen)
        else:
            assert taken(pure, trace_id, tick) == taken(compiled, trace_id, tick)
        assert pure.partition_of(trace_id, partitions) == compiled.partition_of(trace_id, partitions)

    assert len(pure) == len(compiled)
    assert pure.sample() == compiled.sample()
    assert pure.pack(partitions) == compiled.pack(partitions)


@pytest.mark.skipif(backend.compiled() is None, reason="the scanner was not compiled here")
@pytest.mark.parametrize(
    ("trace_id", "tick", "reason"), [(b"short", 7, "16 bytes, not 5"), (TRACE, -1, "negative"), (TRACE, 1 << 64, "C ")]
)
def test_compiled_form_takes_nothing_else(trace_id: bytes, tick: int, reason: str) -> None:
    """A trace id of another length, or an invalid tick, is refused before any memory is accessed."""
    from streams.decode._touches import Touches as Compiled  # noqa: PLC0415, it may be missing

    with pytest.raises((ValueError, OverflowError), match=reason):
        Compiled().add(trace_id, tick, 1, False)  # noqa: FBT003, as in the product
