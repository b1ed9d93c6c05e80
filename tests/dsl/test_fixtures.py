"""The text fixtures themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fixtures import ROOT, problem_blocks, verdict_blocks


@pytest.mark.parametrize("path", sorted((ROOT / "problems").glob("*.txt")), ids=lambda path: path.stem)
def test_problem_blocks_have_titles_of_their_own(path: Path) -> None:
    """The title of a block is unique in its file, so that a failure identifies it."""
    titles = [block.title for block in problem_blocks(path)]

    assert sorted(set(titles)) == sorted(titles)


@pytest.mark.parametrize("path", sorted((ROOT / "verdicts").glob("*.txt")), ids=lambda path: path.stem)
def test_verdict_blocks_have_a_text_and_outcomes(path: Path) -> None:
    """A block has a text and outcomes: one without would be skipped silently."""
    assert [] == [block.title for block in verdict_blocks(path) if not (block.text and block.outcomes)]
