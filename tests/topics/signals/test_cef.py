"""A signal in one line of CEF."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support.findings import ACCESS, AMENDED, DEDUP, FINDING, GROUPED, TRIAGED, findings
from topics.signals import cef
from topics.signals.finding import Finding


def written(finding: Finding, message: str = "m") -> tuple[list[str], dict[str, str]]:
    """Return the header and the keys of the finding's line."""
    return cef.read(cef.encode(finding, message=message).decode())


def test_typical_signal() -> None:
    """A typical signal, byte for byte."""
    line = cef.encode(FINDING, message="user = u|17").decode()

    version = line.split("|")[3]
    assert line == (
        f"CEF:0|BeTrace|BeTrace|{version}|pii-access-is-logged|SOC2 CC6.7: PII access must be logged|8|"
        "rt=1767614371500 start=1767614340123 end=1767614340123 "
        f"externalId={FINDING.uid}.1 outcome=broken cat=invariant msg=user \\= u|17 "
        "sourceServiceName=checkout suid=u-17 src=192.0.2.7 "
        "cs1Label=traceId cs1=4bf92f3577b34da6a3ce929d0e0e4736 cs2Label=controls cs2=SOC2/CC6.7 "
        "cs3Label=missing cs3=audit.log cs5Label=source cs5=otlp_spans/3/1041-1049 "
        "cs6Label=ruleFingerprint cs6=5f2ac0de cn1Label=revision cn1=1 cn2Label=witnesses cn2=1 "
        "deviceCustomDate1Label=windowBegin deviceCustomDate1=1767614340500 "
        "deviceCustomDate2Label=windowEnd deviceCustomDate2=1767614341500 "
        "flexString1Label=spanId flexString1=00f067aa0ba902b7"
    )


@given(findings, st.text(st.characters(codec="utf-8")))
def test_any_finding_is_one_line(finding: Finding, message: str) -> None:
    """Any finding becomes one short line, for every reader's definition of a line."""
    line = cef.encode(finding, message=message).decode()

    assert line.splitlines() == [line]
    assert len(line.encode()) < 64 * 1024


@given(
    st.text(
        st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]) | st.sampled_from("\n\r\\=| "), max_size=60
    )
)
def test_escapes_round_trip(text: str) -> None:
    """A text with every character that CEF escapes survives a round trip, except for spaces at its ends."""
    rule = replace(FINDING.rule, title=text)

    header, keys = written(replace(FINDING, rule=rule), message=text)

    printable = "".join(char if char.isprintable() else " " for char in text)
    kept = "".join(char if char.isprintable() or char in "\n\r" else " " for char in text).strip(" ")
    assert header[5] == printable
    assert keys.get("msg", "") == kept


def test_a_value_cannot_forge_a_key() -> None:
    """A span value that looks like another key stays inside its own value."""
    witness = replace(ACCESS, service="x outcome=held cs1=0\ncat=y", attributes={})

    _, keys = written(replace(FINDING, witnesses=(witness,)))

    assert keys["sourceServiceName"] == "x outcome=held cs1=0\ncat=y"
    assert (keys["outcome"], keys["cs1"], keys["cat"]) == ("broken", FINDING.trace_id.hex(), "invariant")


@pytest.mark.parametrize(
    ("severity", "number"), [("info", "1"), ("low", "3"), ("medium", "5"), ("high", "8"), ("critical", "10")]
)
def test_severity(severity: str, number: str) -> None:
    """Severities are in CEF's bands."""
    assert written(replace(FINDING, rule=replace(FINDING.rule, severity=severity)))[0][6] == number


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", {"src": "192.0.2.7"}),
        ("2001:db8::7", {"c6a2": "2001:db8::7"}),
        ("gateway.example", {"shost": "gateway.example"}),
        ("[masked]", {}),
    ],
)
def test_client(address: str, expected: dict[str, str]) -> None:
    """An address goes to the key of its kind; text that is not an address goes nowhere."""
    witness = replace(ACCESS, attributes={"client.address": address})

    _, keys = written(replace(FINDING, witnesses=(witness,)))

    assert {key: keys[key] for key in ("src", "c6a2", "shost") if key in keys} == expected


def test_long_texts_are_truncated() -> None:
    """A text longer than its key allows ends with the mark."""
    rule = replace(FINDING.rule, controls=("x" * 5000,))

    header, keys = written(replace(AMENDED, rule=rule), message="y" * 2000)

    assert header[0] == "CEF:0"
    assert keys["msg"] == "y" * (1023 - 8) + "…[cut]"
    assert keys["cs2"] == "x" * (4000 - 8) + "…[cut]"


@pytest.mark.parametrize("line", ["", "CEF:0|a|b", "{}", "CEF:1|a|b|c|d|e|1|x=y"])
def test_line_that_is_not_cef_is_refused(line: str) -> None:
    """A line in another format is refused."""
    with pytest.raises(ValueError, match=r"lacks a CEF:0 header of seven fields"):
        cef.read(line)


def test_metadata_for_triage_has_custom_keys() -> None:
    """A line has the risk score and the ids of techniques and tactics."""
    _, keys = written(TRIAGED)

    assert (keys["cn3Label"], keys["cn3"]) == ("riskScore", "73")
    assert (keys["flexString2Label"], keys["flexString2"]) == ("techniques", "AML.T0051.000, T1005, T1567.002, TA0010")


def test_dedup_has_keys_of_the_vendor() -> None:
    """A line says how it is grouped; one of a rule without dedup has no such key."""
    _, keys = written(GROUPED)

    assert {key: text for key, text in keys.items() if key.startswith("BeTrace")} == {
        "BeTraceDedupUid": DEDUP.uid,
        "BeTraceDedupBy": "tenant.id, user.id",
        "BeTraceDedupFrom": "1767610800000",
        "BeTraceDedupTo": "1767614400000",
    }
    assert not any(key.startswith("BeTrace") for key in written(FINDING)[1])
