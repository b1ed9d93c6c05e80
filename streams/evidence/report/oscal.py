"""Encodes the report as OSCAL assessment results.

In: a `Report`. Out: JSON of NIST's OSCAL 1.0.6 (later readers accept it too). A control's finding is "satisfied" only
if the report says that all of its population held over the whole period; OSCAL has nothing between that and
"not-satisfied", so the reason says which it is: `fail`, or `other` if it cannot be told.

Equal reports give equal uuids (UUIDv5 of the log, the period and the thing's name).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from streams.evidence.report.model import NOT_VERIFIED, ControlReport, Report, RuleReport
from topics.times import rfc3339_clamped

VERSION = "1.0.6"
NAMESPACE = uuid.UUID("b1d62f0c-7f43-4c0b-a1de-6ad3cb1d0c56")
PROPERTIES = "urn:betrace:evidence:1"

Json: TypeAlias = "dict[str, Json] | list[Json] | str"

_NO_TOKEN = re.compile(r"[^\w.-]+", re.ASCII)


def encode(report: Report) -> bytes:
    """Return the document."""
    return msgspec.json.format(msgspec.json.encode({"assessment-results": document(report)}), indent=1)


def document(report: Report) -> Json:
    """Return the assessment results."""
    plan = _uuid(report, "plan")
    return {
        "uuid": _uuid(report, "results"),
        "metadata": {
            "title": f"Operation of controls over {report.period}",
            "last-modified": rfc3339_clamped(report.made_ms),
            "version": str(report.schema),
            "oscal-version": VERSION,
        },
        "import-ap": {"href": f"#{plan}"},
        "results": [_result(report)],
        "back-matter": {
            "resources": [
                {
                    "uuid": plan,
                    "title": "Plan",
                    "description": "Every trace is judged by the rules in force; there is no plan besides the rules.",
                }
            ]
        },
    }


def token(text: str) -> str:
    """Return a control as an OSCAL token.

    >>> token("SOC2/CC6.1"), token("8.2.3")
    ('SOC2-CC6.1', '_8.2.3')
    """
    made = _NO_TOKEN.sub("-", text).strip("-")
    return made if made[:1].isalpha() else f"_{made}"


def _result(report: Report) -> Json:
    named = [control for control in report.controls if control.control is not None]
    ids: list[Json] = [{"control-id": token(control.control or "")} for control in named]
    selection: Json = {"include-controls": ids} if ids else {"description": "No rule names a control."}
    result: dict[str, Json] = {
        "uuid": _uuid(report, "result"),
        "title": f"Rules on traces, {report.period}",
        "description": _reason(report, report.statement),
        "start": rfc3339_clamped(report.from_ms),
        "end": rfc3339_clamped(report.to_ms),
        "props": [*_input_props(report)],
        "reviewed-controls": {"control-selections": [selection]},
    }
    if report.rules:
        result["observations"] = [_observation(report, rule) for rule in report.rules]
    if named:
        result["findings"] = [_finding(report, control) for control in named]
    return result


def _reason(report: Report, statement: str) -> str:
    return statement if report.evidence.verified else f"{NOT_VERIFIED} {statement}"


def _input_props(report: Report) -> Iterable[Json]:
    judged, taken = report.judged, report.input
    yield _prop("evidence-verified", "yes" if report.evidence.verified else "no")
    yield _prop("judged-ms", judged.judged_ms)
    yield _prop("period-ms", judged.period_ms)
    yield _prop("hours-not-judged", judged.hours_with_gaps)
    yield _prop("traces-seen-estimate", taken.traces_seen_estimate)
    yield _prop("source-records-lost", taken.lost)
    yield _prop("source-records-undecodable", "unknown" if taken.undecodable is None else taken.undecodable)


def _observation(report: Report, rule: RuleReport) -> Json:
    evidence = report.evidence
    return {
        "uuid": _uuid(report, f"rule {rule.id}"),
        "title": rule.title,
        "description": _reason(report, rule.statement),
        "props": [
            _prop("rule-id", token(rule.id)),
            _prop("applicable", rule.applicable),
            _prop("held", rule.counts.held),
            _prop("broken", rule.counts.broken),
            _prop("undetermined", rule.counts.undetermined),
            _prop("excepted", rule.counts.excepted),
            _prop("judged-ms", rule.judged.judged_ms),
            *(_prop("rule-fingerprint", fingerprint) for fingerprint in rule.fingerprints),
            *(_prop("backfill", f"{each.origin} by {each.by}") for each in rule.backfills),
        ],
        "methods": ["TEST"],
        "types": ["control-objective"],
        "relevant-evidence": [
            {
                "description": f"{evidence.head_size} seals of {evidence.origin or 'a log'}, Merkle root "
                f"{evidence.head_root or 'not readable'}. Verify with: {report.verify}",
            }
        ],
        "collected": rfc3339_clamped(report.to_ms),
    }


def _finding(report: Report, control: ControlReport) -> Json:
    name = control.control or ""
    state = "satisfied" if control.is_proven else "not-satisfied"
    reason = "pass" if control.is_proven else "fail" if control.counts.broken > 0 else "other"
    return {
        "uuid": _uuid(report, f"control {name}"),
        "title": name,
        "description": f"{control.counts.held} of {control.applicable} held, {control.counts.broken} broken, "
        f"{control.counts.undetermined} undetermined. {_reason(report, report.statement)}",
        "target": {
            "type": "objective-id",
            "target-id": token(name),
            "status": {"state": state, "reason": reason},
        },
        "related-observations": [{"observation-uuid": _uuid(report, f"rule {rule}")} for rule in control.rules],
    }


def _prop(name: str, value: int | str) -> Json:
    return {"name": name, "ns": PROPERTIES, "value": str(value)}


def _uuid(report: Report, name: str) -> str:
    return str(uuid.uuid5(NAMESPACE, f"{report.evidence.origin}\n{report.from_ms}\n{report.to_ms}\n{name}"))
