"""The structs are OCSF's and survive a round trip."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given

from tests.support.findings import findings
from tests.support.ocsf_schema import ocsf
from topics.signals import ocsf_objects
from topics.signals.finding import Finding
from topics.signals.ocsf import document


def enum_of(attribute: str, owner: dict[str, Any]) -> dict[str, str]:
    """Return OCSF's numbers and captions of an attribute."""
    captions: dict[str, str] = owner["attributes"][attribute]["enum"]
    return captions


@pytest.mark.parametrize(
    ("enum", "attribute"),
    [
        (ocsf_objects.Activity, "activity_id"),
        (ocsf_objects.Severity, "severity_id"),
        (ocsf_objects.Status, "status_id"),
    ],
)
def test_captions_are_ocsfs(enum: type[ocsf_objects.Caption], attribute: str) -> None:
    """Each number has the caption that OCSF defines."""
    captions = enum_of(attribute, ocsf()["classes"]["compliance_finding"])

    assert {str(member.value): member.caption for member in enum}.items() <= captions.items()


@given(findings)
def test_signal_round_trip(finding: Finding) -> None:
    """Decoding returns the signal that was encoded."""
    written = document(finding, message="m", logged_ms=7)

    assert ocsf_objects.decode(ocsf_objects.encode(written)) == written


@pytest.mark.parametrize("value", [b"", b"{}", b"null", b"\xff", b'{"class_uid":2003,"surprise":1}'])
def test_decode_refuses_other_json(value: bytes) -> None:
    """Other JSON and input that is not JSON raise the same kind of error."""
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        ocsf_objects.decode(value)
