"""The fields of ECS 9.4.0 that a signal may use, and what of a document does not agree with them."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import Any

from tests.support import paths

FILE = paths.FIXTURES / "ecs" / "fields-9.4.0.json"

OWN = "betrace"


@cache
def fields() -> dict[str, dict[str, Any]]:
    """The file: type, whether a list, and allowed values, by name."""
    read: dict[str, dict[str, Any]] = json.loads(FILE.read_text())
    return read


def problems(value: bytes) -> list[str]:
    """What is not ECS in a JSON document, but for what is our own."""
    return [problem for name, found in _leaves(json.loads(value)) for problem in _problems(name, found)]


def _leaves(document: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, found in document.items():
        if name == OWN:
            continue
        if isinstance(found, dict):
            yield from ((f"{name}.{below}", leaf) for below, leaf in _leaves(found))
        else:
            yield name, found


def _problems(name: str, found: Any) -> Iterator[str]:  # noqa: ANN401, any JSON
    field = fields().get(name)
    if field is None:
        yield f"{name} is no field of ECS"
        return
    if isinstance(found, list) != field.get("array", False):
        yield f"{name} is a list, or should be one"
    for each in found if isinstance(found, list) else [found]:
        if not _is(field["type"], each):
            yield f"{name} is {each!r}, no {field['type']}"
        if "allowed" in field and each not in field["allowed"]:
            yield f"{name} is {each!r}, which ECS does not allow"


def _is(kind: str, found: object) -> bool:
    if kind == "long":
        return isinstance(found, int)
    if kind == "float":
        return isinstance(found, int | float)
    if not isinstance(found, str):
        return False
    try:
        if kind == "ip":
            ipaddress.ip_address(found)
        if kind == "date":
            datetime.fromisoformat(found)
    except ValueError:
        return False
    return True
