"""Reads YAML rule files: a list of rules with their exceptions and tests, and what they define for all rules.

In: a `SourceFile`. Out: a `DraftFile` and problems. Comments are never headers here, and a title never determines the
kind.
"""

from __future__ import annotations

from dataclasses import replace

from dsl import problems
from dsl.files import dedup
from dsl.files.definitions import SET_KEYS, DefinitionReader
from dsl.files.draft import Draft, DraftFile, DraftTest
from dsl.files.field import Field
from dsl.files.fields import HEADER_KEYS, LIST_KEYS, SENTENCE_KEYS
from dsl.files.spans import KEYS as SPAN_KEYS
from dsl.files.spans import SpanError, read_span
from dsl.files.yaml_nodes import YamlMapping, YamlNode, YamlScalar, YamlSequence, plain_value, read_yaml, source_text
from dsl.files.yaml_reader import YamlReader
from dsl.judge.span import Span, Value
from dsl.judge.verdict import Verdict
from dsl.problems import Problem
from dsl.syntax.source import SourceFile

_FIELD_KEYS = ("title", *HEADER_KEYS)
SYNONYMS = {"name": "title", "compliance_frameworks": "controls"}
"""Keys that mean the same as another one, which a rule cannot have beside them."""

RULE_KEYS = (*_FIELD_KEYS, *SYNONYMS, "condition", "exceptions", "tests", "example_violation")
FILE_KEYS = ("rules", *SET_KEYS)
TEST_KEYS = ("name", "spans", "expect", "close")
EXAMPLE_KEYS = ("spans", "trace", "close")
CLOSES = ("quiet", "max_duration", "end_of_input")
_MAX_DURATION = "max_duration"
_FIRST_START_NS = 1_767_614_400 * 10**9
_SECOND_NS = 10**9


def read_file(file: SourceFile) -> tuple[DraftFile, list[Problem]]:
    """Return the content of a file; test spans without a start are one second apart, from 2026-01-05T12:00Z."""
    root, reported = read_yaml(file)
    reader = _RuleReader(file, reported)
    top = None if root is None else reader.mapping(root, "the file", FILE_KEYS, "a mapping with the key `rules`")
    if top is None:
        return DraftFile(), reported
    if not set(FILE_KEYS) & set(top.entries):
        reported.append(problems.missing_key(top.spot, "rules"))
    rules = [reader.rule(node) for node in reader.items(top, "rules")]
    definitions = DefinitionReader(file, reported)
    return DraftFile(
        tuple(draft for draft in rules if draft is not None),
        tuple(definitions.lists(top)),
        tuple(definitions.subjects(top)),
        tuple(definitions.set_exceptions(top)),
    ), reported


