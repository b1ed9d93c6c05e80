"""The JSON Schema of each format of a signal, as files for those who read the signals.

In: the structs of the formats. Out: one file a format, written by `python -m topics.schemas`; a test holds them equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from topics import ocsf_objects

DIRECTORY = Path(__file__).parent

SCHEMAS: Mapping[str, Callable[[], bytes]] = {"signal-ocsf.json": ocsf_objects.schema}


def write() -> None:
    """Write every schema to its file."""
    for name, schema in SCHEMAS.items():
        (DIRECTORY / name).write_bytes(schema())
