"""The short form of the mutated requests."""

from __future__ import annotations

import pytest

from streams.decode.backend import compiled
from tests.properties import fuzz_scan


@pytest.mark.skipif(compiled() is None, reason="the scanner was not compiled here")
def test_no_request_is_read_otherwise_by_the_scanner() -> None:
    """Of 20,000 odd and damaged requests the scanner reads thousands, each as the path without it does."""
    outcomes = fuzz_scan.run(20_000, "short")

    assert 0 == outcomes["failed"]
    assert 20_000 == outcomes["read"] + outcomes["passed_on"]
    assert outcomes["read"] > 8_000
