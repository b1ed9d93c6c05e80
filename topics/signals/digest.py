"""`digest(value) -> Digest`: what a signal of any format tells a person who looks at signals.

In: the value of a record of `betrace.signals`. Out: the same few facts, whether it was written as OCSF, ECS or CEF.
A line of CEF shows no witnesses, so its digest has none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from topics.signals import cef, ecs_objects, ocsf_objects
from topics.signals.finding import Shown, SourceRange
from topics.times import EPOCH
from topics.values import Scalar

SEVERITIES = ("info", "low", "medium", "high", "critical")
"""From the least to the most severe."""

_SOURCE = re.compile(r"(\S+)/(\d{1,10})/(\d{1,19})-(\d{1,19})")
_OF_CEF = {number: severity for severity, number in cef.SEVERITIES.items()}


class NoSignalError(ValueError):
    """A record is no signal that this version knows; the message says why."""


@dataclass(frozen=True, slots=True)
class Digest:
    """One revision of a finding; `time_ms` is when its window closed in record time, `trace_id` is lower-case hex.

    `first_ms` is when the window began, None in CEF of an earlier version. `start_ms` is the earliest start of a
    witness, as its span says, None where no witness has one.
    """

    uid: str
    revision: int
    time_ms: int
    rule_id: str
    title: str
    severity: str
    verdict: str
    trace_id: str
    message: str
    missing: tuple[str, ...]
    present: tuple[str, ...]
    witnesses: tuple[Shown, ...]
    sources: tuple[SourceRange, ...]
    first_ms: int | None = None
    start_ms: int | None = None

    @property
    def happened_ms(self) -> int:
        """When it happened; where no span says that, when it was judged."""
        return self.time_ms if self.start_ms is None else self.start_ms


def digest(value: bytes) -> Digest:
    """The digest of a signal.

    Raises:
        NoSignalError: the value is in none of the formats.
    """
    try:
        if value.startswith(b"CEF:"):
            return _of_cef(value.decode())
        return _of_ecs(value) if value.startswith(b'{"@timestamp"') else _of_ocsf(value)
    except (ValueError, KeyError, IndexError) as error:  # msgspec's are ValueErrors
        raise NoSignalError(str(error)) from error


def _of_ocsf(value: bytes) -> Digest:
    signal = ocsf_objects.decode(value)
    said = signal.unmapped.betrace
    data = [evidence.data for evidence in signal.evidences or ()]
    return Digest(
        uid=signal.finding_info.uid,
        revision=said.revision,
        time_ms=signal.time,
        rule_id=said.rule.id,
        title=signal.finding_info.title,
        severity=SEVERITIES[signal.severity_id - 1],
        verdict=said.verdict,
        trace_id=said.trace_id,
        message=signal.message,
        missing=tuple(said.missing),
        present=tuple(said.present),
        witnesses=tuple(_shown(each, dict(each.attributes)) for each in data),
        sources=_sources(said),
        first_ms=said.window.first_ms,
        start_ms=signal.start_time,
    )


def _of_ecs(value: bytes) -> Digest:
    signal = ecs_objects.decode(value)
    said = signal.betrace
    return Digest(
        uid=said.uid,
        revision=said.revision,
        time_ms=_ms(signal.timestamp),
        rule_id=said.rule.id,
        title=signal.rule.name,
        severity=said.severity,
        verdict=said.verdict,
        trace_id=said.trace_id,
        message=signal.message,
        missing=tuple(said.missing),
        present=tuple(said.present),
        witnesses=tuple(_shown(each, {it.name: it.value for it in each.attributes}) for each in said.evidences),
        sources=_sources(said),
        first_ms=said.window.first_ms,
        start_ms=None if signal.event.start is None else _ms(signal.event.start),
    )


def _of_cef(line: str) -> Digest:
    header, keys = cef.read(line)
    return Digest(
        uid=keys["externalId"].rpartition(".")[0],
        revision=int(keys["cn1"]),
        time_ms=int(keys["rt"]),
        rule_id=header[4],
        title=header[5],
        severity=_OF_CEF[int(header[6])],
        verdict=keys["outcome"],
        trace_id=keys["cs1"],
        message=keys["msg"],
        missing=_listed(keys.get("cs3")),
        present=_listed(keys.get("cs4")),
        witnesses=(),
        sources=tuple(
            SourceRange(topic, int(partition), int(first), int(last))
            for topic, partition, first, last in _SOURCE.findall(keys.get("cs5", ""))
        ),
        first_ms=int(keys["deviceCustomDate1"]) if "deviceCustomDate1" in keys else None,
        start_ms=int(keys["start"]) if "start" in keys else None,
    )


def _shown(data: ocsf_objects.EvidenceData | ecs_objects.Evidence, attributes: dict[str, Scalar]) -> Shown:
    return Shown(
        subject=data.subject,
        span_id=bytes.fromhex(data.span_id or data.log_id or ""),
        name=data.name,
        service=data.service,
        start_ns=data.start_ns,
        duration_ns=data.duration_ns,
        attributes=attributes,
        is_log=data.log_id is not None,
    )


def _sources(said: ocsf_objects.Betrace) -> tuple[SourceRange, ...]:
    return tuple(SourceRange(at.topic, at.partition, at.first_offset, at.last_offset) for at in said.source)


def _ms(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(milliseconds=1)


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(text.split(", ")) if text else ()
