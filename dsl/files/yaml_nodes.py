"""Parses YAML 1.2 into values that keep their locations.

In: a `SourceFile`. Out: nodes and problems. Only the YAML that a rule file needs is accepted: one document without
aliases, tags and duplicate keys, nested at most 100 deep. Plain scalars follow the YAML 1.2 core schema, so `NO` and
`2027-01-31` are text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from dsl import problems
from dsl.judge.span import Value
from dsl.problems import Problem, Spot
from dsl.syntax.parse import decode_surrogates
from dsl.syntax.source import SourceFile, SourceText
from dsl.syntax.tokens import MAX_NESTING

_NULL = re.compile(r"null|Null|NULL|~|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]{1,400}|0o[0-7]{1,400}|0x[0-9a-fA-F]{1,300}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONTROL = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NO_CHARACTER = re.compile(r"\\U(?!000[0-9A-Fa-f]|0010)[0-9A-Fa-f]{8}")
_ONE_DOCUMENT = "move its rules to the first document, or to another file"
_SPECIAL = {".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf, ".nan": math.nan}


@dataclass(frozen=True, slots=True)
class YamlScalar:
    """A scalar with its text and location; `style` is YAML's, None when the scalar is plain."""

    text: str
    style: str | None
    spot: Spot

    @property
    def is_empty(self) -> bool:
        """Whether the scalar is empty and unquoted."""
        return self.style is None and not self.text

    @property
    def value(self) -> Value:
        """The value in the core schema."""
        return self.text if self.style is not None else _plain_value(self.text)


@dataclass(frozen=True, slots=True)
class YamlSequence:
    """A list."""

    items: tuple[YamlNode, ...]
    spot: Spot


@dataclass(frozen=True, slots=True)
class YamlEntry:
    """A key of a mapping and its value."""

    key: YamlScalar
    node: YamlNode


@dataclass(frozen=True, slots=True)
class YamlMapping:
    """A mapping by key."""

    entries: dict[str, YamlEntry]
    spot: Spot


YamlNode: TypeAlias = YamlScalar | YamlSequence | YamlMapping


def read_yaml(file: SourceFile) -> tuple[YamlNode | None, list[Problem]]:
    """Parse the document in a file; return None when it is empty or not YAML."""
    composer = _Composer(file)
    try:
        return composer.document(), composer.reported
    except _NestingError as error:
        return None, [*composer.reported, problems.too_deep(error.spot, MAX_NESTING)]
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        spot = composer.spot(mark.line, mark.column, 1) if mark is not None else file.spot(1, 1)
        return None, [*composer.reported, problems.invalid_yaml(spot, error.problem or error.context or "")]
    except YAMLError:
        return None, [*composer.reported, problems.invalid_yaml(_first_match(file, _CONTROL), "a control character")]
    except (ValueError, OverflowError):
        return None, [*composer.reported, problems.invalid_yaml(_first_match(file, _NO_CHARACTER), "invalid escape")]


def _first_match(file: SourceFile, what: re.Pattern[str]) -> Spot:
    """Return the first match in the file: the YAML parser does not always report a position."""
    for number, line in enumerate(file.lines, 1):
        if (reported := what.search(line)) is not None:
            return file.spot(number, reported.start() + 1, len(reported[0]))
    return file.spot(1, 1)


def plain_value(node: YamlNode) -> Value:
    """Return the value of a node without locations."""
    match node:
        case YamlSequence(items):
            return [plain_value(item) for item in items]
        case YamlMapping(entries):
            return {key: plain_value(entry.node) for key, entry in entries.items()}
        case YamlScalar():
            return node.value


def source_text(file: SourceFile, scalar: YamlScalar) -> SourceText:
    """Return the text of a scalar, with exact positions where the file writes it line by line."""
    text = scalar.text.rstrip()
    line, column = scalar.spot.location.line, scalar.spot.location.column - 1
    if scalar.style == "|":
        return _block_source(file, text, line) or SourceText(
            file=file, text=text, line=line, first_indent=column, is_exact=False
        )
    first = column if scalar.style is None else column + 1
    is_exact = file.lines[line - 1][first:].startswith(text) and "\n" not in text
    return SourceText(file=file, text=text, line=line, first_indent=first if is_exact else column, is_exact=is_exact)


