"""The rules that come with BeTrace."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from dsl import Verdict, compile_texts, library
from dsl.compile.compile import CompiledRule, compile_files
from dsl.compile.review import review
from dsl.judge.atoms import compile_atom
from dsl.judge.builtin import BUILTINS, lookup_keys
from dsl.judge.predicate import attribute_names, split_subject
from dsl.judge.ruleset import Rule
from dsl.show import render_text
from dsl.syntax.source import read_files

_LIBRARY = Path(library.__file__).parent
_README = (_LIBRARY / "README.md").read_text(encoding="utf-8")
_CONVENTIONS = frozenset((_LIBRARY.parent / "check" / "semconv.txt").read_text(encoding="utf-8").split())
_TODAY = date(2026, 11, 21)
_FRAMEWORKS = ("ai-agents", "gdpr", "hipaa", "iso27001", "owasp-agentic", "pci-dss", "reliability", "soc2")
_COMPILED = compile_files(read_files([_LIBRARY])[0])[0]


def _each_rule() -> list[object]:
    return [pytest.param(each, id=each.rule.id) for each in _COMPILED]


def test_check_reports_nothing() -> None:
    """Every rule loads and passes its tests, without an error or a warning."""
    reported = review([_LIBRARY], _TODAY)

    assert "" == render_text(reported)


def test_every_framework_has_rules() -> None:
    """There are at least forty rules, and some for each framework."""
    listed = library.rules()

    assert _FRAMEWORKS == library.frameworks()
    assert set(_FRAMEWORKS) == {each.framework for each in listed}
    assert len(listed) >= 40


@pytest.mark.parametrize("compiled", _each_rule())
def test_a_rule_has_a_test_for_each_verdict(compiled: CompiledRule) -> None:
    """Each rule shows a trace for every verdict."""
    expected = {test.expect for test in compiled.draft.tests}

    assert set(Verdict) == expected


@pytest.mark.parametrize("compiled", _each_rule())
def test_a_rule_is_tried_on_a_longer_trace(compiled: CompiledRule) -> None:
    """A rule that compares only the first or last spans looks right on two spans."""
    assert max(len(test.spans) for test in compiled.draft.tests) >= 3


@pytest.mark.parametrize("compiled", _each_rule())
def test_metadata_of_a_rule_is_complete(compiled: CompiledRule) -> None:
    """Each rule has title, severity, controls, description, references and tags."""
    missing = {"id", "title", "severity", "controls", "description", "references", "tags"} - set(compiled.draft.fields)

    assert set() == missing


@pytest.mark.parametrize("compiled", _each_rule())
def test_a_control_is_an_id_of_a_standard(compiled: CompiledRule) -> None:
    """Controls are `STANDARD/ID` and nothing more: the texts of controls are under copyright."""
    controls = compiled.rule.controls

    assert [] == [control for control in controls if not re.fullmatch(r"[A-Z0-9-]+/[A-Za-z0-9.()-]+", control)]


def test_an_id_begins_with_its_framework() -> None:
    """The rule's id in a signal tells which file it came from."""
    prefixes = {"ai-agents": "ai"}

    strangers = [
        each.rule.id
        for each in library.rules()
        if not each.rule.id.startswith(prefixes.get(each.framework, each.framework) + "-")
    ]

    assert [] == strangers


def test_names_that_are_no_convention_are_documented() -> None:
    """Every name and attribute that a rule uses is OpenTelemetry's, a built-in, or in the library's README."""
    documented = set(re.findall(r"`([a-z0-9_.-]+)`", _README))

    own = {name for compiled in _COMPILED for name in _names_of_ours(compiled)}

    assert set() == own - documented


def test_documented_names_are_used() -> None:
    """Some rule uses each name in the README's table."""
    rows = set(re.findall(r"^\| `([a-z_.]+)` \|.*\|.*\|.*\|$", _README, re.MULTILINE))

    own = {name for compiled in _COMPILED for name in _names_of_ours(compiled)}

    assert set() == rows - own
    assert len(rows) >= 40


def test_frameworks_are_documented() -> None:
    """The README lists every file, and no other."""
    assert sorted(f"{framework}.yaml" for framework in _FRAMEWORKS) == sorted(
        re.findall(r"`([a-z0-9-]+\.yaml)`", _README)
    )


