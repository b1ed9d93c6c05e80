"""What every test may use: a real Kafka, started once, and topics of its own on it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support import skips
from topics.embedded import broker

settings.register_profile("short", max_examples=200, deadline=None)
# What `make properties` asks for.
settings.register_profile("long", max_examples=2000, deadline=None)
settings.load_profile("short")


def pytest_configure(config: pytest.Config) -> None:
    """In CI a skip that is not on the list fails the run."""
    skips.register(config)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--long` is what `make crash` asks for."""
    parser.addoption("--long", action="store_true", help="crash tests kill many more times")


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """The address of a real broker that lives as long as the test session."""
    with broker.running() as started:
        yield started.bootstrap


@pytest.fixture
def fresh_prefix() -> str:
    """A topic prefix that no other test has."""
    return f"t{uuid.uuid4().hex[:12]}."
