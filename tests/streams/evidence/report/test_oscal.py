"""Tests the report as OSCAL, with NIST's own schema."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from streams.cli.evidence_report import build
from streams.evidence.report import oscal
from tests.support.quarter import START_MS, Quarter

SCHEMA = Path("tests/fixtures/oscal/assessment-results-1.0.6.json.gz")


def schema() -> Any:  # noqa: ANN401 - JSON
    r"""NIST's schema; its patterns use Unicode character classes (\p{L}), which Python does not support."""
    text = gzip.decompress(SCHEMA.read_bytes()).decode()
    letters, digits = "A-Za-z\\u00c0-\\uffff", "0-9"
    assert r"\\p{" in text
    inside = re.compile(r"\[([^\]]*)\]")
    text = inside.sub(lambda found: found[0].replace(r"\\p{L}", letters).replace(r"\\p{N}", digits), text)
    return json.loads(text.replace(r"\\p{L}", f"[{letters}]").replace(r"\\p{N}", f"[{digits}]"))


@pytest.mark.parametrize(
    "quarter",
    [
        Quarter(Path(), 3),
        Quarter(Path(), 3, broken={3}, not_judged={30}, lost=(5_100, 5_140), dead_letters=1),
    ],
    ids=["whole", "not whole"],
)
def test_document_is_valid_oscal(tmp_path: Path, quarter: Quarter) -> None:
    """The OSCAL form of any report is valid, and the same each time."""
    quarter.root = tmp_path
    quarter.make()
    report = build(str(tmp_path), START_MS, None, None)

    document = json.loads(oscal.encode(report))

    assert [] == [error.message for error in jsonschema.Draft7Validator(schema()).iter_errors(document)]
    assert document == json.loads(oscal.encode(report))


def test_a_finding_is_satisfied_only_when_it_is_proven(tmp_path: Path) -> None:
    """What cannot be told is not satisfied, and the reason says that it did not fail."""
    quarter = Quarter(tmp_path, 3, broken={3}, not_judged={30})
    quarter.make()
    document = json.loads(oscal.encode(build(str(tmp_path), START_MS, None, None)))

    [result] = document["assessment-results"]["results"]

    assert {
        "HIPAA-164.312-b": ("not-satisfied", "fail"),
        "SOC2-CC6.1": ("not-satisfied", "other"),
        "SOC2-CC6.7": ("not-satisfied", "fail"),
    } == {
        one["target"]["target-id"]: (one["target"]["status"]["state"], one["target"]["status"]["reason"])
        for one in result["findings"]
    }
