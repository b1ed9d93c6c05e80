"""Tests `betrace check`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streams.cli import main

GOOD = '// "Access is audited"\npii.access and audit.log\n'
BAD = '// id: bad\n// kind: pattern\ntrace.has(payment).where(amount > "1000")\n'
SUSPECT = "// id: suspect\n// kind: pattern\naudit.log and not audit.log\n"


def call(*arguments: str | Path) -> Result:
    """Runs `betrace check` with `arguments`."""
    return CliRunner().invoke(main, ["check", *map(str, arguments)])


def test_rules_without_problems_are_exit_0(tmp_path: Path) -> None:
    """For valid rules stdout is empty and stderr reports success."""
    path = tmp_path / "a.rules"
    path.write_text(GOOD)

    result = call(path)

    assert (0, "", "1 rule, 0 tests: 0 errors, 0 warnings\n") == (result.exit_code, result.stdout, result.stderr)


def test_every_problem_is_shown_with_its_location(tmp_path: Path) -> None:
    """All files of a directory are read; each problem has its code, its line and a caret."""
    (tmp_path / "a.rules").write_text(BAD)
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "b.rules").write_text(GOOD + "\n" + BAD.replace("bad", "worse"))

    result = call(tmp_path)

    places = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("E")]
    assert (2, "3 rules, 0 tests: 2 errors, 0 warnings\n") == (result.exit_code, result.stderr)
    assert [f"{tmp_path}/a.rules:3:35", f"{tmp_path}/deeper/b.rules:6:35"] == places
    assert 2 == result.stdout.count("^^^^^^")


def test_warnings_are_exit_0(tmp_path: Path) -> None:
    """A warning is printed and does not fail the check."""
    path = tmp_path / "a.rules"
    path.write_text(SUSPECT)

    result = call(path)

    assert 0 == result.exit_code
    assert result.stdout.startswith("W")
    assert "1 rule, 0 tests: 0 errors, 2 warnings\n" == result.stderr


def test_json_has_the_same_problems(tmp_path: Path) -> None:
    """JSON output is one document with code, severity, position, message and help."""
    path = tmp_path / "a.rules"
    path.write_text(BAD)
    [shown] = [line for line in call(path).stdout.splitlines() if line.startswith("E")]

    result = call(path, "--format", "json")

    [problem] = json.loads(result.stdout)
    assert 2 == result.exit_code
    assert shown.startswith(f"{problem['code']} {path}:{problem['line']}:{problem['column']}")


def test_json_without_problems_is_an_empty_list(tmp_path: Path) -> None:
    """JSON output without problems is an empty list."""
    path = tmp_path / "a.rules"
    path.write_text(GOOD)

    assert [] == json.loads(call(path, "--format", "json").stdout)


def test_failing_test_of_a_rule_is_an_error(tmp_path: Path) -> None:
    """The tests in a YAML file run; an unexpected result is an error of the check."""
    path = tmp_path / "a.yaml"
    path.write_text(
        "rules:\n"
        "  - id: audited\n"
        "    kind: invariant\n"
        "    condition: pii.access and audit.log\n"
        "    tests:\n"
        "      - {name: holds, spans: [{name: pii.access}, {name: audit.log}], expect: held}\n"
        "      - {name: fails, spans: [{name: pii.access}], expect: held}\n"
    )

    result = call(path)

    assert (2, "1 rule, 2 tests: 1 error, 0 warnings\n") == (result.exit_code, result.stderr)
    assert "fails" in result.stdout


def test_warning_that_repeats_is_shown_once(tmp_path: Path) -> None:
    """A warning with the same advice for many rules is shown for the first, with the places of the next ten."""
    rules = (f"  - {{id: r{number}, kind: pattern, condition: pay{number}}}\n" for number in range(14))
    path = tmp_path / "a.yaml"
    path.write_text("rules:\n" + "".join(rules))

    result = call(path)

    places = ", ".join(f"{path}:{line}:5" for line in range(3, 13))
    assert (0, "14 rules, 0 tests: 0 errors, 14 warnings\n") == (result.exit_code, result.stderr)
    assert 1 == result.stdout.count("W406")
    assert f"\n  also: {places}, and 3 more\n" in result.stdout


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x00" * 1000, b"(" * 50_000, b"rules: &a [*a]\n", b""])
@pytest.mark.parametrize("suffix", ["rules", "yaml"])
def test_hostile_file_does_not_crash_the_check(content: bytes, suffix: str, tmp_path: Path) -> None:
    """Whatever a file contains, the command uses only its own exit codes."""
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)

    result = call(path)

    assert result.exit_code in (0, 2)
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_missing_file_is_a_problem(tmp_path: Path) -> None:
    """A path that does not exist is named."""
    result = call(tmp_path / "nowhere.rules")

    assert 2 == result.exit_code
    assert "nowhere.rules" in result.stdout


def test_nothing_to_check_is_a_usage_error() -> None:
    """Without a path the command fails."""
    assert 2 == call().exit_code


def test_printed_rules_load_to_the_same_rules(tmp_path: Path) -> None:
    """Printed rules load to the same rules, so printing them again changes nothing."""
    (tmp_path / "a.rules").write_text(GOOD)
    printed = tmp_path / "printed.yaml"
    printed.write_text(call(tmp_path / "a.rules", "--print").stdout)

    result = call(printed, "--print")

    assert (0, "") == (result.exit_code, result.stderr)
    assert result.stdout == printed.read_text()
    assert "  condition: pii.access and audit.log\n" in result.stdout


def test_explain_says_what_a_rule_does(tmp_path: Path) -> None:
    """One rule is explained in plain English, with the identity attributes that leave beside those it names."""
    path = tmp_path / "a.rules"
    path.write_text(GOOD + "\n" + BAD.replace('"1000"', "1000"))

    result = call(path, "--explain", "access-is-audited")

    assert (0, "") == (result.exit_code, result.stderr)
    assert "\nBroken when it applies and\n  there is no span `audit.log`\n" in result.stdout
    assert "gen_ai.agent.name" in result.stdout
    assert "payment" not in result.stdout


@pytest.mark.parametrize(
    ("asked", "advice"),
    [("acces-is-audited", "did you mean `access-is-audited`?"), ("x", "known ids are access-is-audited")],
)
def test_unknown_rule_cannot_be_explained(asked: str, advice: str, tmp_path: Path) -> None:
    """An unknown rule is a usage error that suggests the intended one."""
    path = tmp_path / "a.rules"
    path.write_text(GOOD)

    result = call(path, "--explain", asked)

    assert (2, "") == (result.exit_code, result.stdout)
    assert f"Error: no rule has the id `{asked}`; {advice}\n" == result.stderr


@pytest.mark.parametrize("asked", [["--print"], ["--explain", "bad"]])
def test_invalid_rules_are_neither_printed_nor_explained(asked: list[str], tmp_path: Path) -> None:
    """With problems, rules are not printed to stdout; the problems are on stderr."""
    path = tmp_path / "a.rules"
    path.write_text(BAD)

    result = call(path, *asked)

    assert (2, "") == (result.exit_code, result.stdout)
    assert "E204" in result.stderr


def test_print_and_explain_exclude_each_other(tmp_path: Path) -> None:
    """`--print` and `--explain` together are a usage error."""
    path = tmp_path / "a.rules"
    path.write_text(GOOD)

    result = call(path, "--print", "--explain", "access-is-audited")

    assert (2, "") == (result.exit_code, result.stdout)
    assert "--print and --explain" in result.stderr
