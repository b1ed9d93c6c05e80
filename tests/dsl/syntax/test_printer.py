"""The canonical form of rules."""

from __future__ import annotations

import pytest

from dsl.compile.compile import compile_texts
from dsl.syntax.parse import parse_rule
from dsl.syntax.printer import body_text
from dsl.syntax.source import SourceText, source_file
from tests.support.fixtures import ROOT, Block, verdict_blocks

_PAIRS = [line.split(" => ") for line in (ROOT / "canonical.txt").read_text(encoding="utf-8").splitlines()]


def _canonical(text: str) -> str:
    body, reported = parse_rule(SourceText(file=source_file("t.rules", text), text=text, line=1))
    assert body is not None, reported
    return body_text(body)


@pytest.mark.parametrize(("written", "canonical"), _PAIRS)
def test_rule_has_one_canonical_form(written: str, canonical: str) -> None:
    """A rule is printed as in the fixture."""
    assert canonical == _canonical(written)


@pytest.mark.parametrize(("written", "canonical"), _PAIRS)
def test_canonical_form_is_its_own(written: str, canonical: str) -> None:
    """The canonical form of a canonical form is the same text."""
    assert canonical == _canonical(_canonical(written))


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(block, id=f"{path.stem}: {block.title}")
        for path in sorted((ROOT / "verdicts").glob("*.txt"))
        for block in verdict_blocks(path)
    ],
)
def test_canonical_form_has_the_same_atoms_and_formula(block: Block) -> None:
    """A rule that is printed and parsed again is judged as before."""
    header = (
        "// id: r\n" if block.text.startswith("when") else f"// id: r\n// kind: {block.setting('kind') or 'pattern'}\n"
    )

    written, _ = compile_texts({"t.rules": header + block.text})
    printed, _ = compile_texts({"t.rules": header + _canonical(block.text)})

    assert written.atoms == printed.atoms
    assert written.rules[0].formula == printed.rules[0].formula
    assert written.rules[0].fingerprint == printed.rules[0].fingerprint
