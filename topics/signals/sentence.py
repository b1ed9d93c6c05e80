"""`sentence(finding) -> str`: describes a finding in one line that is clear without knowledge of the rule.

In: a finding. Out: a text of bounded length, without line breaks or control characters. Texts from spans are quoted
unless they are plain, so that a span cannot add words of its own to the sentence.

    broken        pii.access was seen (checkout, span "export users", user u-17) and no audit.log was recorded in the
                  trace
    undetermined  pii.access was seen (checkout, span "export users"), but whether audit.log was recorded is unknown:
                  the window reached its maximum duration
    held          Resolved: pii.access was seen (checkout, span "export users") and with the late spans the rule holds
                  in the trace
    a summary     12 signals of this rule were withheld in the hour from 2026-01-05T11:00:00.000Z, over the limit of
                  signals in an hour; the verdicts count all of them. The first: trace
                  4bf92f3577b34da6a3ce929d0e0e4736 is broken
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from topics.signals.finding import Finding, SignalWitness
from topics.times import rfc3339

NAMED_SUBJECTS = 3
SUBJECT_CHARS = 160
VALUE_CHARS = 80
SPANS_CHARS = 400

USER_ATTRIBUTES = ("user.id", "enduser.id", "user.name")

_PLAIN = re.compile(r"[\w.@:/+-]+")

_INCOMPLETE_REASONS = {
    "max_duration": "the window reached its maximum duration",
    "disk_limit": "the window was closed early because windows reached their limit on disk",
    "end_of_input": "the input ended while the trace was still active",
}


def sentence(finding: Finding) -> str:
    """Describe what happened in the trace and the verdict, as in the examples above."""
    if finding.is_summary:
        return _summary_sentence(finding)
    return _finding_sentence(finding)


def _summary_sentence(finding: Finding) -> str:
    count = finding.withheld
    them = f"{count:,} signals of this rule were" if count > 1 else "1 signal of this rule was"
    return (
        f"{them} withheld in the hour from {rfc3339(finding.hour_ms)}, over the limit of signals in an hour; the "
        f"verdicts count all of them. The first: trace {finding.trace_id.hex()} is {finding.verdict}"
    )


def _finding_sentence(finding: Finding) -> str:
    if finding.verdict == "not_applicable":
        return "Resolved: with the late spans the rule no longer applies to the trace"
    clauses = _present_clauses(finding)
    if finding.verdict == "held":
        return f"Resolved: {_listed([*clauses, 'with the late spans the rule holds in the trace'])}"
    if finding.verdict == "undetermined":
        return ", but ".join([*filter(None, [_listed(clauses)]), _unknown_clause(finding)])
    return _listed([*clauses, *_absent_clauses(finding)])


def _present_clauses(finding: Finding) -> list[str]:
    """Return a clause for each subject that was seen, with its first witness as an example."""
    examples = {witness.subject: witness for witness in reversed(finding.witnesses)}
    subjects = dict.fromkeys([*(witness.subject for witness in finding.witnesses), *finding.present])
    return _few([_present_clause(finding, subject, examples.get(subject)) for subject in subjects], "more were seen")


def _present_clause(finding: Finding, subject: str, example: SignalWitness | None) -> str:
    # A pattern forbids the combination of subjects, not a single one.
    is_forbidden = finding.verdict == "broken" and finding.rule.kind != "pattern" and subject in finding.present
    remark = ", which the rule forbids," if is_forbidden else ""
    details = _witness_details(example) if example else _spans(finding, subject)
    return f"{_clean(subject, SUBJECT_CHARS)}{remark} was seen" + (f" ({details})" if details else "")


def _absent_clauses(finding: Finding) -> list[str]:
    """Return the clauses on what the rule requires and the trace lacks, one for each pair."""
    witnessed = {witness.subject for witness in finding.witnesses}
    pairs = {each.pair for each in finding.pairs}
    absent = [subject for subject in finding.missing if subject not in witnessed | pairs]
    untrue = [_untrue_clause(finding, pair) for pair in finding.missing if pair in pairs]
    if absent:
        names = _listed(_few([f"no {name}" for name in _names(absent)], "more"))
        return [f"{names} {_was(absent)} recorded in the trace", *untrue]
    if untrue:
        return untrue
    if finding.missing:
        names = _listed(_few(_names(finding.missing), "more"))
        return [f"{names} {_was(finding.missing)} not recorded as the rule requires"]
    if finding.present or (finding.rule.kind == "pattern" and witnessed):
        return []
    return [
        f"what the rule {'describes was' if finding.rule.kind == 'pattern' else 'requires was not'} true of the trace"
    ]


def _untrue_clause(finding: Finding, pair: str) -> str:
    spans = _spans(finding, pair)
    return f"it is not true that {_clean(pair, SUBJECT_CHARS)}" + (f" ({spans})" if spans else "")


def _spans(finding: Finding, pair: str) -> str:
    """Return the spans of a pair; the text contains values and names from the trace, so all of it is cleaned."""
    return next((_clean(each.spans, SPANS_CHARS) for each in finding.pairs if each.pair == pair), "")


def _unknown_clause(finding: Finding) -> str:
    reason = _INCOMPLETE_REASONS.get(finding.close_reason, "the trace is incomplete")
    if not finding.missing:
        return f"whether the rule holds is unknown: {reason}"
    pairs = [each.pair for each in finding.pairs if each.pair in finding.missing]
    subjects = [subject for subject in finding.missing if subject not in pairs]
    recorded = [f"{_listed(_few(_names(subjects), 'more'))} {_was(subjects)} recorded"] if subjects else []
    return f"whether {_listed([*recorded, *_few(_names(pairs), 'more')])} is unknown: {reason}"


def _witness_details(witness: SignalWitness) -> str:
    service = [plain_or_quoted(witness.service)] if witness.service else []
    what = "log record" if witness.is_log else "span"
    user = next(filter(None, map(witness.text, USER_ATTRIBUTES)), None)
    return ", ".join(
        [*service, f"{what} {_quoted(witness.name)}", *([f"user {plain_or_quoted(user)}"] if user else [])]
    )


def _names(subjects: Sequence[str]) -> list[str]:
    return [_clean(subject, SUBJECT_CHARS) for subject in subjects]


def _was(subjects: Sequence[str]) -> str:
    return "was" if len(subjects) == 1 else "were"


def _few(items: list[str], rest: str) -> list[str]:
    """Return the first items, and the number of the others."""
    left_out = len(items) - NAMED_SUBJECTS
    return items if left_out <= 0 else [*items[:NAMED_SUBJECTS], f"{left_out} {rest}"]


def _listed(items: Sequence[str]) -> str:
    """Join items as in an English list.

    >>> _listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))


def plain_or_quoted(text: str) -> str:
    r"""Quote a text unless it is plain, so that it cannot be read as a part of the sentence.

    >>> plain_or_quoted("u-17"), plain_or_quoted('u-17") and all is well ("')
    ('u-17', '"u-17\') and all is well (\'"')
    """
    clean = _clean(text, VALUE_CHARS)
    return clean if _PLAIN.fullmatch(clean) else _quoted(clean)


def _quoted(text: str) -> str:
    return f'"{_clean(text, VALUE_CHARS).replace(chr(34), chr(39))}"'


def _clean(text: str, limit_chars: int) -> str:
    r"""Return one truncated line of printable characters; others, bidirectional marks included, become spaces.

    >>> _clean("GET \n /users", 80), _clean("abcdef", 4)
    ('GET /users', 'abc…')
    """
    # A text can have a megabyte: process only what can be shown.
    head = text[: 4 * limit_chars]
    printable = head if head.isprintable() else "".join(char if char.isprintable() else " " for char in head)
    line = " ".join(printable.split())
    return line if len(line) <= limit_chars and head == text else line[: limit_chars - 1] + "…"
