"""How rule files are found and read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dsl.syntax.source import from_texts, read_files, source_file


def test_directory_is_read_recursively_in_order_of_names(tmp_path: Path) -> None:
    """All three kinds of rule files are found below a directory, others are not."""
    for name in ("b.rules", "a/x.yaml", "a/y.yml", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("// x")

    files, reported = read_files([tmp_path])

    assert ["a/x.yaml", "a/y.yml", "b.rules"] == [str(Path(file.path).relative_to(tmp_path)) for file in files]
    assert [] == reported


def test_hidden_names_are_skipped(tmp_path: Path) -> None:
    """The files of a mounted ConfigMap are read once, although they exist twice."""
    (tmp_path / "..2026_01_05").mkdir()
    (tmp_path / "..2026_01_05" / "a.rules").write_text("// x")
    (tmp_path / "..data").symlink_to("..2026_01_05")
    (tmp_path / "a.rules").symlink_to("..data/a.rules")

    files, _ = read_files([tmp_path])

    assert [str(tmp_path / "a.rules")] == [file.path for file in files]


def test_file_named_twice_is_read_once(tmp_path: Path) -> None:
    """A file that is given both by itself and through its directory is read once."""
    (tmp_path / "a.rules").write_text("// x")

    files, _ = read_files([tmp_path / "a.rules", tmp_path])

    assert 1 == len(files)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("missing.rules", None, "E301 1:1 cannot be read: it does not exist"),
        ("nul\0.rules", None, "E301 1:1"),
        ("latin.rules", b"// a\n// \xc3\xa9 \xe9\n", "E302 2:6 the file is not valid UTF-8 from here on"),
        ("rules.txt", b"a", "E303 1:1 not a rule file"),
        ("", None, "E304 1:1 no rule file in this directory"),
    ],
)
def test_path_that_cannot_be_read_is_a_problem(tmp_path: Path, name: str, content: bytes | None, expected: str) -> None:
    """A path without rules is always reported."""
    if content is not None:
        (tmp_path / name).write_bytes(content)

    files, reported = read_files([tmp_path / name])

    assert [] == files
    location = f"{reported[0].location.line}:{reported[0].location.column}"
    assert f"{reported[0].code} {location} {reported[0].message}".startswith(expected)


def test_link_to_nothing_is_a_problem(tmp_path: Path) -> None:
    """A dangling link is reported, whether it is given or found in a directory."""
    (tmp_path / "gone.rules").symlink_to(tmp_path / "nowhere")

    for path in (tmp_path / "gone.rules", tmp_path):
        files, reported = read_files([path])

        assert [] == files
        assert ["E301"] == [problem.code for problem in reported]


def test_directory_with_the_name_of_a_rule_file_is_a_directory(tmp_path: Path) -> None:
    """Its files are read."""
    (tmp_path / "d.rules").mkdir()
    (tmp_path / "d.rules" / "a.rules").write_text("// x")

    files, reported = read_files([tmp_path])

    assert [str(tmp_path / "d.rules" / "a.rules")] == [file.path for file in files]
    assert [] == reported


def test_linked_directories_are_read_once(tmp_path: Path) -> None:
    """A mounted ConfigMap links to directories; a link to a parent directory is not followed again."""
    (tmp_path / "..data" / "sub").mkdir(parents=True)
    (tmp_path / "..data" / "sub" / "a.rules").write_text("// x")
    (tmp_path / "sub").symlink_to("..data/sub")
    (tmp_path / "again").symlink_to("sub")
    (tmp_path / "..data" / "sub" / "up").symlink_to(tmp_path)

    files, reported = read_files([tmp_path])

    assert 1 == len(files)
    assert [] == reported


def test_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """A pipe with the name of a rule file is rejected, because reading it could block."""
    os.mkfifo(tmp_path / "a.rules")

    files, reported = read_files([tmp_path])

    assert [] == files
    assert ["cannot be read: it is not a regular file"] == [problem.message for problem in reported]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_directory_that_may_not_be_read_is_a_problem(tmp_path: Path) -> None:
    """An unreadable directory is not mistaken for an empty one."""
    (tmp_path / "a.rules").write_text("// x")
    (tmp_path / "closed").mkdir(mode=0)

    _, reported = read_files([tmp_path])

    assert ["E301"] == [problem.code for problem in reported]


def test_line_breaks_and_byte_order_mark_are_made_plain() -> None:
    """Files from Windows and old Macs have the same lines as in an editor."""
    file = source_file("a.rules", "\ufeffone\r\ntwo\rthree\n")

    assert ("one", "two", "three", "") == file.lines


def test_lone_surrogates_in_a_text_become_the_replacement_character() -> None:
    """A text that no file can hold still has a fingerprint and can be published."""
    assert "a\ufffd" == source_file("a.rules", "a\ud800").text


def test_texts_of_unknown_names_are_a_problem() -> None:
    """A text whose name is not that of a rule file is rejected."""
    files, reported = from_texts({"b.rules": "", "a.yaml": "", "c.md": ""})

    assert ["a.yaml", "b.rules"] == [file.path for file in files]
    assert ["E303"] == [problem.code for problem in reported]
