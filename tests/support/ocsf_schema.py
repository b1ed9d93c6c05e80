"""The OCSF schema file as JSON Schema, but stricter: nothing unknown or deprecated, no profile that is not named."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from tests.support import paths

FILE = paths.FIXTURES / "ocsf" / "findings-1.8.0.json"

OTHER = 99

_SIBLINGS = {
    "activity_id": "activity_name",
    "category_uid": "category_name",
    "class_uid": "class_name",
    "type_uid": "type_name",
}

_PRIMITIVES: dict[str, dict[str, Any]] = {
    "boolean_t": {"type": "boolean"},
    "float_t": {"type": "number"},
    "integer_t": {"type": "integer"},
    "json_t": {},
    "long_t": {"type": "integer", "minimum": -(1 << 63), "maximum": (1 << 63) - 1},
    "string_t": {"type": "string"},
}


@cache
def ocsf() -> dict[str, Any]:
    """The file."""
    read: dict[str, Any] = json.loads(FILE.read_text())
    return read


@cache
def classes() -> dict[int, dict[str, Any]]:
    """The classes by their `class_uid`."""
    return {definition["uid"]: definition for definition in ocsf()["classes"].values()}


@cache
def validator(class_uid: int, profiles: frozenset[str]) -> Draft202012Validator:
    """Checks a document with these profiles against a class."""
    objects = {name: _object(definition) for name, definition in ocsf()["objects"].items()}
    return Draft202012Validator(_object(classes()[class_uid], profiles) | {"$defs": objects})


def problems(value: bytes) -> list[str]:
    """What is not OCSF in a JSON document: by the schema, in a caption, or in what an observable points to."""
    document = json.loads(value)
    class_uid = document["class_uid"]
    profiles = frozenset(document["metadata"].get("profiles", ()))
    broken = [f"{error.json_path}: {error.message}" for error in validator(class_uid, profiles).iter_errors(document)]
    return [*broken, *_wrong_captions(document, classes()[class_uid]), *_dangling(document)]


def _allowed(definition: dict[str, Any], profiles: frozenset[str] = frozenset()) -> dict[str, Any]:
    named = definition["attributes"].items()
    return {name: it for name, it in named if it.get("profile") in {None, *profiles} and not it.get("deprecated")}


def _object(definition: dict[str, Any], profiles: frozenset[str] = frozenset()) -> dict[str, Any]:
    attributes = _allowed(definition, profiles)
    if not attributes:  # OCSF's open object
        return {"type": "object"}
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: _attribute(it) for name, it in attributes.items()},
        "required": [name for name, it in attributes.items() if it["requirement"] == "required"],
        "additionalProperties": False,
    }
    for constraint, names in (definition["constraints"] or {}).items():
        schema[{"at_least_one": "anyOf", "just_one": "oneOf"}[constraint]] = [{"required": [name]} for name in names]
    return schema


def _attribute(attribute: dict[str, Any]) -> dict[str, Any]:
    if "object_type" in attribute:
        value: dict[str, Any] = {"$ref": f"#/$defs/{attribute['object_type'].replace('/', '~1')}"}
    else:
        value = _type(attribute["type"])
    if "enum" in attribute:
        is_text = value["type"] == "string"
        value = {"enum": [key if is_text else int(key) for key in attribute["enum"]]}
    return {"type": "array", "items": value} if attribute.get("is_array") else value


def _type(name: str) -> dict[str, Any]:
    described = ocsf()["types"][name]
    schema = dict(_PRIMITIVES[name] if name in _PRIMITIVES else _type(described["type"]))
    if "regex" in described:
        schema["pattern"] = described["regex"]
    if "max_len" in described:
        schema["maxLength"] = described["max_len"]
    return schema


def _wrong_captions(value: dict[str, Any], definition: dict[str, Any], path: str = "$") -> list[str]:
    """Text siblings that do not say what OCSF says of their number; that of 99 is free, but not "Other"."""
    wrong = []
    for name, attribute in _allowed(definition).items():
        found = value.get(name)
        caption = attribute.get("enum", {}).get(str(found))
        sibling = value.get(_SIBLINGS.get(name, name.removesuffix("_id")))
        if caption is not None and (sibling == caption) == (found == OTHER):
            wrong.append(f"{path}.{name}: {found} is {caption}, not {sibling}")
        inner = ocsf()["objects"].get(attribute.get("object_type"), {"attributes": {}})
        for part in found if isinstance(found, list) else [found]:
            wrong += _wrong_captions(part, inner, f"{path}.{name}") if isinstance(part, dict) else []
    return wrong


def _dangling(document: dict[str, Any]) -> list[str]:
    """Observables whose value is not at the path that they name."""
    observables = document.get("observables", [])
    return [f"{it['name']} is not {it['value']}" for it in observables if it["value"] not in _at(document, it["name"])]


def _at(document: dict[str, Any], path: str) -> list[Any]:
    values: list[Any] = [document]
    for name in path.split("."):
        parts = [part for value in values for part in (value if isinstance(value, list) else [value])]
        values = [part[name] for part in parts if name in part]
    return values
