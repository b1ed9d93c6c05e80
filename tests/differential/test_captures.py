"""The engine against the applications: each says which traces of the captures break which rule."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from dsl import Interest, Verdict, load
from streams.decode.decoder import TraceSpans, decode
from streams.inspect.offline import judge_spans
from streams.projection.project import Projector
from tests.support import paths
from topics.embedded import capture

CAPTURES = paths.CAPTURES


def traces(name: str, interest: Interest) -> Iterator[dict[bytes, TraceSpans]]:
    """What every record of a pair of captures holds."""
    for kind in ("spans", "logs"):
        for frame in capture.read(CAPTURES / f"{name}_{kind}.bin.gz"):
            yield decode(frame.value, interest).traces


@pytest.mark.parametrize("name", ["keyed", "unkeyed"])
@pytest.mark.parametrize(
    ("rule_file", "truth"), [("demo.rules", "expected.json"), ("later.rules", "expected_later.json")]
)
def test_captures_are_judged_as_the_applications_say(name: str, rule_file: str, truth: str) -> None:
    """Exactly the traces that the applications broke on purpose are judged broken, and some hold."""
    rules, _ = load([CAPTURES / rule_file])
    expected = {rule: each["broken"] for rule, each in json.loads((CAPTURES / truth).read_text()).items()}

    judged = list(judge_spans(traces(name, Projector(rules).interest), rules))

    broken: dict[str, list[str]] = {rule: [] for rule in expected}
    for close, judgement in judged:
        if judgement.verdict is Verdict.BROKEN:
            broken[judgement.rule.id].append(close.trace_id.hex())
    assert expected == broken
    assert set(expected) == {each.rule.id for _, each in judged if each.verdict is Verdict.HELD}
