"""Lists, subjects and exceptions that a set defines for all its rules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dsl import RuleSet, compile_texts, load
from dsl.compile.compile import load_compiled
from dsl.compile.write import rules_text
from dsl.problems import has_errors
from dsl.syntax.tokens import MAX_NESTING

_DEFINED = """
lists:
  tools: [send_email, "run shell", 7, 0.5, true, 'say "é" \\ 😀']
  networks: [10.0.0.0/8]
  banned: {file: lists/banned.txt}
subjects:
  read: db.query.where(table in @banned)
  big_read: "@read.where(rows > 10 or all).where(x)"
  large: payment.amount > 100
  each: own
"""
_BANNED = "# names\n\n  users \n007\nexport // all\n"
_TOOLS = r'[send_email, "run shell", 7, 0.5, true, "say \"é\" \\ 😀"]'
_READ = 'db.query.where(table in [users, "007", "export // all"])'


def _set(condition: str, **texts: str) -> RuleSet:
    rule = json.dumps({"rules": [{"id": "r", "kind": "pattern", "condition": condition}]})
    rules, reported = compile_texts({"r.yaml": rule, "names.yaml": _DEFINED, "lists/banned.txt": _BANNED} | texts)
    assert [] == [problem for problem in reported if problem.code != "W406"]
    return rules


def _rules(exceptions: dict[str, list[dict[str, str]]]) -> list[dict[str, object]]:
    """Return rules with these ids and exceptions."""
    return [{"id": each, "kind": "pattern", "condition": "a", "exceptions": own} for each, own in exceptions.items()]


@pytest.mark.parametrize(
    ("named", "written_out"),
    [
        ("a.where(tool in @tools)", f"a.where(tool in {_TOOLS})"),
        ("a.where(tool not in @tools and b)", f"a.where(tool not in {_TOOLS} and b)"),
        ("a.where(ip in_cidr @networks)", 'a.where(ip in_cidr ["10.0.0.0/8"])'),
        ("a.where(x contains @banned)", 'a.where(x contains [users, "007", "export // all"])'),
        ("a.where(x matches @banned)", 'a.where(x matches [users, "007", "export // all"])'),
        ("tool in @tools", f"tool in {_TOOLS}"),
        ("@read", _READ),
        ("@read.where(y)", f"{_READ}.where(y)"),
        ("count(@big_read) > 2", f"count({_READ}.where(rows > 10 or all).where(x)) > 2"),
        ("@read before a and not @large", f"{_READ} before a and not payment.amount > 100"),
        ("some @large has own @read after", f"some (payment.amount > 100) has own {_READ} after"),
        (
            "some a that has @large before has b after without any @large between",
            "some a that has (payment.amount > 100) before has b after without any (payment.amount > 100) between",
        ),
        ("@each and some @each has own @each before", "own and some trace.has(own) has own trace.has(own) before"),
    ],
)
def test_a_name_means_what_it_stands_for(named: str, written_out: str) -> None:
    """A rule equals the one in which its names are written out, down to its atoms."""
    [rule] = _set(named).rules
    [other] = _set(written_out).rules

    assert rule.text == named
    assert (rule.fingerprint, rule.formula, rule.atoms) == (other.fingerprint, other.formula, other.atoms)


def test_names_are_known_in_every_file_of_the_set() -> None:
    """A `.rules` file uses the names of a YAML file."""
    rules = _set("a", **{"b.rules": "// id: b\nwhen { @read } always { tool.where(type in @tools) }"})

    assert ("@read = " + _READ, "@tools = " + _TOOLS) == rules.rules[0].definitions


def test_the_fingerprint_covers_list_files() -> None:
    """Another line in a list file changes the fingerprint of the set; another comment does not."""
    first = _set("@read")

    assert first.fingerprint == _set("@read", **{"lists/banned.txt": "# more\n" + _BANNED}).fingerprint
    assert first.fingerprint != _set("@read", **{"lists/banned.txt": _BANNED + "passwords"}).fingerprint


def test_triage_is_part_of_the_fingerprint_of_a_set() -> None:
    """Another key for triage is another set, so that a push makes it active, but no other rule."""
    rule = "when { a } always { b }"
    plain, _ = compile_texts({"r.rules": f"// id: r\n{rule}"})
    scored, _ = compile_texts({"r.rules": f"// id: r\n// risk_score: 0\n{rule}"})

    assert scored.fingerprint != plain.fingerprint
    assert scored.rules[0].fingerprint == plain.rules[0].fingerprint


def test_dedup_is_part_of_the_fingerprint_of_a_set() -> None:
    """Another dedup is another set but no other rule, judged by the same atoms: open windows keep their facts."""
    rule = "when { a } always { b }"
    plain, hourly, daily = (
        compile_texts({"r.rules": f"// id: r\n{dedup}{rule}"})[0]
        for dedup in ("", "// dedup: user.id for 1h\n", "// dedup: user.id for 1d\n")
    )

    assert len({plain.fingerprint, hourly.fingerprint, daily.fingerprint}) == 3
    assert plain.rules[0].fingerprint == hourly.rules[0].fingerprint == daily.rules[0].fingerprint
    assert plain.rules[0].atoms == hourly.rules[0].atoms
    assert len(hourly.atoms) == 2 * len(plain.atoms)


def test_list_files_travel_with_the_set(tmp_path: Path) -> None:
    """The texts of a set have the list files that it names, so that it compiles elsewhere to the same set."""
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "banned.txt").write_text(_BANNED, encoding="utf-8")
    (tmp_path / "lists" / "other.txt").write_text("x", encoding="utf-8")
    (tmp_path / "names.yaml").write_text(_DEFINED, encoding="utf-8")
    (tmp_path / "r.rules").write_text("// id: r\n// kind: pattern\n@big_read", encoding="utf-8")

    rules, _ = load([tmp_path])
    again, _ = compile_texts(rules.texts)

    assert {"names.yaml", "r.rules", "banned.txt"} == {Path(path).name for path in rules.texts}
    assert (rules.fingerprint, rules.atoms) == (again.fingerprint, again.atoms)


def test_list_file_that_is_not_utf8_is_a_problem(tmp_path: Path) -> None:
    """A list file must be UTF-8."""
    (tmp_path / "l.txt").write_bytes(b"a\n\xfc\n")
    (tmp_path / "r.yaml").write_text("lists: {l: {file: ./l.txt}}", encoding="utf-8")

    with pytest.raises(Exception, match=r"E302 at .*/l\.txt:2:1"):
        load([tmp_path])


def test_an_exception_for_several_rules_is_one_of_each(tmp_path: Path) -> None:
    """An exception of the set equals the same exception in each rule that it names, after those of the rule."""
    ids = ("pii-a", "pii-b", "pci-c", "d")
    local = {"where": "x", "owner": "me", "expires": "2030-01-01"}
    common = {"where": "service.name in @tools", "reason": "move"}
    written = {"where": 'service.name in ["a b"]', "reason": "move"}
    own = {each: [local] if each == "pii-b" else [] for each in ids}
    every = {each: [*own[each], *([] if each == "pci-c" else [written])] for each in ids}
    top = {"lists": {"tools": ["a b"]}, "exceptions": [{"rules": ["pii-*", "d"], **common}], "rules": _rules(own)}
    (tmp_path / "r.yaml").write_text(json.dumps(top), encoding="utf-8")
    plain, _ = compile_texts({"r.yaml": json.dumps({"rules": _rules(every)})})

    compiled = load_compiled([tmp_path])

    assert [each.rule.fingerprint for each in compiled] == [rule.fingerprint for rule in plain.rules]
    again, _ = compile_texts({"r.yaml": rules_text(compiled)})
    assert [rule.exceptions for rule in plain.rules] == [rule.exceptions for rule in again.rules]


@pytest.mark.parametrize("count", [MAX_NESTING, 300])
def test_a_chain_of_subjects_ends(count: int) -> None:
    """Subjects that are defined by each other load up to a limit, and beyond it have a problem."""
    chain = {f"s{index}": f"@s{index + 1}.where(x)" for index in range(count)} | {f"s{count}": "a"}
    texts = {"r.yaml": json.dumps({"subjects": chain})}

    if count > MAX_NESTING:
        with pytest.raises(Exception, match="E108"):
            compile_texts(texts)
    else:
        assert not has_errors(compile_texts(texts)[1])
