"""Reviews the rule set that an open file belongs to, as `betrace check` does.

In: paths, and the texts of open files. Out: an `Analysis`. A set that is too large to be reviewed while it is typed is
not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from dsl.compile.review import Review, review_sources
from dsl.editor.vocabulary import Vocabulary, vocabulary_of
from dsl.files.definitions import read_list_files
from dsl.files.yaml_rules import FILE_KEYS
from dsl.problems import Problem
from dsl.syntax import source
from dsl.syntax.source import RULES_SUFFIX, YAML_SUFFIXES, SourceFile

MAX_BYTES = 1 << 20
"""The size of the largest rule set that is reviewed, which takes about ten seconds."""

_TOP_LEVEL_KEY = re.compile(r"^([^\s#%\-.][^:\n]*):", re.MULTILINE)


class TooLargeError(Exception):
    """The rule set is larger than `MAX_BYTES`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """A rule set as it was reviewed; `files` has its files by resolved path."""

    files: Mapping[Path, SourceFile]
    review: Review
    vocabulary: Vocabulary

    def problems_of(self, document: Path) -> list[Problem]:
        """Return the problems of a file, sorted by location; none when it is not in the set."""
        file = self.files.get(document)
        problems = self.review.problems if file is not None else []
        return [problem for problem in problems if file is not None and problem.location.path == file.path]


def set_of(document: Path, rules: Sequence[Path]) -> tuple[Path, ...]:
    """Return the paths of the rule set of a resolved file.

    They are `rules` for a file at or below one of these paths, and the directory of the file otherwise.
    """
    is_in_rules = any(document.is_relative_to(path.resolve()) for path in rules)
    return tuple(rules) if is_in_rules else (document.parent,)


def analyse(paths: Sequence[Path], opened: Mapping[Path, str], today: date, *, is_directory: bool = False) -> Analysis:
    """Review the rule files at the paths; `opened` has the texts of open files by resolved path.

    With `is_directory`, the set is the rule files directly in a directory; other YAML files there are ignored.

    Raises:
        TooLargeError: the files are too large.
    """
    found, reported = (_beside(paths[0], opened), []) if is_directory else source.find_files(paths)
    unsaved = [path for path in opened if not path.exists() and _is_below(path, paths, is_directory=is_directory)]
    if sum(_size_bytes(path, opened) for path in (*found, *unsaved)) > MAX_BYTES:
        raise TooLargeError
    files, read_problems = source.read_files(found, opened)
    files += [source.source_file(str(path), opened[path]) for path in unsaved]
    files = [file for file in files if not is_directory or _is_rule_file(file)]
    lists, list_problems = read_list_files(files)
    review = review_sources(files + lists, [*reported, *read_problems, *list_problems], today)
    return Analysis(
        files={Path(file.path).resolve(): file for file in files}, review=review, vocabulary=vocabulary_of(review)
    )


def _is_below(path: Path, paths: Sequence[Path], *, is_directory: bool) -> bool:
    return path.parent == paths[0] if is_directory else any(path.is_relative_to(each.resolve()) for each in paths)


def _beside(directory: Path, opened: Mapping[Path, str]) -> list[Path]:
    """Return the files in a directory that can be rule files, the open ones among them."""
    try:
        names = sorted(path.name for path in directory.iterdir())
    except OSError:
        names = []
    suffixes = (RULES_SUFFIX, *YAML_SUFFIXES)
    there = [directory / name for name in names if name.endswith(suffixes) and not name.startswith(".")]
    return [path for path in there if path in opened or path.is_file()]


def _size_bytes(path: Path, opened: Mapping[Path, str]) -> int:
    if (text := opened.get(path.resolve())) is not None:
        return len(text)
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _is_rule_file(file: SourceFile) -> bool:
    """Return whether a file is a rule file, or YAML whose first key is one of a rule file's."""
    first = _TOP_LEVEL_KEY.search(file.text)
    return not file.path.endswith(YAML_SUFFIXES) or (first is not None and first[1].strip() in FILE_KEYS)
