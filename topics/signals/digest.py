"""Reads signals of any format into a `Digest`, the data that people look at.

In: the value of a record of `betrace.signals`. Out: the same digest, whether it was written as OCSF, ECS or CEF. A line
of CEF has no witnesses, so neither has its digest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from topics.signals import cef, ecs_objects, ocsf_objects
from topics.signals.finding import Dedup, SignalWitness, SourceRange
from topics.times import EPOCH
from topics.values import Scalar

SEVERITIES = ("info", "low", "medium", "high", "critical")
"""The severities, from the least to the most severe."""

_SOURCE = re.compile(r"(\S+)/(\d{1,10})/(\d{1,19})-(\d{1,19})")
_CEF_SEVERITIES = {number: severity for severity, number in cef.SEVERITIES.items()}


class NotASignalError(ValueError):
    """A record is not a signal that this version can read; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """One revision of a finding; `time_ms` is the record time at which its window closed, `trace_id` is lower-case hex.

    `first_ms` is the start of the window, None in CEF of an earlier version. `start_ms` is the earliest start of a
    witness, in span time, None when no witness has one. `dedup` is None when the rule has none.
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
    witnesses: tuple[SignalWitness, ...]
    sources: tuple[SourceRange, ...]
    first_ms: int | None = None
    start_ms: int | None = None
    dedup: Dedup | None = None

    @property
    def happened_ms(self) -> int:
        """The time of the event in span time; without one, the time at which it was judged."""
        return self.time_ms if self.start_ms is None else self.start_ms


def digest(value: bytes) -> Digest:
    """Read the digest of a signal.

    Raises:
        NotASignalError: the value has none of the formats.
    """
    try:
        if value.startswith(b"CEF:"):
            return _from_cef(value.decode())
        return _from_ecs(value) if value.startswith(b'{"@timestamp"') else _from_ocsf(value)
    except (ValueError, KeyError, IndexError) as error:  # msgspec's are ValueErrors
        raise NotASignalError(str(error)) from error


def _from_ocsf(value: bytes) -> Digest:
    signal = ocsf_objects.decode(value)
    betrace = signal.unmapped.betrace
    data = [evidence.data for evidence in signal.evidences or ()]
    return Digest(
        uid=signal.finding_info.uid,
        revision=betrace.revision,
        time_ms=signal.time,
        rule_id=betrace.rule.id,
        title=signal.finding_info.title,
        severity=SEVERITIES[signal.severity_id - 1],
        verdict=betrace.verdict,
        trace_id=betrace.trace_id,
        message=signal.message,
        missing=tuple(betrace.missing),
        present=tuple(betrace.present),
        witnesses=tuple(_witness(each, dict(each.attributes)) for each in data),
        sources=_sources(betrace),
        first_ms=betrace.window.first_ms,
        start_ms=signal.start_time,
        dedup=_dedup(betrace),
    )


def _from_ecs(value: bytes) -> Digest:
    signal = ecs_objects.decode(value)
    betrace = signal.betrace
    return Digest(
        uid=betrace.uid,
        revision=betrace.revision,
        time_ms=_ms(signal.timestamp),
        rule_id=betrace.rule.id,
        title=signal.rule.name,
        severity=betrace.severity,
        verdict=betrace.verdict,
        trace_id=betrace.trace_id,
        message=signal.message,
        missing=tuple(betrace.missing),
        present=tuple(betrace.present),
        witnesses=tuple(_witness(each, {one.name: one.value for one in each.attributes}) for each in betrace.evidences),
        sources=_sources(betrace),
        first_ms=betrace.window.first_ms,
        start_ms=None if signal.event.start is None else _ms(signal.event.start),
        dedup=_dedup(betrace),
    )


def _from_cef(line: str) -> Digest:
    header, keys = cef.read(line)
    return Digest(
        uid=keys["externalId"].rpartition(".")[0],
        revision=int(keys["cn1"]),
        time_ms=int(keys["rt"]),
        rule_id=header[4],
        title=header[5],
        severity=_CEF_SEVERITIES[int(header[6])],
        verdict=keys["outcome"],
        trace_id=keys["cs1"],
        message=keys["msg"],
        missing=_split_list(keys.get("cs3")),
        present=_split_list(keys.get("cs4")),
        witnesses=(),
        sources=tuple(
            SourceRange(topic, int(partition), int(first), int(last))
            for topic, partition, first, last in _SOURCE.findall(keys.get("cs5", ""))
        ),
        first_ms=int(keys["deviceCustomDate1"]) if "deviceCustomDate1" in keys else None,
        start_ms=int(keys["start"]) if "start" in keys else None,
        dedup=_cef_dedup(keys) if cef.DEDUP_UID in keys else None,
    )


def _dedup(betrace: ocsf_objects.Betrace) -> Dedup | None:
    dedup = betrace.dedup
    return None if dedup is None else Dedup(dedup.uid, tuple(dedup.by), dedup.from_ms, dedup.to_ms)


def _cef_dedup(keys: dict[str, str]) -> Dedup:
    from_ms, to_ms = int(keys[cef.DEDUP_FROM]), int(keys[cef.DEDUP_TO])
    return Dedup(keys[cef.DEDUP_UID], _split_list(keys.get(cef.DEDUP_BY)), from_ms, to_ms)


def _witness(data: ocsf_objects.EvidenceData | ecs_objects.Evidence, attributes: dict[str, Scalar]) -> SignalWitness:
    return SignalWitness(
        subject=data.subject,
        span_id=bytes.fromhex(data.span_id or data.log_id or ""),
        name=data.name,
        service=data.service,
        start_ns=data.start_ns,
        duration_ns=data.duration_ns,
        attributes=attributes,
        is_log=data.log_id is not None,
    )


def _sources(betrace: ocsf_objects.Betrace) -> tuple[SourceRange, ...]:
    return tuple(SourceRange(at.topic, at.partition, at.first_offset, at.last_offset) for at in betrace.source)


def _ms(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(milliseconds=1)


def _split_list(text: str | None) -> tuple[str, ...]:
    return tuple(text.split(", ")) if text else ()
