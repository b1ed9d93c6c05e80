"""Writes the JSON Schema of each JSON format of a signal, as files for those who process signals.

In: the structs of the formats. Out: one file per format, written by `python -m topics.signals.schemas`; a test compares
the files with the structs.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from topics.signals.ecs_objects import EcsSignal
from topics.signals.ocsf_objects import OcsfFinding

DIRECTORY = Path(__file__).parent

SCHEMAS: Mapping[str, type[msgspec.Struct]] = {"signal-ocsf.json": OcsfFinding, "signal-ecs.json": EcsSignal}
"""The struct that each file describes."""


def write() -> None:
    """Write every schema to its file."""
    for name, struct in SCHEMAS.items():
        (DIRECTORY / name).write_bytes(schema(struct))


def schema(struct: type[msgspec.Struct]) -> bytes:
    """Return the JSON Schema (2020-12) of a struct whose JSON omits absent attributes."""
    described: dict[str, Any] = msgspec.json.schema(struct)
    described["$defs"] = {name: _described(definition) for name, definition in described["$defs"].items()}
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **described}
    return msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=2) + b"\n"


def _described(definition: dict[str, Any]) -> dict[str, Any]:
    """Return a definition of msgspec that is equal under every Python: only 3.13 strips the indent of docstrings."""
    described = definition | {"description": inspect.cleandoc(definition["description"])}
    if "properties" in definition:
        described["properties"] = {name: _never_null(value) for name, value in definition["properties"].items()}
    return described


def _never_null(described: dict[str, Any]) -> dict[str, Any]:
    """Remove from msgspec's schema of an optional attribute the null that is never written.

    >>> _never_null({"anyOf": [{"type": "string"}, {"type": "null"}], "default": None})
    {'type': 'string'}
    """
    if described.get("default", ...) is not None:
        return described
    return next(choice for choice in described["anyOf"] if choice != {"type": "null"})
