"""Tests the signs of a sampled source."""

from __future__ import annotations

import pytest
from structlog.testing import CapturingLogger

from streams.observe import metrics, sampling
from streams.observe.sampling import TRACES, SamplingWatch, kept_share


def traces(count: int, *, rooted: int) -> list[tuple[bytes, bool]]:
    """A sample of traces, of which the first have their root."""
    return [(number.to_bytes(16, "big"), number < rooted) for number in range(count)]


def looks(reason: str) -> float:
    """Returns the metric's value for a sign."""
    found = metrics.REGISTRY.get_sample_value("betrace_source_sampled", {"reason": reason})
    return found or 0.0


@pytest.fixture
def watch() -> SamplingWatch:
    """A watch whose metric says nothing yet."""
    metrics.SOURCE_SAMPLED.clear()
    return SamplingWatch()


@pytest.mark.parametrize(
    ("value", "share"),
    [
        (b"ot=th:8", 0.5),
        (b"ot=th:fff", 1 / 4096),
        (b"congo=t61,ot=rv:123456789abcde;th:c", 0.25),
        (b'"traceState":"ot=th:0"', 1.0),
        (b"ot=th:", None),
        (b"ot=th:123456789abcdef", None),
        (b"bot=th:8", None),
        (b"ot=rv:1,th:8", None),
        (b"", None),
    ],
)
def test_share_that_a_threshold_keeps(value: bytes, share: float | None) -> None:
    """A threshold is the rejected share, of 56 bits, without trailing zeros."""
    assert share == kept_share(value)


def test_threshold_above_zero_is_a_sign(watch: SamplingWatch) -> None:
    """Only a threshold that rejects something is a sign."""
    watch.add(None)
    watch.add(b"ot=th:0")
    before = looks("threshold")
    watch.add(b"ot=th:8")

    assert (0, 1) == (before, looks("threshold"))


@pytest.mark.parametrize(("rooted", "sign"), [(0, 1), (TRACES // 20 - 1, 1), (TRACES // 20, 0), (TRACES, 0)])
def test_traces_without_roots_are_a_sign(watch: SamplingWatch, rooted: int, sign: int) -> None:
    """Fewer than one in twenty of many traces with a root is a sign."""
    watch.take(traces(TRACES, rooted=rooted))

    assert sign == looks("rootless")


def test_few_traces_are_not_a_sign(watch: SamplingWatch) -> None:
    """One trace too few is not a sign, however often it comes."""
    watch.take(traces(TRACES - 1, rooted=0))
    watch.take(traces(TRACES - 1, rooted=0))

    assert 0 == looks("rootless")


def test_each_sign_is_logged_once(watch: SamplingWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The warning is logged once, not per record."""
    said = CapturingLogger()
    monkeypatch.setattr(sampling, "log", said)

    for _ in range(3):
        watch.add(b"ot=th:8")

    assert 1 == len(said.calls)
    assert {"threshold"} == watch._warned