def _names_of_ours(compiled: CompiledRule) -> Iterator[str]:
    """The names in a rule that are neither in the conventions nor built in."""
    for spec in compiled.atom_specs:
        name, where = split_subject(spec.subject)
        used = (*attribute_names(where), *(key.name for key in spec.keys))
        keys = {attribute: lookup_keys(attribute, name) for attribute in used}
        ours = {attribute for attribute, reported in keys.items() if not _is_known(*reported)}
        yield from ours
        # `http.response.status_code > 1` has the subject `http.response`, which is no name of its own.
        carried = (f"{name}.{attribute}" for attribute in keys)
        if name is not None and not _is_known(name, *carried):
            yield name


def _is_known(*names: str) -> bool:
    return any(name in _CONVENTIONS or name in BUILTINS or name == "gen_ai.evaluation.result" for name in names)


def test_rules_are_chosen_by_framework_and_by_id() -> None:
    """Names select rules; a rule that is selected twice is returned once."""
    chosen = library.rules(["gdpr", "gdpr-art-17-erasure-reaches-every-store", "soc2-cc6-1-access-is-authorized"])

    assert 8 == sum(each.framework == "gdpr" for each in chosen)
    assert ["soc2-cc6-1-access-is-authorized"] == [each.rule.id for each in chosen if each.framework != "gdpr"]


def _without_names(rule: Rule) -> Rule:
    """A rule without its text, which is the only place where the names of lists and subjects are left."""
    return replace(rule, text="", definitions=())


@pytest.mark.parametrize("each", [pytest.param(each, id=each.rule.id) for each in library.rules()])
def test_a_rule_can_be_copied_alone(each: library.LibraryRule) -> None:
    """The file of a single rule holds the same rule, with its tests and names written out, and nothing else."""
    [(name, text)] = library.files([each.rule.id]).items()

    rules, reported = compile_texts({name: text})

    assert f"{each.rule.id}.yaml" == name
    assert [] == reported
    assert [_without_names(each.rule)] == list(map(_without_names, rules.rules))
    assert text.count("- name: ") >= 4


def test_rules_that_share_names_can_be_copied_one_by_one() -> None:
    """A rule that is copied alone has the names of its framework written out, so that no two files define one name."""
    owasp = library.rules(["owasp-agentic"])

    rules, reported = compile_texts(library.files([each.rule.id for each in owasp]))

    assert [] == reported
    assert {each.rule.id: each.rule.fingerprint for each in owasp} == {
        each.id: each.fingerprint for each in rules.rules
    }


@pytest.mark.parametrize("number", range(1, 11))
def test_every_agentic_risk_has_two_rules(number: int) -> None:
    """The OWASP Top 10 for Agentic Applications is covered whole, each risk by two rules of its own or more."""
    prefix = f"owasp-agentic-asi{number:02}-"

    ours = [each.rule for each in library.rules(["owasp-agentic"]) if each.rule.id.startswith(prefix)]

    assert len(ours) >= 2
    assert all(f"OWASP-AGENTIC/ASI{number:02}" in rule.controls for rule in ours)


def test_no_rule_reads_every_span() -> None:
    """Each rule names attributes or spans, so that spans without them are neither decoded nor kept."""
    atoms = [compile_atom(spec, counted=0) for compiled in _COMPILED for spec in compiled.atom_specs]

    assert [] == [atom.text for atom in atoms if atom.names is None]


def test_files_of_all_are_the_files() -> None:
    """Without names the files are those of the library, byte for byte."""
    files = library.files()

    assert {path.name: path.read_text(encoding="utf-8") for path in _LIBRARY.glob("*.yaml")} == files


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    """A misspelt name is rejected with a suggestion."""
    with pytest.raises(library.UnknownNameError, match="did you mean `pci-dss`"):
        library.files(["pci-ds"])


def test_an_unknown_name_far_from_all_is_refused_with_the_frameworks() -> None:
    """A name that resembles no other is rejected with a list of the frameworks."""
    with pytest.raises(library.UnknownNameError, match="frameworks are: ai-agents, gdpr, hipaa"):
        library.rules(["!"])
