r"""Encodes findings in the Common Event Format, CEF:0.

In: a `Finding` and its sentence. Out: one line of UTF-8 without a line break, shorter than 64 KiB; equal findings give
equal bytes.

    CEF:0|BeTrace|BeTrace|version|rule id|title|severity|key=value key=value …

In the header `\` and `|` are escaped, in values `\`, `=` and line breaks (as `\n` and `\r`); any other non-printable
character becomes a space. A text longer than its key allows is truncated with a mark. CEF has no keys for witnesses: a
line has their number, and the span, service and user of the first one. `start` and `end` are the first and the last
start of a witness, in span time; custom keys hold the window's bounds, in record time. Of what the rule states for
triage, a line has the risk score and the ids of ATT&CK and ATLAS. How it is grouped is in keys of the vendor, such as
`BeTraceDedupUid`, because CEF defines none. `read` parses a line.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from topics.signals import ocsf
from topics.signals.finding import Finding, SignalWitness
from topics.signals.truncate import truncate_text

# CEF limits characters; a text of this many bytes never has more characters.
SHORT_BYTES = 128
TEXT_BYTES = 1023
STRING_BYTES = 4000

SEVERITIES = {"info": 1, "low": 3, "medium": 5, "high": 8, "critical": 10}
"""CEF's number for each severity: up to 3 is low, up to 6 medium, up to 8 high, up to 10 very high."""

LABELS = {
    "cs1": "traceId",
    "cs2": "controls",
    "cs3": "missing",
    "cs4": "present",
    "cs5": "source",
    "cs6": "ruleFingerprint",
    "cn1": "revision",
    "cn2": "witnesses",
    "deviceCustomDate1": "windowBegin",
    "deviceCustomDate2": "windowEnd",
    "cn3": "riskScore",
    "flexString1": "spanId",
    "flexString2": "techniques",
    "c6a2": "Source IPv6 Address",
}
"""The label of each custom key in use; a line states it as `cs1Label=traceId`."""

DEDUP_UID, DEDUP_BY, DEDUP_FROM, DEDUP_TO = (f"BeTraceDedup{name}" for name in ("Uid", "By", "From", "To"))

_HEADER_FIELDS = 7
_ESCAPES = str.maketrans({"\\": r"\\", "=": r"\=", "\n": r"\n", "\r": r"\r"})
_HEADER_ESCAPES = str.maketrans({"\\": r"\\", "|": r"\|"})
_ESCAPED = re.compile(r"\\(.)")
_HEADER_FIELD = re.compile(r"((?:\\.|[^\\|])*)\|")
_PAIR = re.compile(r"(?:^| )([A-Za-z0-9]+)=((?:\\.|[^\\=])*)(?= [A-Za-z0-9]+=|$)")


def encode(finding: Finding, *, message: str) -> bytes:
    """Encode a finding as a line of CEF."""
    rule, product = finding.rule, ocsf.PRODUCT
    head = ("CEF:0", product.vendor_name, product.name, product.version or "", rule.id, rule.title)
    fields = [_header(truncate_text(each, TEXT_BYTES)) for each in head]
    pairs = [f"{key}={_value(text)}" for key, text in _extension(finding, message) if text]
    return "|".join([*fields, str(SEVERITIES[rule.severity]), " ".join(pairs)]).encode()


def read(line: str) -> tuple[list[str], dict[str, str]]:
    r"""Parse a line into its seven header fields and its keys; raises `ValueError` if the line is not CEF.

    >>> read(r"CEF:0|v|p|1|a|x \| y|5|msg=a\=b c cnt=2")
    (['CEF:0', 'v', 'p', '1', 'a', 'x | y', '5'], {'msg': 'a=b c', 'cnt': '2'})
    """
    fields: list[str] = []
    start = 0
    while len(fields) < _HEADER_FIELDS and (match := _HEADER_FIELD.match(line, start)):
        fields.append(_ESCAPED.sub(r"\1", match[1]))
        start = match.end()
    if len(fields) < _HEADER_FIELDS or fields[0] != "CEF:0":
        raise ValueError("the line lacks a CEF:0 header of seven fields")
    return fields, {key: _ESCAPED.sub(_unescape, text) for key, text in _PAIR.findall(line[start:])}


