"""The published JSON Schemas describe the signals."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator

from tests.support.findings import findings
from topics.signals import ecs, ocsf
from topics.signals.finding import Finding
from topics.signals.schemas import DIRECTORY, SCHEMAS, schema

FORMATS = {"signal-ocsf.json": ocsf.encode, "signal-ecs.json": ecs.encode}
VALIDATORS = {name: Draft202012Validator(json.loads((DIRECTORY / name).read_text())) for name in FORMATS}


@pytest.mark.parametrize("name", SCHEMAS)
def test_file_is_up_to_date(name: str) -> None:
    """The file is up to date; `python -m topics.signals.schemas` rewrites it."""
    assert (DIRECTORY / name).read_bytes() == schema(SCHEMAS[name])


def test_every_file_has_a_format() -> None:
    """There is no schema of a format that no longer exists."""
    assert {path.name for path in DIRECTORY.glob("*.json")} == set(SCHEMAS)


@pytest.mark.parametrize("name", FORMATS)
@given(finding=findings)
def test_any_signal_is_valid(name: str, finding: Finding) -> None:
    """Any signal is valid under the schema of its format."""
    document = json.loads(FORMATS[name](finding, message="m", logged_ms=7, untruncated_bytes=600_000))

    assert list(VALIDATORS[name].iter_errors(document)) == []


@pytest.mark.parametrize(("name", "nullable"), [("signal-ocsf.json", ["EvidenceData"]), ("signal-ecs.json", [])])
def test_absent_attributes_are_not_null(name: str, nullable: list[str]) -> None:
    """The schema allows null only as the value of a span's attribute."""
    schema = VALIDATORS[name].schema
    assert isinstance(schema, dict)

    actual = [name for name, it in schema["$defs"].items() if '"null"' in json.dumps(it)]

    assert nullable == actual