class _RuleReader(YamlReader):
    """Reads the rules of one file; reports what is invalid and leaves it out."""

    def rule(self, node: YamlNode) -> Draft | None:
        """Read a rule; return None when it has no condition."""
        if (rule := self.mapping(node, "a rule", RULE_KEYS)) is None:
            return None
        fields = self._fields(rule)
        tests = self._tests(rule)
        condition = self.scalar(rule, "condition", required=True)
        if condition is None:
            return None
        return Draft(
            fields=fields,
            condition=source_text(self.file, condition),
            spot=rule.spot,
            exceptions=self.exceptions(rule),
            tests=tuple(tests),
            lacks_tests=not {"tests", "example_violation"} & set(rule.entries),
        )

    def _fields(self, rule: YamlMapping) -> dict[str, Field]:
        fields: dict[str, Field] = {}
        for written, entry in rule.entries.items():
            key = SYNONYMS.get(written, written)
            if key not in _FIELD_KEYS:
                continue
            if key == dedup.KEY:
                fields |= dedup.yaml_fields(self, entry.node)
                continue
            if key in fields:
                self.reported.append(problems.duplicate_key(entry.key.spot, key))
            elif (field := self._field(entry.node, key)) is not None:
                fields[key] = field if any(field.texts) else replace(field, spot=entry.key.spot)
        return fields

    def _field(self, node: YamlNode, key: str) -> Field | None:
        if isinstance(node, YamlScalar):
            text = "" if node.value is None else node.text.strip()
            return Field.listed(text, node.spot) if key in LIST_KEYS else Field((text,), node.spot)
        is_list = key in {*LIST_KEYS, *SENTENCE_KEYS}
        if is_list and isinstance(node, YamlSequence):
            scalars = [item for item in node.items if isinstance(item, YamlScalar) and item.value is not None]
            if len(scalars) == len(node.items):
                spots = tuple(item.spot for item in scalars)
                return Field(tuple(item.text.strip() for item in scalars), node.spot, spots)
        expected = "a list of texts" if is_list else "text"
        self.reported.append(problems.wrong_type(node.spot, key, expected))
        return None

    def _tests(self, rule: YamlMapping) -> list[DraftTest]:
        tests = [self._test(node, index) for index, node in enumerate(self.items(rule, "tests"), 1)]
        if "example_violation" in rule.entries:
            tests.append(self._example(rule.entries["example_violation"].node))
        return [test for test in tests if test is not None]

    def _test(self, node: YamlNode, index: int) -> DraftTest | None:
        if (test := self.mapping(node, "a test", TEST_KEYS)) is None:
            return None
        expect = self.scalar(test, "expect", required=True)
        spans, hit_max_duration = self._spans(test), self._hit_max_duration(test)
        if expect is None or spans is None:
            return None
        verdicts = [verdict.value for verdict in Verdict]
        if expect.text not in verdicts:
            self.reported.append(problems.invalid_value(expect.spot, "expect", expect.text, verdicts))
            return None
        name = self.text(test, "name") or f"test {index}"
        return DraftTest(
            name=name, spans=spans, hit_max_duration=hit_max_duration, expect=Verdict(expect.text), spot=test.spot
        )

    def _example(self, node: YamlNode) -> DraftTest | None:
        """Read `example_violation`: a list of spans, a mapping with `spans`, or `trace: [{span: NAME, …}]`."""
        hit_max_duration = False
        if isinstance(node, YamlSequence):
            spans = self._read_spans(node.items)
        elif (example := self.mapping(node, "example_violation", EXAMPLE_KEYS)) is None:
            return None
        else:
            hit_max_duration = self._hit_max_duration(example)
            spans = self._trace_spans(example) if "trace" in example.entries else self._spans(example)
        if spans is None:
            return None
        return DraftTest(
            name="example_violation",
            spans=spans,
            hit_max_duration=hit_max_duration,
            expect=Verdict.BROKEN,
            spot=node.spot,
        )

    def _trace_spans(self, example: YamlMapping) -> tuple[Span, ...] | None:
        """Read the spans of `trace`, which may use `span` as the key of the name."""
        if "spans" in example.entries:
            self.reported.append(problems.duplicate_key(example.entries["trace"].key.spot, "spans"))
        return self._read_spans(tuple(self._with_name_key(node) for node in self.items(example, "trace")))

    def _with_name_key(self, node: YamlNode) -> YamlNode:
        if not isinstance(node, YamlMapping) or "span" not in node.entries:
            return node
        if "name" in node.entries:
            self.reported.append(problems.duplicate_key(node.entries["span"].key.spot, "name"))
        entries = {"name" if key == "span" else key: entry for key, entry in node.entries.items()}
        return YamlMapping(entries, node.spot)

    def _hit_max_duration(self, test: YamlMapping) -> bool:
        close = self.scalar(test, "close")
        if close is not None and close.text not in CLOSES:
            self.reported.append(problems.invalid_value(close.spot, "close", close.text, CLOSES))
        return close is not None and close.text == _MAX_DURATION

    def _spans(self, test: YamlMapping) -> tuple[Span, ...] | None:
        if "spans" not in test.entries:
            self.reported.append(problems.missing_key(test.spot, "spans"))
            return None
        return self._read_spans(self.items(test, "spans"))

    def _read_spans(self, nodes: tuple[YamlNode, ...]) -> tuple[Span, ...] | None:
        spans = [self._span(node, index) for index, node in enumerate(nodes)]
        read = tuple(span for span in spans if span is not None)
        return read if len(read) == len(nodes) else None

    def _span(self, node: YamlNode, index: int) -> Span | None:
        if (fields := self.mapping(node, "a span", SPAN_KEYS)) is None:
            return None
        given = {key: plain_value(entry.node) for key, entry in fields.entries.items()}
        defaults: dict[str, Value] = {"span_id": f"{index + 1:016x}", "start": _FIRST_START_NS + index * _SECOND_NS}
        try:
            return read_span({**defaults, **given})
        except SpanError as error:
            if (entry := fields.entries.get(error.key)) is None:
                self.reported.append(problems.missing_key(node.spot, error.key))
            else:
                self.reported.append(problems.wrong_type(entry.node.spot, error.key, error.expected))
            return None
