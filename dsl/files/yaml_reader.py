"""Reads what the parts of a YAML rule file have in common: mappings, lists, texts, and exceptions.

In: nodes of one file. Out: their values, and problems for values of the wrong type.
"""

from __future__ import annotations

import re
from datetime import date

from dsl import problems
from dsl.files.draft import DraftException
from dsl.files.yaml_nodes import YamlEntry, YamlMapping, YamlNode, YamlScalar, YamlSequence, source_text
from dsl.problems import Problem
from dsl.syntax.source import SourceFile

EXCEPTION_KEYS = ("where", "owner", "reason", "expires")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class YamlReader:
    """Reads the nodes of one file; reports what is invalid and leaves it out."""

    def __init__(self, file: SourceFile, reported: list[Problem]) -> None:
        self.file = file
        self.reported = reported

    def mapping(self, node: YamlNode, what: str, keys: tuple[str, ...], type_: str = "a mapping") -> YamlMapping | None:
        """Return the node as a mapping, and report unknown keys."""
        if not isinstance(node, YamlMapping):
            self.reported.append(problems.wrong_type(node.spot, what, type_))
            return None
        for key, entry in node.entries.items():
            if key not in keys:
                self.reported.append(problems.unknown_key(entry.key.spot, key, keys))
        return node

    def items(self, parent: YamlMapping, key: str) -> tuple[YamlNode, ...]:
        """Return the items of a list; none when the key is missing."""
        if key not in parent.entries:
            return ()
        node = parent.entries[key].node
        if isinstance(node, YamlSequence):
            return node.items
        if isinstance(node, YamlScalar) and node.value is None:
            self.reported.append(problems.empty_value(parent.entries[key].key.spot, key))
        else:
            self.reported.append(problems.wrong_type(node.spot, key, "a list"))
        return ()

    def scalar(self, parent: YamlMapping, key: str, *, required: bool = False) -> YamlScalar | None:
        """Return the value of a key that is not a list or mapping; None when it is missing or empty."""
        if key not in parent.entries:
            if required:
                self.reported.append(problems.missing_key(parent.spot, key))
            return None
        return self.as_scalar(parent.entries[key], key)

    def as_scalar(self, entry: YamlEntry, key: str) -> YamlScalar | None:
        """Return an entry's value; None, and a problem, when it is a list, a mapping or empty."""
        if not isinstance(entry.node, YamlScalar):
            self.reported.append(problems.wrong_type(entry.node.spot, key, "text"))
            return None
        if entry.node.value is None or not entry.node.text.strip():
            self.reported.append(problems.empty_value(entry.key.spot, key))
            return None
        return entry.node

    def text(self, parent: YamlMapping, key: str) -> str | None:
        """Return the text of a key; None when it is missing or empty."""
        return None if (scalar := self.scalar(parent, key)) is None else scalar.text.strip()

    def exceptions(self, rule: YamlMapping) -> tuple[DraftException, ...]:
        """Return the exceptions of a rule."""
        fields = (self.mapping(node, "an exception", EXCEPTION_KEYS) for node in self.items(rule, "exceptions"))
        read = [self.exception(each) for each in fields if each is not None]
        return tuple(exception for exception in read if exception is not None)

    def exception(self, fields: YamlMapping) -> DraftException | None:
        """Read an exception; return None when it has no condition."""
        if (where := self.scalar(fields, "where", required=True)) is None:
            return None
        owner, reason = self.text(fields, "owner"), self.text(fields, "reason")
        return DraftException(
            where=source_text(self.file, where), owner=owner, reason=reason, expires=self._day(fields), spot=fields.spot
        )

    def _day(self, exception: YamlMapping) -> date | None:
        if (scalar := self.scalar(exception, "expires")) is None:
            return None
        try:
            day = date.fromisoformat(scalar.text) if _DAY.fullmatch(scalar.text) else None
        except ValueError:
            day = None
        if day is None:
            self.reported.append(problems.wrong_type(scalar.spot, scalar.text, "a day such as 2027-01-31"))
        return day
