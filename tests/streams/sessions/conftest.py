"""Closes the workers that a test has created when it ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.driven import DRIVEN


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Close the stores and producers of workers that a test leaves: an open store can crash the process at exit."""
    yield
    while DRIVEN:
        DRIVEN.pop().crash()
