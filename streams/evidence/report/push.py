"""Pushes a report's figures to a compliance platform through its public API.

    drata    POST {url}/custom-connections/{connection}/resources/{resource}/records: upserts by `id`
    vanta    PUT {url}/v1/resources/custom_resource: replaces all resources of this kind; a token is requested first

In: records, one per rule. Out: nothing. Pushing the same figures twice has the effect of pushing them once. Temporary
failures (429, 5xx, no connection) are retried with backoff, or when the platform says (`request`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import msgspec

from streams.errors import ConfigError
from streams.evidence.report import request
from streams.evidence.report.model import NOT_VERIFIED, Report, RuleReport
from topics.times import rfc3339_clamped

Value: TypeAlias = str | int | bool

DRATA_URL = "https://public-api.drata.com/public/v2"
VANTA_URL = "https://api.vanta.com"
DRATA_BATCH = 100
INT32_MAX = (1 << 31) - 1
_SCOPE = "connectors.self:write-resource"


class Platform(Protocol):
    """The target of figures."""

    def bodies(self, records: Sequence[Mapping[str, Value]]) -> list[tuple[str, str, object]]:
        """Return the requests, without secrets: method, URL, and JSON body."""

    def push(self, records: Sequence[Mapping[str, Value]]) -> None:
        """Send the records.

        Raises:
            ConfigError: the platform rejects them.
            NotDoneError: it does not answer, or not yet.
        """


def records(report: Report) -> list[dict[str, Value]]:
    """Return the figures: a record per rule, which a later push replaces by its id."""
    origin = report.evidence.origin or "betrace"
    return [
        {
            "id": f"{origin}/{rule.id}",
            "rule": rule.id,
            "title": rule.title,
            "controls": ", ".join(rule.controls),
            "owner": rule.owner or "",
            "period_from": rfc3339_clamped(report.from_ms),
            "period_to": rfc3339_clamped(report.to_ms),
            "applicable": rule.applicable,
            "held": rule.counts.held,
            "broken": rule.counts.broken,
            "undetermined": rule.counts.undetermined,
            "pass_rate_percent": "" if rule.pass_rate is None else f"{rule.pass_rate * 100:.4f}",
            "coverage_percent": f"{rule.judged.coverage * 100:.4f}",
            "hours_not_judged": report.judged.hours_with_gaps,
            "whole_period_judged": rule.is_whole,
            "held_over_whole_period": rule.is_proven,
            "evidence_verified": report.evidence.verified is not None,
            "statement": _statement(report, rule),
            "evidence_root": report.evidence.head_root or "",
        }
        for rule in report.rules
    ]


def _statement(report: Report, rule: RuleReport) -> str:
    """Return the statement about a rule; readers on the platform do not see the page."""
    return rule.statement if report.evidence.verified else f"{NOT_VERIFIED} {rule.statement}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drata:
    """A resource of a custom connection; its schema has the fields of `records`."""

    token: str
    connection: int
    resource: int
    url: str = DRATA_URL
    backoff_s: float = request.BACKOFF_S

    def bodies(self, records: Sequence[Mapping[str, Value]]) -> list[tuple[str, str, object]]:
        """Return the requests as `Platform.bodies` does."""
        url = f"{self.url}/custom-connections/{self.connection}/resources/{self.resource}/records"
        return [
            ("POST", url, {"data": [*records[start : start + DRATA_BATCH]]})
            for start in range(0, len(records), DRATA_BATCH)
        ]

    def push(self, records: Sequence[Mapping[str, Value]]) -> None:
        """Send the records as `Platform.push` does; each record of a batch may be rejected separately."""
        for method, url, body in self.bodies(records):
            answer = request.send(method, url, body, token=self.token, backoff_s=self.backoff_s)
            for one in answer if isinstance(answer, list) else [answer]:
                if isinstance(one, dict) and isinstance(code := one.get("statusCode"), int) and code >= 400:  # noqa: PLR2004
                    raise ConfigError(f"drata rejected a record: {_text(one.get('error'))}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vanta:
    """A custom resource of a private integration; its custom properties are the fields of `records` but id and title.

    `link` is where a person finds the report.
    """

    client_id: str
    client_secret: str
    resource: str
    link: str
    url: str = VANTA_URL
    backoff_s: float = request.BACKOFF_S

    def bodies(self, records: Sequence[Mapping[str, Value]]) -> list[tuple[str, str, object]]:
        """Return the requests as `Platform.bodies` does: one request, because whatever it omits is deleted."""
        resources = [
            {
                "displayName": record["title"],
                "uniqueId": record["id"],
                "externalUrl": self.link,
                "customProperties": {
                    name: _int32(value) for name, value in record.items() if name not in {"id", "title"}
                },
            }
            for record in records
        ]
        body = {"resourceId": self.resource, "resources": resources}
        return [("PUT", f"{self.url}/v1/resources/custom_resource", body)]

    def push(self, records: Sequence[Mapping[str, Value]]) -> None:
        """Send the records as `Platform.push` does."""
        credentials = {
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "scope": _SCOPE,
            "grant_type": "client_credentials",
        }
        answer = request.send("POST", f"{self.url}/oauth/token", credentials, backoff_s=self.backoff_s)
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str):
            raise ConfigError("vanta returned no access token")
        for method, url, body in self.bodies(records):
            request.send(method, url, body, token=token, backoff_s=self.backoff_s)


def _int32(value: Value) -> Value:
    """Return the value; the platform has 32-bit numbers, so raise an error rather than send a wrong one."""
    if isinstance(value, int) and not -INT32_MAX <= value <= INT32_MAX:
        raise ConfigError(f"vanta accepts no number above {INT32_MAX:,}, this is {value:,}: report a shorter period")
    return value


def _text(error: object) -> str:
    return msgspec.json.encode(error).decode()
