"""Compiles rule files: the whole way from text to a rule set.

    text → drafts (headers, yaml_rules) → nodes (parse) → check → atoms + formula (assemble) → RuleSet

In: paths, or texts by file name. Out: a `RuleSet` and advice, or `RulesError` with everything that is wrong in all
files at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from hashlib import blake2b
from pathlib import Path

from dsl import problems
from dsl.check.check import check_cond, check_form, kind_of
from dsl.check.lint import advice, condition_advice
from dsl.compile.assemble import Assembly
from dsl.files import headers, yaml_rules
from dsl.files.draft import Draft
from dsl.files.fields import Metadata, metadata
from dsl.judge.atoms import SEMANTICS, Atom, Exemption, Pairing, Question, atom
from dsl.judge.builtin import zone_of
from dsl.judge.ruleset import Formula, Interest, Kind, Rule, RuleException, RuleSet
from dsl.problems import Problem
from dsl.syntax import source
from dsl.syntax.nodes import Form
from dsl.syntax.parse import parse_cond, parse_rule
from dsl.syntax.printer import cond_text, form_text
from dsl.syntax.source import SourceFile

__all__ = ["Atom", "Interest", "Rule", "RuleSet", "RulesError", "compile_texts", "load"]


class RulesError(Exception):
    """The rules have errors; `problems` holds all that was found, warnings too, sorted by place."""

    def __init__(self, found: list[Problem]) -> None:
        first = next(problem for problem in found if problem.severity is problems.Severity.ERROR)
        place = f"{first.place.path}:{first.place.line}:{first.place.column}"
        super().__init__(f"the rules have errors, the first is {first.code} at {place}: {first.message}")
        self.problems = found


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule, the draft and the nodes it was made from, what its atoms ask, and what pairs must know of them."""

    rule: Rule
    draft: Draft
    form: Form
    questions: Mapping[Question, int]
    pairings: Mapping[bytes, Pairing]


def load(paths: Iterable[str | Path]) -> tuple[RuleSet, list[Problem]]:
    """The rules in files and in directories below them, and warnings sorted by place.

    Raises `RulesError` when a rule or a path has an error; nothing else, whatever the files hold.
    """
    files, found = source.read(paths)
    compiled, more = compile_files(files)
    return rule_set(files, compiled, found + more)


def compile_texts(texts: Mapping[str, str]) -> tuple[RuleSet, list[Problem]]:
    """The same for texts by file name; the name's suffix decides how a text is read."""
    files, found = source.from_texts(texts)
    compiled, more = compile_files(files)
    return rule_set(files, compiled, found + more)


def load_compiled(paths: Iterable[str | Path]) -> list[CompiledRule]:
    """The same rules, sorted by id, each with what it was made from; those that are not enabled have atoms too."""
    files, found = source.read(paths)
    compiled, more = compile_files(files)
    rule_set(files, compiled, found + more)
    return sorted(compiled, key=lambda each: each.rule.id)


def compile_files(files: Iterable[SourceFile]) -> tuple[list[CompiledRule], list[Problem]]:
    """The rules that have no error of their own, and every problem of the files."""
    found: list[Problem] = []
    compiled: list[CompiledRule] = []
    first: dict[str, problems.Place] = {}
    for draft in _drafts(files, found):
        said, wrong = metadata(draft.fields, draft.spot)
        found += wrong
        if said.id and (other := first.setdefault(said.id, draft.spot.place)) is not draft.spot.place:
            found.append(problems.duplicate_id(draft.spot, said.id, other))
        if (rule := _compile(draft, said, found)) is not None:
            compiled.append(rule)
    return compiled, found


def rule_set(
    files: Iterable[SourceFile], compiled: Iterable[CompiledRule], found: list[Problem]
) -> tuple[RuleSet, list[Problem]]:
    """The rule set; raises `RulesError` when a problem is an error."""
    if problems.has_errors(found := problems.by_place(found)):
        raise RulesError(found)
    counted: dict[Question, int] = {}
    for each in compiled:
        for question, count in each.questions.items() if each.rule.enabled else ():
            counted[question] = max(count, counted.get(question, 0))
    pairings = _pairings(each.pairings for each in compiled if each.rule.enabled)
    atoms = [atom(each, count, pairings.get(each.fingerprint, Pairing.NOTHING)) for each, count in counted.items()]
    return RuleSet.of([each.rule for each in compiled], atoms, {file.path: file.text for file in files}), found


