"""The published JSON Schema says what is written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator

from tests.topics.findings import findings
from topics import ocsf
from topics.finding import Finding
from topics.schemas import DIRECTORY, SCHEMAS

OCSF = Draft202012Validator(json.loads((DIRECTORY / "signal-ocsf.json").read_text()))


@pytest.mark.parametrize("name", SCHEMAS)
def test_file_is_what_the_structs_say(name: str) -> None:
    """The file is generated; `python -m topics.schemas` writes it anew."""
    assert (DIRECTORY / name).read_bytes() == SCHEMAS[name]()


def test_every_file_has_a_format() -> None:
    """No schema of a format that is gone lies about."""
    assert {path.name for path in DIRECTORY.glob("*.json")} == set(SCHEMAS)


@given(findings)
def test_any_signal_is_valid(finding: Finding) -> None:
    """Whatever was found, the signal is as the schema says."""
    document = json.loads(ocsf.encode(finding, message="m", logged_ms=7, uncut_bytes=600_000))

    assert list(OCSF.iter_errors(document)) == []


def test_absent_attributes_are_not_null() -> None:
    """The schema allows no null but as the value of a span's attribute."""
    definitions = OCSF.schema["$defs"]

    nullable = [name for name, it in definitions.items() if '"null"' in json.dumps(it)]

    assert nullable == ["EvidenceData"]