def _block_source(file: SourceFile, text: str, line: int) -> SourceText | None:
    text_lines = text.split("\n")
    written = file.lines[line : line + len(text_lines)]
    first = next(index for index, text_line in enumerate([*text_lines, "x"]) if text_line.strip())
    if len(written) < len(text_lines) or first >= len(text_lines):
        return None
    indent = len(written[first]) - len(text_lines[first])
    pairs = zip(written, text_lines, strict=True)
    is_exact = all(line[indent:].rstrip() == text_line.rstrip() for line, text_line in pairs)
    return SourceText(file=file, text=text, line=line + 1, first_indent=indent, indent=indent) if is_exact else None


class _NestingError(Exception):
    def __init__(self, spot: Spot) -> None:
        super().__init__()
        self.spot = spot


class _Composer:
    """Turns YAML events into nodes; unsupported YAML is reported and read as null."""

    def __init__(self, file: SourceFile) -> None:
        self.file = file
        self.reported: list[Problem] = []
        self._events: Iterator[Event] = iter(YAML(typ="safe", pure=True).parse(file.text))
        self._depth = 0

    def spot(self, line: int, column: int, length: int) -> Spot:
        """Return the spot of a YAML mark, which counts from 0."""
        return self.file.spot(min(line + 1, len(self.file.lines)), column + 1, length)

    def document(self) -> YamlNode | None:
        """Read the only document."""
        root: YamlNode | None = None
        documents = 0
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self.reported.append(problems.unsupported_yaml(self._at(event), "a second document", _ONE_DOCUMENT))
                    break
                root = self._node(next(self._events))
        return root

    def _node(self, event: Event) -> YamlNode:
        self._refuse(event)
        if self._depth > MAX_NESTING:
            raise _NestingError(self._at(event))
        self._depth += 1
        node = self._read(event)
        self._depth -= 1
        return node

    def _read(self, event: Event) -> YamlNode:
        spot = self._at(event)
        if isinstance(event, SequenceStartEvent):
            return YamlSequence(tuple(self._node(item) for item in self._until(SequenceEndEvent)), spot)
        if isinstance(event, MappingStartEvent):
            return YamlMapping(self._entries(), spot)
        if isinstance(event, ScalarEvent):
            return YamlScalar(decode_surrogates(event.value), event.style, spot)
        return YamlScalar("", None, spot)

    def _entries(self) -> dict[str, YamlEntry]:
        entries: dict[str, YamlEntry] = {}
        for event in self._until(MappingEndEvent):
            key = self._node(event)
            node = self._node(next(self._events))
            if isinstance(event, AliasEvent):
                continue
            if isinstance(node, YamlScalar) and node.is_empty:  # the parser reports the location of the next token
                node = replace(node, spot=key.spot)
            if not isinstance(key, YamlScalar):
                self.reported.append(problems.unsupported_yaml(key.spot, "a list or mapping as key", "use one word"))
            elif key.text in entries:
                self.reported.append(problems.duplicate_key(key.spot, key.text))
            else:
                entries[key.text] = YamlEntry(key, node)
        return entries

    def _until(self, end: type[Event]) -> Iterator[Event]:
        while not isinstance(event := next(self._events), end):
            yield event

    def _refuse(self, event: Event) -> None:
        if isinstance(event, AliasEvent):
            self.reported.append(problems.unsupported_yaml(self._at(event), "an alias", "write the value out"))
        elif getattr(event, "anchor", None) is not None:
            self.reported.append(problems.unsupported_yaml(self._at(event), "an anchor", "remove it"))
        if getattr(event, "ctag", None) is not None:
            self.reported.append(problems.unsupported_yaml(self._at(event), "a tag", "remove it"))

    def _at(self, event: Event) -> Spot:
        start, end = event.start_mark, event.end_mark
        length = end.column - start.column if start.line == end.line else 1
        return self.spot(start.line, start.column, max(1, length))


def _plain_value(text: str) -> Value:
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text) or _FALSE.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.fullmatch(text):
        return float(text)
    return _SPECIAL.get(text.lower(), text)
