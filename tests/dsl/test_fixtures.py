"""How much of the language the text fixtures show."""

from __future__ import annotations

from tests.support.fixtures import ROOT, problem_blocks, verdict_blocks

_PROBLEMS = [block for path in sorted((ROOT / "problems").glob("*.txt")) for block in problem_blocks(path)]
_VERDICTS = [block for path in sorted((ROOT / "verdicts").glob("*.txt")) for block in verdict_blocks(path)]


def test_fixtures_are_many_of_every_sort() -> None:
    """Texts that are accepted, texts that are refused, and verdicts on traces: each is well covered, none by Python."""
    accepted = [block for block in _PROBLEMS if not any(line.startswith("E") for line in block.outcomes)]
    verdicts = [line for block in _VERDICTS for line in block.outcomes]

    refused = len(_PROBLEMS) - len(accepted)

    assert len(accepted) >= 50
    assert refused >= 150
    assert len(verdicts) >= 500
    assert len(accepted) + refused + len(verdicts) >= 400


def test_every_block_says_something() -> None:
    """A block has a title of its own in its file, a text, and a verdict block has outcomes."""
    titles = [
        (path.name, block.title) for path in sorted((ROOT / "problems").glob("*.txt")) for block in problem_blocks(path)
    ]

    assert len(titles) == len(set(titles))
    assert all(block.text and block.outcomes for block in _VERDICTS)
