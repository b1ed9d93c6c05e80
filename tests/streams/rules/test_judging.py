"""Tests from when rules judge, in all facts partitions together, and the text about it."""

from __future__ import annotations

from dsl import RuleSet, compile_texts
from streams.config.units import iso_ms
from streams.rules.judging import RuleStart, sentences, starts

MOMENT_MS = 1_767_614_400_000


def compiled(*ids: str) -> RuleSet:
    """A rule for each id, a disabled one beside them."""
    texts = [f'// id: {each}\n// "{each}"\nwhen {{a}} always {{{each}}}\n' for each in ids]
    disabled = '// id: off\n// "off"\n// enabled: false\nwhen {a} always {b}\n'
    rules, _ = compile_texts({f"{at}.rules": text for at, text in enumerate([*texts, disabled])})
    return rules


def moments(rules: RuleSet, *partitions: dict[str, int]) -> dict[str, int | None]:
    """Returns the time of each rule, from the partitions' times by rule id."""
    by_id = {rule.id: rule.fingerprint for rule in rules.rules}
    found = starts(rules, [{by_id[each]: at_ms for each, at_ms in partition.items()} for partition in partitions])
    return {each.rule: each.from_ms for each in found}


def test_the_latest_partition_counts() -> None:
    """A rule judges everywhere from the latest of its times on."""
    assert {"x": 500, "y": 0} == moments(compiled("x", "y"), {"x": 100, "y": 0}, {"x": 500, "y": 0})


def test_rule_that_one_partition_lacks() -> None:
    """A rule judges nothing until every facts partition has it: a trace may be in any of them."""
    assert {"x": 0, "y": None} == moments(compiled("x", "y"), {"x": 0, "y": 100}, {"x": 0})


def test_no_partition_at_all() -> None:
    """If nothing was ever judged, no rule judges."""
    assert {"x": None} == moments(compiled("x"))


def test_sentences_of_a_push() -> None:
    """Rules that wait come first, then those that judge from a time on, then those that judge everything."""
    found = [
        RuleStart("a", "f0", 0),
        RuleStart("b", "f1", MOMENT_MS),
        RuleStart("c", "f2", MOMENT_MS),
        RuleStart("d", "f3", None),
        RuleStart("e", "f4", None),
    ]

    assert [
        "2 rules (d, e) judge nothing yet: they wait for every source partition",
        "2 rules (b, c) judge traces that begin from 2026-01-05T12:00:00.000Z on",
        "1 rule (a) judges every trace",
    ] == sentences(found)


def test_sentences_are_limited() -> None:
    """Of many rules five are named, and of many times the last five have a line each."""
    many = [RuleStart(f"r{number}", "f", MOMENT_MS) for number in range(7)]
    pushes = [RuleStart(f"r{number}", "f", MOMENT_MS + number) for number in range(9)]

    [line], lines = sentences(many), sentences(pushes)

    assert line.startswith("7 rules (r0, r1, r2, r3, r4 and 2 more) judge traces")
    assert 6 == len(lines)
    earlier = f"4 rules (r3, r2, r1, r0) judge traces that begin from {iso_ms(MOMENT_MS + 3)} on, or earlier"
    assert earlier == lines[-1]


def test_no_rules() -> None:
    """Without rules there are no sentences."""
    assert [] == sentences([])
