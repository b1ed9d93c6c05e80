"""Workers that a test has made are gone when it ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.driven import DRIVEN


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Closes the stores and producers of workers that a test leaves: a store that is open at exit can crash it."""
    yield
    while DRIVEN:
        DRIVEN.pop().crash()
