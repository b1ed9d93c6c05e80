"""Validates the metadata of a rule; headers and YAML have the same fields.

In: fields by key, each with one or more texts; `signal` is the NAME of a Signal line. Out: `Metadata` and problems.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from dsl import problems
from dsl.files import dedup, triage
from dsl.files.field import Field
from dsl.judge.builtin import zone_names, zone_of
from dsl.judge.ruleset import Dedup, Kind, Mode, RuleSeverity, Triage
from dsl.problems import Problem, Spot

_OWN_LIST_KEYS = ("controls", "tags", "references")
LIST_KEYS = (*_OWN_LIST_KEYS, *triage.LIST_KEYS)
SENTENCE_KEYS = triage.SENTENCE_KEYS
_TEXT_KEYS = ("id", "kind", "severity", "owner", "description", "enabled", "mode", "timezone")
HEADER_KEYS = (*_TEXT_KEYS, *_OWN_LIST_KEYS, *triage.KEYS, dedup.KEY)
DEFAULT_SEVERITY = RuleSeverity.HIGH

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_MAX_ID = 128
_CONTROL_TITLE = re.compile(r"(\S{1,60}) (\S{1,60}):")

E = TypeVar("E", bound=Enum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """The metadata of a rule; `kind` is None when only the condition can determine it."""

    id: str
    title: str
    severity: RuleSeverity
    kind: Kind | None
    controls: tuple[str, ...]
    owner: str | None
    tags: tuple[str, ...]
    description: str | None
    references: tuple[str, ...]
    enabled: bool
    mode: Mode
    timezone: str
    triage: Triage
    dedup: Dedup | None


def read_metadata(fields: Mapping[str, Field], spot: Spot) -> tuple[Metadata, list[Problem]]:
    """Validate the fields of a rule; an invalid value is replaced by the default."""
    reported = [problems.empty_value(field.spot, key) for key, field in fields.items() if not any(field.texts)]
    filled = {key: field for key, field in fields.items() if any(field.texts)}
    title = _text(filled, "title")
    rule_id = _rule_id(filled, title, reported)
    is_reported = any(key in fields and key not in filled for key in ("id", "title"))
    if not rule_id and not is_reported:
        reported.append(problems.missing_id(spot))
    return Metadata(
        id=rule_id,
        title=title or _text(filled, "signal") or rule_id,
        severity=_one_of(RuleSeverity, filled, "severity", reported) or DEFAULT_SEVERITY,
        kind=_one_of(Kind, filled, "kind", reported),
        controls=_texts(filled, "controls") or _controls_of(title or ""),
        owner=_text(filled, "owner"),
        tags=_texts(filled, "tags"),
        description=_text(filled, "description"),
        references=_texts(filled, "references"),
        enabled=_is_enabled(filled, reported),
        mode=_one_of(Mode, filled, "mode", reported) or Mode.LIVE,
        timezone=_timezone(filled, reported),
        triage=triage.read_triage(filled, reported),
        dedup=dedup.read_dedup(filled, reported),
    ), reported


def slug(title: str) -> str:
    """Turn a title into an id; return "" when the title has no character that an id may have.

    >>> slug("SOC2 CC6.7: PII access must be logged")
    'soc2-cc6-7-pii-access-must-be-logged'
    """
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:_MAX_ID].strip("-")


def _rule_id(filled: Mapping[str, Field], title: str | None, reported: list[Problem]) -> str:
    if (field := filled.get("id") or filled.get("signal")) is None:
        return slug(title or "")
    if _ID.fullmatch(field.text) is None:
        reported.append(problems.invalid_id(field.spot, field.text))
    return field.text


def _controls_of(title: str) -> tuple[str, ...]:
    """Return the control that a title starts with. A framework has two capitals, so `Step 2:` names no control."""
    if (named := _CONTROL_TITLE.match(title)) is None:
        return ()
    is_framework = sum(character.isupper() for character in named[1]) > 1
    return (f"{named[1]}/{named[2]}",) if is_framework and re.search("[0-9]", named[2]) else ()


def _text(filled: Mapping[str, Field], key: str) -> str | None:
    return filled[key].text if key in filled else None


def _texts(filled: Mapping[str, Field], key: str) -> tuple[str, ...]:
    return tuple(text for text in filled[key].texts if text) if key in filled else ()


def _one_of(options: type[E], filled: Mapping[str, Field], key: str, reported: list[Problem]) -> E | None:
    if (field := filled.get(key)) is None:
        return None
    try:
        return options(field.text)
    except ValueError:
        reported.append(problems.invalid_value(field.spot, key, field.text, [option.value for option in options]))
        return None


def _is_enabled(filled: Mapping[str, Field], reported: list[Problem]) -> bool:
    field = filled.get("enabled")
    if field is not None and field.text not in {"true", "false"}:
        reported.append(problems.invalid_value(field.spot, "enabled", field.text, ["true", "false"]))
    return field is None or field.text != "false"


def _timezone(filled: Mapping[str, Field], reported: list[Problem]) -> str:
    if (field := filled.get("timezone")) is None:
        return "UTC"
    try:
        return zone_of(field.text).key
    except KeyError:
        reported.append(problems.unknown_timezone(field.spot, field.text, zone_names()))
        return "UTC"
