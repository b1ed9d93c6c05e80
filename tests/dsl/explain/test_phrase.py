"""Rules phrased in plain English: every line of tests/fixtures/dsl/phrases.txt is a test."""

from __future__ import annotations

import pytest

from dsl.explain.phrase import sentence
from dsl.syntax.nodes import When
from dsl.syntax.parse import parse_rule
from dsl.syntax.source import SourceText, source_file
from tests.support.fixtures import ROOT

_PAIRS = [
    [side.strip() for side in line.split(" => ")]
    for line in (ROOT / "phrases.txt").read_text(encoding="utf-8").splitlines()
]


@pytest.mark.parametrize(("condition", "english"), _PAIRS)
def test_condition_is_phrased_in_english(condition: str, english: str) -> None:
    """A condition is phrased as in the fixture."""
    body, reported = parse_rule(SourceText(file=source_file("t.rules", condition), text=condition, line=1))
    assert body is not None, reported
    assert not isinstance(body, When)

    assert english == sentence(body)
