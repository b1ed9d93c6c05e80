"""The JSON Schema of each JSON format of a signal, as files for those who read the signals.

In: the structs of the formats. Out: one file a format, written by `python -m topics.signals.schemas`; a test holds them
equal.
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
    """The JSON Schema (2020-12) of a struct whose absent attributes are left out of its JSON."""
    described: dict[str, Any] = msgspec.json.schema(struct)
    described["$defs"] = {name: _described(definition) for name, definition in described["$defs"].items()}
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **described}
    return msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=2) + b"\n"


def _described(definition: dict[str, Any]) -> dict[str, Any]:
    """A definition of msgspec's, the same under every Python (3.13 takes the indent from docstrings, 3.11 does not)."""
    described = definition | {"description": inspect.cleandoc(definition["description"])}
    if "properties" in definition:
        described["properties"] = {name: _never_null(value) for name, value in definition["properties"].items()}
    return described


def _never_null(described: dict[str, Any]) -> dict[str, Any]:
    """An attribute that may be absent, as msgspec describes it, without the null that is never written.

    >>> _never_null({"anyOf": [{"type": "string"}, {"type": "null"}], "default": None})
    {'type': 'string'}
    """
    if described.get("default", ...) is not None:
        return described
    return next(choice for choice in described["anyOf"] if choice != {"type": "null"})
