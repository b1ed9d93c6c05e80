"""Reads what is said of a rule beside its condition: the same fields in headers and in YAML.

In: fields by key, each one or more texts; `signal` is the NAME of a Signal line. Out: `Metadata` and problems.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from dsl import problems
from dsl.judge.builtin import zone_names, zone_of
from dsl.judge.ruleset import Kind, Mode, RuleSeverity
from dsl.problems import Problem, Spot

LIST_KEYS = ("controls", "tags", "references")
HEADER_KEYS = ("id", "kind", "severity", "owner", "description", "enabled", "mode", "timezone", *LIST_KEYS)
DEFAULT_SEVERITY = RuleSeverity.HIGH

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_MAX_ID = 128
_CONTROL_TITLE = re.compile(r"(\S{1,60}) (\S{1,60}):")

E = TypeVar("E", bound=Enum)


@dataclass(frozen=True, slots=True)
class Field:
    """One field as written: a list has several texts."""

    texts: tuple[str, ...]
    spot: Spot

    @property
    def text(self) -> str:
        """The value of a field that is no list."""
        return ", ".join(self.texts)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is said of a rule beside its condition; `kind` is None when only the form of the condition can tell."""

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


def metadata(fields: Mapping[str, Field], spot: Spot) -> tuple[Metadata, list[Problem]]:
    """Reads the fields of a rule that stands at the spot; a wrong value is replaced by the default."""
    found = [problems.empty_value(field.spot, key) for key, field in fields.items() if not any(field.texts)]
    given = {key: field for key, field in fields.items() if any(field.texts)}
    title = _text(given, "title")
    rule_id = _rule_id(given, title, found)
    is_said_already = any(key in fields and key not in given for key in ("id", "title"))
    if not rule_id and not is_said_already:
        found.append(problems.no_id(spot))
    return Metadata(
        id=rule_id,
        title=title or _text(given, "signal") or rule_id,
        severity=_one_of(RuleSeverity, given, "severity", found) or DEFAULT_SEVERITY,
        kind=_one_of(Kind, given, "kind", found),
        controls=_texts(given, "controls") or _controls_of(title or ""),
        owner=_text(given, "owner"),
        tags=_texts(given, "tags"),
        description=_text(given, "description"),
        references=_texts(given, "references"),
        enabled=_is_enabled(given, found),
        mode=_one_of(Mode, given, "mode", found) or Mode.LIVE,
        timezone=_timezone(given, found),
    ), found


def slug(title: str) -> str:
    """A title as an id; "" when nothing of it can stand in one.

    >>> slug("SOC2 CC6.7: PII access must be logged")
    'soc2-cc6-7-pii-access-must-be-logged'
    """
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:_MAX_ID].strip("-")


def _rule_id(given: Mapping[str, Field], title: str | None, found: list[Problem]) -> str:
    if (field := given.get("id") or given.get("signal")) is None:
        return slug(title or "")
    if _ID.fullmatch(field.text) is None:
        found.append(problems.bad_id(field.spot, field.text))
    return field.text


def _controls_of(title: str) -> tuple[str, ...]:
    """The control a title begins with. A framework has two capitals, so `Step 2:` names none."""
    if (named := _CONTROL_TITLE.match(title)) is None:
        return ()
    is_framework = sum(character.isupper() for character in named[1]) > 1
    return (f"{named[1]}/{named[2]}",) if is_framework and re.search("[0-9]", named[2]) else ()


def _text(given: Mapping[str, Field], key: str) -> str | None:
    return given[key].text if key in given else None


def _texts(given: Mapping[str, Field], key: str) -> tuple[str, ...]:
    return tuple(text for text in given[key].texts if text) if key in given else ()


def _one_of(options: type[E], given: Mapping[str, Field], key: str, found: list[Problem]) -> E | None:
    if (field := given.get(key)) is None:
        return None
    try:
        return options(field.text)
    except ValueError:
        found.append(problems.bad_value(field.spot, key, field.text, [option.value for option in options]))
        return None


def _is_enabled(given: Mapping[str, Field], found: list[Problem]) -> bool:
    field = given.get("enabled")
    if field is not None and field.text not in {"true", "false"}:
        found.append(problems.bad_value(field.spot, "enabled", field.text, ["true", "false"]))
    return field is None or field.text != "false"


def _timezone(given: Mapping[str, Field], found: list[Problem]) -> str:
    if (field := given.get("timezone")) is None:
        return "UTC"
    try:
        return zone_of(field.text).key
    except KeyError:
        found.append(problems.bad_timezone(field.spot, field.text, zone_names()))
        return "UTC"
