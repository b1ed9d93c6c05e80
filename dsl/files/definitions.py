"""Reads what a YAML file defines for all rules of a set: lists, subjects, and exceptions for several rules.

In: the root of a file, and list files. Out: drafts and problems. A list file is text with one value per line; it lies
below the directory of the YAML file that names it.
"""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from dsl import problems
from dsl.files.draft import DraftList, DraftSetException, DraftSubject, ListFile, ListValue
from dsl.files.field import Field
from dsl.files.yaml_nodes import YamlEntry, YamlMapping, YamlNode, YamlScalar, YamlSequence, read_yaml, source_text
from dsl.files.yaml_reader import EXCEPTION_KEYS, YamlReader
from dsl.problems import Problem
from dsl.syntax import source
from dsl.syntax.source import LIST_SUFFIX, YAML_SUFFIXES, SourceFile

SET_KEYS = ("lists", "subjects", "exceptions")
SET_EXCEPTION_KEYS = ("rules", *EXCEPTION_KEYS)

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*")
_NEITHER_TEXT_NOR_NUMBER = "a text, a number, true or false"


class DefinitionReader(YamlReader):
    """Reads the definitions of one file."""

    def lists(self, top: YamlMapping) -> Iterator[DraftList]:
        """Yield the lists; one with an error has no values, so that its name is known."""
        for name, entry in self._named(top, "lists"):
            if isinstance(entry.node, YamlMapping):
                content: ListFile | tuple[ListValue, ...] = self._file(entry.node)
            else:
                content = self._values(entry, name)
            yield DraftList(name, entry.key.spot, content)

    def subjects(self, top: YamlMapping) -> Iterator[DraftSubject]:
        """Yield the subjects."""
        for name, entry in self._named(top, "subjects"):
            scalar = self.as_scalar(entry, name)
            text = None if scalar is None else source_text(self.file, scalar)
            yield DraftSubject(name, entry.key.spot, text)

    def set_exceptions(self, top: YamlMapping) -> Iterator[DraftSetException]:
        """Yield the exceptions for several rules."""
        for node in self.items(top, "exceptions"):
            fields = self.mapping(node, "an exception", SET_EXCEPTION_KEYS)
            if fields is None:
                continue
            if "rules" not in fields.entries:
                self.reported.append(problems.missing_key(fields.spot, "rules"))
            patterns = tuple(self._patterns(fields))
            if (exception := self.exception(fields)) is not None:
                yield DraftSetException(patterns, exception)

    def _patterns(self, fields: YamlMapping) -> Iterator[Field]:
        entry = fields.entries.get("rules")
        nodes: Iterable[YamlNode] = ()
        if entry is not None:
            nodes = (entry.node,) if isinstance(entry.node, YamlScalar) else self.items(fields, "rules")
        for node in nodes:
            if isinstance(node, YamlScalar) and node.value is not None and node.text.strip():
                yield Field((node.text.strip(),), node.spot)
            else:
                self.reported.append(problems.wrong_type(node.spot, "rules", "a list of ids"))

    def _named(self, top: YamlMapping, key: str) -> Iterator[tuple[str, YamlEntry]]:
        """Yield the entries of a mapping by name."""
        if key not in top.entries:
            return
        entry = top.entries[key]
        if not isinstance(entry.node, YamlMapping):
            is_empty = isinstance(entry.node, YamlScalar) and entry.node.value is None
            empty = problems.empty_value(entry.key.spot, key)
            wrong = problems.wrong_type(entry.node.spot, key, "a mapping of names")
            self.reported.append(empty if is_empty else wrong)
            return
        for name, named in entry.node.entries.items():
            if _NAME.fullmatch(name):
                yield name, named
            else:
                self.reported.append(problems.invalid_name(named.key.spot, name))

    def _values(self, entry: YamlEntry, name: str) -> tuple[ListValue, ...]:
        if not isinstance(entry.node, YamlSequence):
            is_empty = isinstance(entry.node, YamlScalar) and entry.node.value is None
            empty = problems.empty_value(entry.key.spot, name)
            self.reported.append(empty if is_empty else problems.wrong_type(entry.node.spot, name, "a list"))
            return ()
        if not entry.node.items:
            self.reported.append(problems.empty_list(entry.node.spot))
        values = [self._value(node) for node in entry.node.items]
        known = tuple(value for value in values if value is not None)
        return known if len(known) == len(values) else ()

    def _value(self, node: YamlNode) -> ListValue | None:
        value = node.value if isinstance(node, YamlScalar) else None
        if isinstance(value, str | bool | int | float) and not (isinstance(value, float) and not math.isfinite(value)):
            return value
        shown = node.text if isinstance(node, YamlScalar) and node.text else "this value"
        self.reported.append(problems.wrong_type(node.spot, shown, _NEITHER_TEXT_NOR_NUMBER))
        return None

    def _file(self, node: YamlMapping) -> ListFile | tuple[()]:
        fields = self.mapping(node, "a list", ("file",))
        scalar = None if fields is None else self.scalar(fields, "file", required=True)
        if scalar is None:
            return ()
        path = posixpath.normpath(scalar.text.strip())
        if not path.endswith(LIST_SUFFIX) or path.startswith(("/", "../")) or not path.isprintable():
            self.reported.append(problems.list_file_path(scalar.spot, scalar.text.strip()))
            return ()
        return ListFile(posixpath.join(posixpath.dirname(self.file.path), path), scalar.spot)


def list_values(file: SourceFile) -> tuple[str, ...]:
    r"""Return the values of a list file: one per line, without blank lines and lines that start with `#`.

    >>> list_values(source.source_file("a.txt", "# approved\nsend_email\n\n  7.0 \n"))
    ('send_email', '7.0')
    """
    lines = (line.strip() for line in file.lines)
    return tuple(line for line in lines if line and not line.startswith("#"))


def read_files(paths: Iterable[str | Path]) -> tuple[list[SourceFile], list[Problem]]:
    """Read the rule files at the paths, as `source.read_files` does, and the list files that they name."""
    files, reported = source.read_files(paths)
    lists, list_problems = read_list_files(files)
    return files + lists, reported + list_problems


def read_list_files(files: Iterable[SourceFile]) -> tuple[list[SourceFile], list[Problem]]:
    """Read the list files that rule files name; one that does not exist is reported when they are compiled."""
    lists: list[SourceFile] = []
    reported: list[Problem] = []
    for path in dict.fromkeys(path for file in files for path in _list_files(file)):
        read, list_problems = source.read_list_file(path)
        lists += read
        reported += list_problems
    return lists, reported


def _list_files(file: SourceFile) -> Iterator[str]:
    """Yield the paths of the list files that a rule file names; its problems are reported when it is compiled."""
    if not file.path.endswith(YAML_SUFFIXES) or "lists" not in file.text:
        return
    root, _ = read_yaml(file)
    if isinstance(root, YamlMapping):
        lists = DefinitionReader(file, []).lists(root)
        yield from (each.content.path for each in lists if isinstance(each.content, ListFile))
