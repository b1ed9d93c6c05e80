"""Files compiled into a rule set."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from dsl import RulesError, RuleSet, compile_texts, load
from dsl.judge.atoms import SEMANTICS
from dsl.problems import Severity
from dsl.syntax.tokens import MAX_BYTES
from tests.support.growth import LINEAR, growth


def _compiled(**metadata: object) -> RuleSet:
    rule: dict[str, object] = {"id": "r", "kind": "pattern", "condition": "a and not b.where(timestamp.hour > 3)"}
    rules, _ = compile_texts({"t.yaml": json.dumps({"rules": [rule | metadata]})})
    return rules


def test_rules_of_all_files_are_sorted_by_id(tmp_path: Path) -> None:
    """A rule set contains the rules of all files, in the order of their ids."""
    (tmp_path / "1.rules").write_text("// Signal: B (low)\nb\n// Signal: C (low)\nc")
    (tmp_path / "2.yaml").write_text("rules: [{id: A, kind: pattern, condition: a}]")

    rules, reported = load([tmp_path])

    assert ["A", "B", "C"] == [rule.id for rule in rules.rules]
    assert [] == reported


def test_errors_of_all_files_are_raised_at_once(tmp_path: Path) -> None:
    """One error has every problem of every file, warnings included, sorted by location."""
    (tmp_path / "1.rules").write_text("// Signal: A (low)\na or b and c\n\n// Signal: B (low)\nx > 'y'")
    (tmp_path / "2.yaml").write_text("rules: [{id: A, kind: pattern, condition: a}]")

    with pytest.raises(RulesError) as raised:
        load([tmp_path, tmp_path / "gone"])

    assert ["W407", "E204", "E312", "E301"] == [problem.code for problem in raised.value.problems]
    assert f"{tmp_path}/1.rules:5:5: `x` is compared with text" in str(raised.value)


def test_warnings_do_not_keep_rules_from_loading() -> None:
    """Warnings are returned with the rules."""
    rules, reported = compile_texts({"t.rules": "// Signal: A (low)\na or b and c"})

    assert 1 == len(rules.rules)
    assert [Severity.WARNING] == [problem.severity for problem in reported]


def test_texts_of_a_rule_set_compile_to_the_same_set(tmp_path: Path) -> None:
    """A rule set compiled from texts equals the one that was loaded."""
    (tmp_path / "1.rules").write_text("// Signal: B (low)\nb.where(x == 1)")
    (tmp_path / "2.yaml").write_text("rules: [{id: A, kind: pattern, condition: count(a) > 2}]")
    loaded, _ = load([tmp_path])

    travelled, _ = compile_texts(loaded.texts)

    assert loaded == travelled
    assert loaded.fingerprint == travelled.fingerprint


def test_no_files_are_an_empty_rule_set() -> None:
    """A set without rules judges nothing and has a fingerprint."""
    rules, reported = compile_texts({})

    assert ((), [], 32) == (rules.rules, reported, len(rules.fingerprint))


@pytest.mark.parametrize(
    "metadata",
    [
        {"severity": "low"},
        {"owner": "x"},
        {"title": "T"},
        {"mode": "shadow"},
        {"condition": "a  and not(b.where(timestamp.hour > 3)) // same"},
    ],
)
def test_rule_fingerprint_covers_what_is_judged_and_no_more(metadata: dict[str, object]) -> None:
    """Rules with the same verdicts have the same fingerprint; their rule sets differ."""
    one, other = _compiled(), _compiled(**metadata)

    assert one.rules[0].fingerprint == other.rules[0].fingerprint
    assert set(one.atoms) == set(other.atoms)
    assert one.fingerprint != other.fingerprint


def test_rule_fingerprint_covers_the_meaning_of_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """If an upgrade changes what texts mean, each rule and set has another fingerprint: the upgrade is a push."""
    before = _compiled()
    monkeypatch.setattr("dsl.compile.compile.SEMANTICS", SEMANTICS + 1)

    after = _compiled()

    assert before.rules[0].fingerprint != after.rules[0].fingerprint
    assert before.fingerprint != after.fingerprint


@pytest.mark.parametrize(
    "metadata",
    [
        {"condition": "a and not b"},
        {"kind": "invariant"},
        {"timezone": "Europe/Berlin"},
        {"exceptions": [{"where": "x exists"}]},
    ],
)
def test_rule_fingerprint_covers_condition_kind_zone_and_exceptions(metadata: dict[str, object]) -> None:
    """A change that can change a verdict changes the fingerprint."""
    assert _compiled().rules[0].fingerprint != _compiled(**metadata).rules[0].fingerprint


def test_atom_knows_its_time_zone_only_where_it_asks_the_time() -> None:
    """Rules in different time zones share the atoms that do not depend on the zone."""
    utc, berlin = _compiled(), _compiled(timezone="Europe/Berlin")

    assert ["a"] == [utc.atoms[atom].text for atom in utc.atoms.keys() & berlin.atoms.keys()]


def test_atoms_are_shared_by_all_rules_that_ask_the_same() -> None:
    """Two spellings of a subject, in two rules, are one atom."""
    text = '// Signal: A (low)\ntrace.has(a).where(x == "y")\n\n// Signal: B (low)\na.where((x == y)) and b'

    rules, _ = compile_texts({"t.rules": text})

    assert ["a.where(x == y)", "b"] == sorted(atom.text for atom in rules.atoms.values())
    assert {8} == {len(fingerprint) for fingerprint in rules.atoms}


def test_atom_with_exceptions_has_a_companion_without() -> None:
    """The subject without exceptions is an atom too, to recognise when an exception decided."""
    rules = _compiled(exceptions=[{"where": "x exists"}])

    assert ["a", "a", "b.where(timestamp.hour > 3)"] == sorted(atom.text for atom in rules.atoms.values())


@pytest.mark.parametrize(
    ("condition", "counted"),
    [
        ("a", 0),
        ("count(a) > 0", 1),
        ("count(a) >= 3", 4),
        ("count(a) == 2.5", 3),
        ("count(a) > -1", 1),
        ("count(a) > 50000", 10_000),
        ("count(a) > 3 or 7 > count(a)", 8),
        ("count(a) > count(a)", 10_000),
    ],
)
def test_atom_is_counted_as_far_as_comparisons_need(condition: str, counted: int) -> None:
    """A counted atom distinguishes as many spans as the largest comparison needs, at most 10,000."""
    atoms = [atom for atom in _compiled(condition=condition).atoms.values() if atom.text == "a"]

    assert [counted] == [atom.counted for atom in atoms]


def test_rules_that_are_not_enabled_cost_nothing() -> None:
    """A disabled rule is listed, has no atoms, and is never judged."""
    rules = _compiled(enabled=False)

    assert 1 == len(rules.rules)
    assert ({}, frozenset(), False) == (rules.atoms, rules.interest.names, rules.interest.every_span)
    assert [] == rules.candidates(rules.rules[0].atoms)


@pytest.mark.parametrize(("size", "codes"), [(MAX_BYTES, []), (MAX_BYTES + 1, ["E109"])])
def test_rule_over_64_kib_is_refused(size: int, codes: list[str]) -> None:
    """A rule of 64 KiB is accepted, one byte more is not."""
    text = 'x == "' + "é" * ((size - 7) // 2) + "a" * ((size - 7) % 2) + '"'

    try:
        _, reported = compile_texts({"t.rules": "// Signal: A (low)\n" + text})
    except RulesError as error:
        reported = error.problems

    assert codes == [problem.code for problem in reported]


@pytest.mark.parametrize(
    "unit",
    [
        "(",
        "not ",
        "a and ",
        "a.where(",
        "[",
        '"',
        "'a\\",
        "a.",
        "a.where",
        "// ",
        "trace.has",
        "count //",
        "a.1",
        "{",
        "1",
        "\\",
    ],
)
def test_time_to_parse_is_linear_in_the_text(unit: str) -> None:
    """A rule that repeats one word, up to 64 KiB, is parsed or rejected in linear time."""

    def text(size: int) -> str:
        return "// Signal: A (low)\n" + (unit * size)[: size - 2] + "\n="

    assert LINEAR > growth(partial(_refuse, text(MAX_BYTES // 4)), partial(_refuse, text(MAX_BYTES)))


@pytest.mark.parametrize("unit", [" ", "\t", "//", '"', ":", "(", "a:", "Signal:", "// id:", "-", " for "])
def test_time_to_read_headers_is_linear_in_the_text(unit: str) -> None:
    """Comment lines of up to a million characters are read in linear time."""

    def text(count: int) -> str:
        long = unit * count
        lines = [f"// Signal: A {long}x", f"// owner: {long}x", f'// "{long}', long]
        return "\n".join([*lines, "// Signal: A (low)", f"// dedup: x{long}x", "x ="])

    assert LINEAR > growth(partial(_refuse, text(25_000)), partial(_refuse, text(100_000)))


def _refuse(text: str) -> None:
    with pytest.raises(RulesError):
        compile_texts({"t.rules": text})


def test_atoms_of_pairs_keep_their_fingerprints() -> None:
    """Facts and windows name atoms by them, and outlive an upgrade."""
    text = "each pay has own ok before with same order, same user.id without cancel between"
    rules, _ = compile_texts(
        {"t.rules": f"// id: r\nwhen {{ pay }} always {{ {text} }} never {{ some pay has fetch before }}"}
    )

    assert [
        "15b18d006e8a6e50",
        "433c0a64b4f09de6",
        "57930e29493528db",
        "5c1da887c3d553a2",
        "ed69a774bce61725",
    ] == sorted(atom.hex() for atom in rules.atoms)
