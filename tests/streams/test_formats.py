"""Tests that records of every format that was ever written are read, or refused by its number.

`tests/fixtures/formats` has a record of each format, as the version of BeTrace that introduced it wrote it. A change of
what is written needs a new format number, and its fixture: `python -m tests.support.formats`.
"""

from __future__ import annotations

import msgspec
import pytest

from tests.support import formats
from topics.records import facts


@pytest.mark.parametrize("kind", formats.SAMPLES)
def test_format_changes_with_its_number(kind: str) -> None:
    """What is written today is what the fixture of this format has, byte for byte."""
    assert formats.path(kind).read_bytes() == formats.SAMPLES[kind].written(), "the format changed, its number did not"


@pytest.mark.parametrize("kind", formats.SAMPLES)
def test_own_format_is_read(kind: str) -> None:
    """A record of the current format is read as what was written."""
    sample = formats.SAMPLES[kind]

    assert sample.record == sample.decode(formats.path(kind).read_bytes())


@pytest.mark.parametrize("version", range(facts.OLDEST, facts.VERSION + 1))
def test_facts_of_an_earlier_format(version: int) -> None:
    """Facts are read in each format since the oldest: what a format lacks has its default, all else is the same."""
    read = facts.decode((formats.DIRECTORY / f"facts-{version}.msgpack").read_bytes())

    assert formats.facts_of(version) == read


@pytest.mark.parametrize("kind", [kind for kind in formats.SAMPLES if kind != "facts"])
def test_other_format_is_refused(kind: str) -> None:
    """A record of another format is refused with its number, not misread."""
    sample = formats.SAMPLES[kind]
    other = sample.version + 1

    with pytest.raises(msgspec.DecodeError, match=rf"(format|schema) {other}\b"):
        sample.decode(sample.written_as(other))
