"""The canonical form of rules."""

from __future__ import annotations

import pytest

from dsl.parse import parse_rule
from dsl.render import form_text
from dsl.source import Passage, source_file
from tests.dsl.fixtures import ROOT

_PAIRS = [line.split(" => ") for line in (ROOT / "canonical.txt").read_text(encoding="utf-8").splitlines()]


def _canonical(text: str) -> str:
    form, found = parse_rule(Passage(source_file("t.rules", text), text, 1))
    assert form is not None, found
    return form_text(form)


@pytest.mark.parametrize(("written", "canonical"), _PAIRS)
def test_rule_has_one_canonical_form(written: str, canonical: str) -> None:
    """A rule is printed as the fixture says."""
    assert canonical == _canonical(written)


@pytest.mark.parametrize(("written", "canonical"), _PAIRS)
def test_canonical_form_is_its_own(written: str, canonical: str) -> None:
    """The canonical form of a canonical form is the same text."""
    assert canonical == _canonical(_canonical(written))
