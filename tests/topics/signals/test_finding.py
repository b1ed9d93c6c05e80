"""The identity of a finding, and the identifying attributes of a witness."""

from __future__ import annotations

from msgspec.structs import replace

from tests.support.findings import FINDING, shown
from topics.signals.finding import uid


def test_uid_is_pinned() -> None:
    """The uid of a known finding never changes, or every receiver would take it for a new one."""
    actual = uid("pii-access-is-logged", "5f2ac0de", FINDING.trace_id, 1_767_614_340_500)

    assert actual == "171f0aac-eb3d-5bcd-be50-f539abe8fd1d"


def test_uid_is_that_of_the_chain() -> None:
    """A later revision, window or verdict does not change the uid."""
    later = replace(FINDING, revision=2, verdict="held", first_ms=1, last_ms=2, closed_ms=3, witnesses=())

    assert later.uid == FINDING.uid


def test_uid_distinguishes_findings() -> None:
    """Another rule, another text of it, another trace or another chain is another finding."""
    others = [
        replace(FINDING, rule=replace(FINDING.rule, id="another")),
        replace(FINDING, rule=replace(FINDING.rule, fingerprint="0")),
        replace(FINDING, trace_id=bytes(16)),
        replace(FINDING, first_fact_ms=FINDING.first_fact_ms + 1),
    ]

    assert len({finding.uid for finding in [FINDING, *others]}) == 5


def test_revision_uid_distinguishes_revisions() -> None:
    """A receiver that deduplicates by the revision uid keeps each revision."""
    revised = replace(FINDING, revision=2)

    assert revised.revision_uid == f"{FINDING.uid}.2"


def test_text_of_an_attribute_that_identifies_nobody() -> None:
    """Absent, empty and boolean attributes identify nobody."""
    witness = replace(shown("a"), attributes={"empty": "", "flag": True, "null": None, "number": 0})

    actual = [witness.text(name) for name in ("absent", "empty", "flag", "null", "number")]

    assert actual == [None, None, None, None, "0"]
