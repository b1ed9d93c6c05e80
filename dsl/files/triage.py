"""Validates the metadata by which the signals of a rule are triaged.

In: the fields of a rule. Out: `Triage` and problems; an invalid value is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date

from dsl import problems
from dsl.files.field import Field
from dsl.judge.ruleset import Triage
from dsl.problems import Problem

LIST_KEYS = ("related", "attack", "atlas")
SENTENCE_KEYS = ("false_positives",)
"""Keys whose value is a list of sentences, in which a comma separates nothing."""

KEYS = ("author", "version", "date", "modified", *LIST_KEYS, "runbook", *SENTENCE_KEYS, "risk_score")
MAX_RISK_SCORE = 100

_ATTACK = re.compile(r"T[0-9]{4}(\.[0-9]{3})?|TA[0-9]{4}")
_ATLAS = re.compile(r"AML\.(T[0-9]{4}(\.[0-9]{3})?|TA[0-9]{4})")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DIGITS = re.compile(r"[0-9]{1,3}")


def read_triage(filled: Mapping[str, Field], reported: list[Problem]) -> Triage:
    """Read the fields that have a value."""
    return Triage(
        author=_text(filled, "author"),
        version=_text(filled, "version"),
        date=_day(filled, "date", reported),
        modified=_day(filled, "modified", reported),
        related=_texts(filled, "related"),
        attack=tuple(_ids(filled, "attack", _ATTACK, reported)),
        atlas=tuple(_ids(filled, "atlas", _ATLAS, reported)),
        runbook=_text(filled, "runbook"),
        false_positives=_texts(filled, "false_positives"),
        risk_score=_risk_score(filled, reported),
    )


def _text(filled: Mapping[str, Field], key: str) -> str | None:
    return filled[key].text if key in filled else None


def _texts(filled: Mapping[str, Field], key: str) -> tuple[str, ...]:
    return tuple(text for text in filled[key].texts if text) if key in filled else ()


def _day(filled: Mapping[str, Field], key: str, reported: list[Problem]) -> str | None:
    if (field := filled.get(key)) is None:
        return None
    try:
        is_day = _DAY.fullmatch(field.text) is not None and bool(date.fromisoformat(field.text))
    except ValueError:
        is_day = False
    if not is_day:
        reported.append(problems.wrong_type(field.spot, field.text, "a day such as 2027-01-31"))
    return field.text if is_day else None


def _ids(filled: Mapping[str, Field], key: str, known: re.Pattern[str], reported: list[Problem]) -> Iterable[str]:
    for index, text in enumerate(filled[key].texts if key in filled else ()):
        if known.fullmatch(text):
            yield text
        elif text:
            spot = filled[key].spot_of(index)
            reported.append(problems.invalid_technique(spot, text, is_atlas=known is _ATLAS))


def _risk_score(filled: Mapping[str, Field], reported: list[Problem]) -> int | None:
    if (field := filled.get("risk_score")) is None:
        return None
    score = int(field.text) if _DIGITS.fullmatch(field.text) else MAX_RISK_SCORE + 1
    if score <= MAX_RISK_SCORE:
        return score
    reported.append(problems.wrong_type(field.spot, field.text, f"a whole number from 0 to {MAX_RISK_SCORE}"))
    return None
