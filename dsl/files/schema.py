"""Describes YAML rule files as a JSON Schema, with which editors complete keys and mark mistakes.

In: the tables by which rule files are read. Out: the schema (draft 2020-12), as plain values. Files that load are
valid, except for blanks around a value that is one of a few; files with an unknown key are not. Only `betrace check`
finds what a schema cannot: errors in conditions and names, and tests that fail.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import Enum
from typing import TypeAlias

from dsl.files import dedup, triage
from dsl.files.definitions import SET_EXCEPTION_KEYS, SET_KEYS
from dsl.files.fields import LIST_KEYS, SENTENCE_KEYS
from dsl.files.spans import EVENT_KEYS
from dsl.files.spans import KEYS as SPAN_KEYS
from dsl.files.yaml_reader import EXCEPTION_KEYS
from dsl.files.yaml_rules import CLOSES, EXAMPLE_KEYS, FILE_KEYS, RULE_KEYS, SYNONYMS, TEST_KEYS
from dsl.judge.builtin import CLOSED_SETS
from dsl.judge.ruleset import Kind, Mode, RuleSeverity
from dsl.judge.verdict import Verdict

Json: TypeAlias = "str | int | bool | list[Json] | dict[str, Json] | None"

DRAFT = "https://json-schema.org/draft/2020-12/schema"

_TEXT: Json = {"type": ["string", "number", "boolean"], "pattern": r"\S"}
"""YAML types what it is not told: `version: 1.0` is a number there, and a text for a rule."""
_TEXTS: Json = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}
_DAY: Json = {"type": "string", "pattern": r"^\s*[0-9]{4}-[0-9]{2}-[0-9]{2}\s*$"}
_OPTIONAL_TEXT: Json = {"type": ["string", "null"]}
_HEXADECIMAL: Json = {"type": ["string", "null"], "pattern": r"^[0-9a-fA-F\s]*$"}
_TIME: Json = {"type": ["string", "integer", "null"]}
_MAPPING: Json = {"type": ["object", "null"]}


def rule_file_schema() -> dict[str, Json]:
    """Return the schema of a YAML rule file."""
    return {
        "$schema": DRAFT,
        "title": "BeTrace rules",
        **_object(
            FILE_KEYS,
            {
                "rules": _list_of("rule"),
                "lists": {"type": "object", "additionalProperties": _ref("list")},
                "subjects": {"type": "object", "additionalProperties": _TEXT},
                "exceptions": _list_of("set_exception"),
            },
        ),
        "anyOf": [{"required": [key]} for key in ("rules", *SET_KEYS)],
        "$defs": {
            "rule": _rule(),
            "exception": _object(EXCEPTION_KEYS, {"expires": _DAY}, required=("where",)),
            "set_exception": _object(
                SET_EXCEPTION_KEYS, {"rules": _TEXTS, "expires": _DAY}, required=("rules", "where")
            ),
            "list": {
                "anyOf": [
                    {"type": "array", "minItems": 1, "items": {"type": ["string", "number", "boolean"]}},
                    _object(("file",), {}, required=("file",)),
                ]
            },
            "test": _object(TEST_KEYS, _trace_keys() | {"expect": _one_of(Verdict)}, required=("spans", "expect")),
            "example": {
                "anyOf": [
                    _list_of("span"),
                    _object(EXAMPLE_KEYS, _trace_keys())
                    | {"oneOf": [{"required": ["spans"]}, {"required": ["trace"]}]},
                ]
            },
            "span": _span(SPAN_KEYS, "name"),
            "trace_span": {
                "anyOf": [_ref("span"), _span([key for key in (*SPAN_KEYS, "span") if key != "name"], "span")]
            },
            "event": {
                "anyOf": [
                    {"type": "string"},
                    _object(EVENT_KEYS, {"name": {"type": "string"}, "attributes": _MAPPING, "time": _TIME}, ("name",)),
                ]
            },
        },
    }


def _rule() -> Json:
    values: dict[str, Json] = {
        **dict.fromkeys((*LIST_KEYS, *SENTENCE_KEYS), _TEXTS),
        "kind": _one_of(Kind),
        "severity": _one_of(RuleSeverity),
        "mode": _one_of(Mode),
        "enabled": {"enum": [True, False, "true", "false"]},
        "date": _DAY,
        "modified": _DAY,
        "risk_score": {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": triage.MAX_RISK_SCORE},
                {"type": "string", "pattern": r"^\s*[0-9]{1,3}\s*$"},
            ]
        },
        "dedup": _object(
            dedup.KEYS,
            {"by": _TEXTS, "for": {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h|d)\s*$"}},
            required=dedup.KEYS,
        ),
        "exceptions": _list_of("exception"),
        "tests": _list_of("test"),
        "example_violation": _ref("example"),
    }
    synonyms = {key: values[meant] for key, meant in SYNONYMS.items() if meant in values}
    rule = _object(RULE_KEYS, values | synonyms, required=("condition",))
    return rule | {"allOf": [{"not": {"required": [key, meant]}} for key, meant in SYNONYMS.items()]}


def _trace_keys() -> dict[str, Json]:
    """Return the schemas of the keys that a test and an example have in common."""
    return {"spans": _list_of("span"), "trace": _list_of("trace_span"), "close": {"enum": [*CLOSES]}}


def _span(keys: Iterable[str], name: str) -> dict[str, Json]:
    """Return the schema of a span whose name is under the key `name`; a log record needs none."""
    values: dict[str, Json] = {
        **dict.fromkeys(("trace_id", "span_id", "parent_span_id"), _HEXADECIMAL),
        **dict.fromkeys((name, "service", "status_message", "scope_name"), _OPTIONAL_TEXT),
        **dict.fromkeys(("start", "end"), _TIME),
        **dict.fromkeys(("attributes", "resource", "scope", "log"), _MAPPING),
        "kind": {"enum": [*CLOSED_SETS["span.kind"], None]},
        "status": {"enum": [*CLOSED_SETS["span.status"], None]},
        "events": {"type": ["array", "null"], "items": _ref("event")},
    }
    return _object(keys, values) | {"anyOf": [{"required": [name]}, {"required": ["log"]}]}


def _object(keys: Iterable[str], values: dict[str, Json], required: Collection[str] = ()) -> dict[str, Json]:
    """Return the schema of a mapping with these keys only; a key without a schema of its own takes text."""
    schema: dict[str, Json] = {
        "type": "object",
        "properties": {key: values.get(key, _TEXT) for key in keys},
        "additionalProperties": False,
    }
    if required:
        schema["required"] = [*required]
    return schema


def _one_of(options: type[Enum]) -> Json:
    return {"enum": [option.value for option in options]}


def _list_of(name: str) -> Json:
    return {"type": "array", "items": _ref(name)}


def _ref(name: str) -> Json:
    return {"$ref": f"#/$defs/{name}"}
