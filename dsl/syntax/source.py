"""Finds and reads rule files and list files.

In: paths, or texts by file name. Out: `SourceFile`s and problems. Directories are read recursively; names that start
with a dot are skipped, because Kubernetes mounts the files of a ConfigMap a second time under `..data`.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from dsl import problems
from dsl.problems import Location, Problem, Spot
from dsl.syntax.nodes import TextRange

RULES_SUFFIX = ".rules"
YAML_SUFFIXES = (".yaml", ".yml")
LIST_SUFFIX = ".txt"
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

NOTHING_OPEN: Mapping[Path, str] = MappingProxyType({})

_LINE_BREAK = re.compile(r"\r\n?")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file: its path as the user gave it, its text, and the lines of the text."""

    path: str
    text: str
    lines: tuple[str, ...]

    def spot(self, line: int, column: int, length: int = 1) -> Spot:
        """Return the spot at a line and column, both counted from 1."""
        excerpt = self.lines[line - 1] if line <= len(self.lines) else None
        return Spot(Location(self.path, line, column), excerpt, length)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceText:
    """A part of a file that is parsed by itself.

    Line i (from 0) of `text` is line `line + i` of the file, indented by `indent` characters; the first line is
    indented by `first_indent`. When the file writes the text differently (folded or escaped), `is_exact` is false, and
    every spot is the start of the text, at `line` and `first_indent`.
    """

    file: SourceFile
    text: str
    line: int
    first_indent: int = 0
    indent: int = 0
    is_exact: bool = True

    def spot(self, at: TextRange) -> Spot:
        """Return the spot of a range of `text`."""
        if not self.is_exact:
            return self.file.spot(self.line, self.first_indent + 1)
        starts = _line_starts(self.text)
        line_index = bisect_right(starts, at.start) - 1
        line_end = starts[line_index + 1] - 1 if line_index + 1 < len(starts) else len(self.text)
        indent = self.indent if line_index else self.first_indent
        column = indent + at.start - starts[line_index] + 1
        return self.file.spot(self.line + line_index, column, max(1, min(at.end, line_end) - at.start))


@lru_cache(maxsize=8)
def _line_starts(text: str) -> list[int]:
    """Return the offset of each line; a lookup instead of a count keeps many problems in one text linear."""
    return [0, *(index + 1 for index, character in enumerate(text) if character == "\n")]


def find_files(paths: Iterable[str | Path]) -> tuple[list[Path], list[Problem]]:
    """Return the rule files at the paths and in the directories below them, sorted by name, each once."""
    found: dict[Path, Path] = {}
    reported: list[Problem] = []
    for path in map(Path, paths):
        for file in _files(path, reported):
            found.setdefault(file.resolve(), file)
    return [*found.values()], reported


def read_files(
    paths: Iterable[str | Path], opened: Mapping[Path, str] = NOTHING_OPEN
) -> tuple[list[SourceFile], list[Problem]]:
    """Read the rule files that `find_files` finds.

    `opened` has the text of each file that is open in an editor, by resolved path, in place of what is on disk.
    """
    found, reported = find_files(paths)
    files: list[SourceFile] = []
    for file in found:
        text = opened.get(file.resolve()) if opened else None
        files.extend(_read(file, reported) if text is None else [source_file(str(file), text)])
    return files, reported


def from_texts(texts: Mapping[str, str]) -> tuple[list[SourceFile], list[Problem]]:
    """Return the same for texts by file name, among them list files."""
    suffixes = (RULES_SUFFIX, *YAML_SUFFIXES, LIST_SUFFIX)
    known = {name: text for name, text in texts.items() if name.endswith(suffixes)}
    unknown = [problems.unknown_suffix(Spot(Location(name, 1, 1))) for name in texts if name not in known]
    return [source_file(name, known[name]) for name in sorted(known)], unknown


def read_list_file(path: str) -> tuple[list[SourceFile], list[Problem]]:
    """Read a list file; return nothing when it does not exist."""
    reported: list[Problem] = []
    return list(_read(Path(path), reported)) if os.path.lexists(path) else [], reported


def source_file(path: str, text: str) -> SourceFile:
    r"""Return a file with `\n` line breaks, without byte order mark, and with lone surrogates replaced.

    >>> source_file("a.rules", "one\r\ntwo").lines
    ('one', 'two')
    """
    text = replace_surrogates(_LINE_BREAK.sub("\n", text.removeprefix("\ufeff")))
    return SourceFile(path, text, tuple(text.split("\n")))


def replace_surrogates(text: str) -> str:
    """Replace lone surrogates by U+FFFD, so that the text can be encoded."""
    return text if text.isascii() else _SURROGATE.sub(REPLACEMENT, text)


def _files(path: Path, reported: list[Problem]) -> Iterator[Path]:
    start = Spot(Location(str(path), 1, 1))
    try:
        is_directory, exists = path.is_dir(), path.exists()
    except (OSError, ValueError) as error:
        reported.append(problems.unreadable(start, str(error)))
        return
    if not exists:
        reported.append(problems.unreadable(start, "it does not exist"))
    elif not is_directory and path.suffix in {RULES_SUFFIX, *YAML_SUFFIXES}:
        yield path
    elif not is_directory:
        reported.append(problems.unknown_suffix(start))
    else:
        below = sorted(_below(path, reported))
        if not below:
            reported.append(problems.empty_directory(start))
        yield from below


def _below(directory: Path, reported: list[Problem]) -> Iterator[Path]:
    """Yield the rule files below a directory; links are followed, because a ConfigMap mount links to directories."""

    def note(error: OSError) -> None:
        reported.append(problems.unreadable(Spot(Location(str(error.filename), 1, 1)), error.strerror or str(error)))

    visited: set[str] = set()
    for folder, directories, names in os.walk(directory, onerror=note, followlinks=True):
        is_again = (real := os.path.realpath(folder)) in visited
        visited.add(real)
        directories[:] = [] if is_again else sorted(name for name in directories if not name.startswith("."))
        for name in [] if is_again else names:
            if name.endswith((RULES_SUFFIX, *YAML_SUFFIXES)) and not name.startswith("."):
                yield Path(folder, name)


def _read(path: Path, reported: list[Problem]) -> Iterator[SourceFile]:
    try:
        if path.exists() and not path.is_file():  # reading a pipe would block
            reported.append(problems.unreadable(Spot(Location(str(path), 1, 1)), "it is not a regular file"))
            return
        content = path.read_bytes()
        yield source_file(str(path), content.decode())
    except OSError as error:
        reported.append(problems.unreadable(Spot(Location(str(path), 1, 1)), error.strerror or str(error)))
    except UnicodeDecodeError as error:
        reported.append(problems.not_utf8(_spot(path, content, error.start)))


def _spot(path: Path, content: bytes, position: int) -> Spot:
    """Return the spot of a byte that is not UTF-8 and has only valid text before it."""
    before = content[:position].decode()
    file = source_file(str(path), before + content[position:].decode(errors="replace"))
    lines = source_file(str(path), before).lines
    return file.spot(len(lines), len(lines[-1]) + 1)
