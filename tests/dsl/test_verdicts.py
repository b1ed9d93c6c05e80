"""Verdicts of rules on traces: every line of tests/fixtures/dsl/verdicts is a test."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from dsl.compile.compile import compile_texts
from dsl.compile.review import judge_trace
from tests.support.fixtures import ROOT, Block, outcome, verdict_blocks


def _lines() -> Iterator[object]:
    for path in sorted((ROOT / "verdicts").glob("*.txt")):
        for block in verdict_blocks(path):
            for line in block.outcomes:
                yield pytest.param(block, line, id=f"{path.stem}: {block.title}: {line[:60]}")


@pytest.mark.parametrize(("block", "line"), list(_lines()))
def test_trace_gets_the_verdict_of_the_fixture(block: Block, line: str) -> None:
    """A rule gives a trace the verdict that its line names."""
    is_whole, expected, spans = outcome(line)
    rules, _ = compile_texts({"r.yaml": _yaml(block)})

    judgements = judge_trace(rules, spans, whole=is_whole)

    actual = judgements[0].verdict.value if judgements else "not_applicable"
    if judgements and judgements[0].excepted:
        actual = "excepted"
    if expected in {"yes", "no"}:
        assert (expected == "yes") == (actual == "broken")
    else:
        assert expected == actual


def _yaml(block: Block) -> str:
    rule: dict[str, object] = {"id": "r", "condition": block.text}
    kind = block.setting("kind")
    if kind is not None or not block.text.startswith("when"):
        rule["kind"] = kind or "pattern"
    if (zone := block.setting("timezone")) is not None:
        rule["timezone"] = zone
    exceptions = [{"where": value} for key, value in block.settings if key == "except"]
    if (day := block.setting("until")) is not None:
        exceptions = [{**exception, "expires": day} for exception in exceptions]
    return json.dumps({"rules": [{**rule, "exceptions": exceptions}]})