def _pairings(of_rules: Iterable[Mapping[bytes, Pairing]]) -> dict[bytes, Pairing]:
    """What the pairs of all rules must know, by atom: the most that one of them must."""
    found: dict[bytes, Pairing] = {}
    for of_rule in of_rules:
        for fingerprint, pairing in of_rule.items():
            found[fingerprint] = max(pairing, found.get(fingerprint, Pairing.NOTHING))
    return found


def _drafts(files: Iterable[SourceFile], found: list[Problem]) -> Iterator[Draft]:
    for file in files:
        reader = yaml_rules if file.path.endswith(source.YAML_SUFFIXES) else headers
        rules, wrong = reader.drafts(file)
        found += wrong
        if not rules and not wrong:
            found.append(problems.no_rules(file.spot(1, 1)))
        yield from rules


def _compile(draft: Draft, said: Metadata, found: list[Problem]) -> CompiledRule | None:
    """The rule of a draft; None when it has an error."""
    form, wrong = parse_rule(draft.condition)
    exceptions = _exceptions(draft, said.timezone, wrong)
    exemptions = tuple(exemption for exemption, _ in exceptions)
    kind = None
    if form is not None:
        kind = kind_of(form, said.kind, draft, wrong)
        wrong += check_form(form, kind, draft.condition)
        wrong += advice(form, kind, draft.condition)
    found += wrong
    if form is None or kind is None or problems.has_errors(wrong):
        return None
    assembly = Assembly(said.timezone, exemptions)
    formula = assembly.formula(form, kind)
    if assembly.is_about_every_trace:
        found.append(problems.about_every_trace(draft.condition.spot(form.at)))
    fingerprint = _fingerprint(form, kind, said.timezone, exemptions)
    atoms = frozenset(question.fingerprint for question in assembly.questions)
    rule = _rule(said, kind, draft.condition.text, fingerprint, formula, atoms)
    rule = replace(rule, exceptions=tuple(shown for _, shown in exceptions))
    return CompiledRule(rule, draft, form, assembly.questions, assembly.pairings)


def _rule(said: Metadata, kind: Kind, text: str, fingerprint: str, formula: Formula, atoms: frozenset[bytes]) -> Rule:
    return Rule(
        id=said.id,
        title=said.title,
        severity=said.severity,
        kind=kind,
        controls=said.controls,
        owner=said.owner,
        tags=said.tags,
        description=said.description,
        references=said.references,
        enabled=said.enabled,
        mode=said.mode,
        timezone=said.timezone,
        text=text,
        fingerprint=fingerprint,
        formula=formula,
        atoms=atoms,
    )


def _exceptions(draft: Draft, zone: str, found: list[Problem]) -> list[tuple[Exemption, RuleException]]:
    """The exceptions that have no error, as atoms and as people see them."""
    read = []
    for exception in draft.exceptions:
        cond, wrong = parse_cond(exception.where)
        if cond is not None:
            wrong += check_cond(cond, None, exception.where)
            found += condition_advice(cond, None, exception.where)
        found += wrong
        if cond is not None and not wrong:
            until_ns = None if exception.expires is None else _end_ns(exception.expires, zone)
            shown = RuleException(cond_text(cond), exception.owner, exception.reason, exception.expires)
            read.append((Exemption(cond, until_ns), shown))
    return read


def _end_ns(day: date, zone: str) -> int | None:
    """The end of a day in a time zone, in Unix nanoseconds; None when that is beyond the calendar."""
    try:
        end = datetime.combine(day + timedelta(days=1), time(), zone_of(zone))
        return int(end.timestamp()) * 10**9
    except (OverflowError, ValueError):
        return None


def _fingerprint(form: Form, kind: Kind, zone: str, exemptions: tuple[Exemption, ...]) -> str:
    lines = [f"semantics {SEMANTICS}", kind.value, zone, form_text(form)]
    lines += [f"except {cond_text(each.where)} until {each.until_ns}" for each in exemptions]
    return blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()
