"""The closes of windows and their reasons."""

from __future__ import annotations

from streams.windows.chain import Chain, Window
from streams.windows.close import Close, CloseReason
from tests.support.builders import TRACE


def test_reasons_are_closed() -> None:
    """There are four reasons, with the texts that metrics and signals show."""
    reasons = [reason.value for reason in CloseReason]

    assert ["quiet", "max_duration", "end_of_input", "disk_limit"] == reasons


def test_chain_first_in_milliseconds() -> None:
    """The first arrival of the chain, not of the window, in milliseconds."""
    close = Close(
        trace_id=TRACE,
        chain=Chain(12, 90, 0, 0),
        window=Window(80, 90),
        reason=CloseReason.QUIET,
        closed_ms=10_000,
        whole=True,
    )

    first_ms = close.chain_first_ms

    assert 1_200 == first_ms
