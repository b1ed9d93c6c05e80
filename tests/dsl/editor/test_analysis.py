"""The rule set of an open file: which files it has, its problems, and what is at the cursor."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from dsl.compile.review import review
from dsl.editor.analysis import MAX_BYTES, TooLargeError, analyse, set_of
from dsl.editor.lookup import definition_at, rule_at
from tests.support.growth import LINEAR, growth

TODAY = date(2026, 11, 30)
NAMES = "subjects:\n  login: user.login.where(ok == true)\nrules:\n"
RULE = "- id: first\n  condition: when { @login } always { audit }\n  # a comment\n\n- id: second\n  condition: a and\n"


def test_problems_are_those_of_check(tmp_path: Path) -> None:
    """What is on disk is reviewed as `check` does."""
    file = tmp_path / "a.yaml"
    file.write_text(NAMES + RULE)

    assert review([tmp_path], TODAY) == analyse([tmp_path], {}, TODAY).problems_of(file)


def test_open_text_takes_the_place_of_the_file(tmp_path: Path) -> None:
    """A file that is open is read from the editor, also one that was never saved, and one through a link."""
    (tmp_path / "rules").mkdir()
    file, unsaved, link = tmp_path / "rules" / "a.rules", tmp_path / "rules" / "b.rules", tmp_path / "link"
    file.write_bytes(b"\xff")
    link.symlink_to(tmp_path / "rules")
    opened = {file: "// id: a\nwhen { b } never { c }", unsaved: "// id: b\n("}

    found = analyse([link], opened, TODAY)

    assert [] == found.problems_of(file)
    assert ["E102"] == [problem.code for problem in found.problems_of(unsaved)]
    assert ("a", "b", "c", "span") == (
        *sorted({rule.rule.id for rule in found.review.compiled}),
        *found.vocabulary.subjects,
    )


def test_directory_has_no_yaml_of_others(tmp_path: Path) -> None:
    """Without paths, the set is what lies beside the file, and YAML that starts with another key is left out."""
    (tmp_path / "role.yaml").write_text("apiVersion: v1\nrules: []\n")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "b.rules").write_text("(")
    file = tmp_path / "a.rules"
    file.write_text("// id: a\nwhen { b } never { c }")

    found = analyse(set_of(file, [tmp_path / "below"]), {}, TODAY, is_directory=True)

    assert {file} == found.files.keys()
    assert [] == found.review.problems


def test_large_sets_are_refused(tmp_path: Path) -> None:
    """Files and open texts count, before any is read."""
    file = tmp_path / "a.rules"
    file.write_text(" " * MAX_BYTES)
    assert file in analyse([tmp_path], {}, TODAY).files

    with pytest.raises(TooLargeError):
        analyse([tmp_path], {tmp_path / "b.rules": "x"}, TODAY)


def test_time_to_leave_out_yaml_of_others_grows_with_the_text(tmp_path: Path) -> None:
    """A text of many lines without a key is not a rule file, which one look tells."""
    file = tmp_path / "a.yaml"

    def look(lines: int) -> None:
        analyse([tmp_path], {file: "a\n" * lines}, TODAY, is_directory=True)

    assert LINEAR > growth(lambda: look(10_000), lambda: look(40_000))


def test_rule_at_a_line(tmp_path: Path) -> None:
    """Each line of a rule is the rule's, and no other line; a rule with an error is none."""
    file = tmp_path / "a.yaml"
    file.write_text(NAMES + RULE)
    found = analyse([tmp_path], {}, TODAY)

    rules = [rule_at(found, file, line) for line in range(9)]

    assert [None, None, None, "first", "first", "first", "first", None, None] == [
        None if rule is None else rule.rule.id for rule in rules
    ]


def test_definition_of_a_name(tmp_path: Path) -> None:
    """The cursor may be on any character of the name, or behind it."""
    file = tmp_path / "a.yaml"
    file.write_text(NAMES + RULE)
    found = analyse([tmp_path], {}, TODAY)
    start = RULE.splitlines()[1].index("@login")

    spots = [definition_at(found, file, 4, column) for column in (start - 1, start, start + 6, start + 7)]

    assert [None, (2, 3), (2, 3), None] == [spot and (spot.location.line, spot.location.column) for spot in spots]