def _unescape(escape: re.Match[str]) -> str:
    return {"n": "\n", "r": "\r"}.get(escape[1], escape[1])


def _extension(finding: Finding, message: str) -> Iterator[tuple[str, str]]:
    """Yield keys and texts in a fixed order; a custom key follows its label, and both are omitted without a text."""
    starts_ns = [witness.start_ns for witness in finding.witnesses if witness.start_ns is not None]
    yield "rt", str(finding.closed_ms)
    if starts_ns:
        yield "start", str(min(starts_ns) // 1_000_000)
        yield "end", str(max(starts_ns) // 1_000_000)
    yield "externalId", finding.revision_uid
    yield "outcome", finding.verdict
    yield "cat", finding.rule.kind
    yield "msg", truncate_text(message, TEXT_BYTES)
    yield from _actor(finding.witnesses)
    for key, text in _custom_fields(finding).items():
        if text:
            yield f"{key}Label", LABELS[key]
            yield key, truncate_text(text, STRING_BYTES)
    if (dedup := finding.dedup) is not None:
        yield DEDUP_UID, dedup.uid
        yield DEDUP_BY, truncate_text(", ".join(dedup.by), STRING_BYTES)
        yield DEDUP_FROM, str(dedup.from_ms)
        yield DEDUP_TO, str(dedup.to_ms)


def _actor(witnesses: tuple[SignalWitness, ...]) -> Iterator[tuple[str, str]]:
    """Yield the service, the user and the client, each of the first witness that has one."""
    service = next((witness.service for witness in witnesses if witness.service), None)
    user = next(filter(None, map(ocsf.user, witnesses)), None)
    client = next(filter(None, map(ocsf.client, witnesses)), None)
    yield "sourceServiceName", truncate_text(service or "", TEXT_BYTES)
    if user is not None:
        yield "suid", truncate_text(user.uid or "", TEXT_BYTES)
        yield "suser", truncate_text(user.name or "", TEXT_BYTES)
    if client is not None:
        yield "src", client.ip if client.ip and ipaddress.ip_address(client.ip).version == 4 else ""  # noqa: PLR2004
        yield "shost", truncate_text(client.hostname or "", TEXT_BYTES)


def _custom_fields(finding: Finding) -> dict[str, str]:
    witnesses = finding.witnesses
    client = next(filter(None, map(ocsf.client, witnesses)), None)
    address = client.ip if client is not None and client.ip and ":" in client.ip else ""
    return {
        "cs1": finding.trace_id.hex(),
        "cs2": ", ".join(sorted(set(finding.rule.controls))),
        "cs3": ", ".join(finding.missing),
        "cs4": ", ".join(finding.present),
        "cs5": " ".join(f"{at.topic}/{at.partition}/{at.first_offset}-{at.last_offset}" for at in finding.sources),
        "cs6": finding.rule.fingerprint,
        "cn1": str(finding.revision),
        "cn2": str(len(witnesses)),
        "deviceCustomDate1": str(finding.first_ms),
        "deviceCustomDate2": str(finding.last_ms),
        "flexString1": next((witness.span_id.hex() for witness in witnesses if not witness.is_log), ""),
        "cn3": "" if finding.rule.risk_score is None else str(finding.rule.risk_score),
        "flexString2": ", ".join(sorted({*finding.rule.attack, *finding.rule.atlas})),
        "c6a2": address,
    }


def _header(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text).translate(_HEADER_ESCAPES)


def _value(text: str) -> str:
    r"""Format a value for the right side of `=`; strip it, since outer spaces would read as the space between keys.

    >>> _value("a=b\\c\nd\te")
    'a\\=b\\\\c\\nd e'
    """
    return (
        "".join(char if char.isprintable() or char in "\n\r" else " " for char in text).strip(" ").translate(_ESCAPES)
    )
