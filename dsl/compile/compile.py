"""Compiles rule files, from text to a rule set.

    text → drafts (headers, yaml_rules) → nodes (parse) → check → atoms + formula (assemble) → RuleSet

In: paths, or texts by file name. Out: a `RuleSet` and warnings, or a `RulesError` with the problems of all files at
once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from hashlib import blake2b
from pathlib import Path

from dsl import problems
from dsl.check.check import check_body, check_cond, resolve_kind
from dsl.check.lint import lint_cond, lint_rule
from dsl.compile.assemble import Assembly
from dsl.files import headers, yaml_rules
from dsl.files.draft import Draft
from dsl.files.fields import Metadata, read_metadata
from dsl.judge.atoms import SEMANTICS, Atom, AtomSpec, Exemption, Pairing, compile_atom
from dsl.judge.builtin import zone_of
from dsl.judge.ruleset import Formula, Interest, Kind, Rule, RuleException, RuleSet
from dsl.problems import Problem
from dsl.syntax import source
from dsl.syntax.nodes import RuleBody
from dsl.syntax.parse import parse_cond, parse_rule
from dsl.syntax.printer import body_text, cond_text
from dsl.syntax.source import SourceFile

__all__ = ["Atom", "Interest", "Rule", "RuleSet", "RulesError", "compile_texts", "load"]


class RulesError(Exception):
    """The rules have errors; `problems` lists all errors and warnings, sorted by location."""

    def __init__(self, reported: list[Problem]) -> None:
        first = next(problem for problem in reported if problem.severity is problems.Severity.ERROR)
        location = f"{first.location.path}:{first.location.line}:{first.location.column}"
        super().__init__(f"the rules have errors; the first is {first.code} at {location}: {first.message}")
        self.problems = reported


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule with its draft and body, the specs of its atoms, and what pairs must know about each."""

    rule: Rule
    draft: Draft
    body: RuleBody
    atom_specs: Mapping[AtomSpec, int]
    pairings: Mapping[bytes, Pairing]


def load(paths: Iterable[str | Path]) -> tuple[RuleSet, list[Problem]]:
    """Load the rules in files and in directories below them; return them with their warnings, sorted by location.

    Raises `RulesError` when a rule or a path has an error, and nothing else, whatever the files contain.
    """
    files, reported = source.read_files(paths)
    compiled, compile_problems = compile_files(files)
    return build_rule_set(files, compiled, reported + compile_problems)


def compile_texts(texts: Mapping[str, str]) -> tuple[RuleSet, list[Problem]]:
    """Load rules from texts by file name; the suffix of the name determines the format."""
    files, reported = source.from_texts(texts)
    compiled, compile_problems = compile_files(files)
    return build_rule_set(files, compiled, reported + compile_problems)


def load_compiled(paths: Iterable[str | Path]) -> list[CompiledRule]:
    """Load rules with what they were compiled from, sorted by id; rules that are not enabled have atoms too."""
    files, reported = source.read_files(paths)
    compiled, compile_problems = compile_files(files)
    build_rule_set(files, compiled, reported + compile_problems)
    return sorted(compiled, key=lambda each: each.rule.id)


def compile_files(files: Iterable[SourceFile]) -> tuple[list[CompiledRule], list[Problem]]:
    """Return the rules that have no error of their own, and all problems of the files."""
    reported: list[Problem] = []
    compiled: list[CompiledRule] = []
    first: dict[str, problems.Location] = {}
    for draft in _read_drafts(files, reported):
        metadata, rule_problems = read_metadata(draft.fields, draft.spot)
        reported += rule_problems
        if metadata.id and (other := first.setdefault(metadata.id, draft.spot.location)) is not draft.spot.location:
            reported.append(problems.duplicate_id(draft.spot, metadata.id, other))
        if (rule := _compile_rule(draft, metadata, reported)) is not None:
            compiled.append(rule)
    return compiled, reported


def build_rule_set(
    files: Iterable[SourceFile], compiled: Iterable[CompiledRule], reported: list[Problem]
) -> tuple[RuleSet, list[Problem]]:
    """Build the rule set; raises `RulesError` when a problem is an error."""
    if problems.has_errors(reported := problems.sort_by_location(reported)):
        raise RulesError(reported)
    counts: dict[AtomSpec, int] = {}
    for each in compiled:
        for spec, count in each.atom_specs.items() if each.rule.enabled else ():
            counts[spec] = max(count, counts.get(spec, 0))
    pairings = _pairings(each.pairings for each in compiled if each.rule.enabled)
    nothing = Pairing.NOTHING
    atoms = [compile_atom(spec, count, pairings.get(spec.fingerprint, nothing)) for spec, count in counts.items()]
    return RuleSet.of([each.rule for each in compiled], atoms, {file.path: file.text for file in files}), reported


def _pairings(of_rules: Iterable[Mapping[bytes, Pairing]]) -> dict[bytes, Pairing]:
    """Return what the pairs of all rules must know about each atom: the most that any rule needs."""
    reported: dict[bytes, Pairing] = {}
    for of_rule in of_rules:
        for fingerprint, pairing in of_rule.items():
            reported[fingerprint] = max(pairing, reported.get(fingerprint, Pairing.NOTHING))
    return reported


def _read_drafts(files: Iterable[SourceFile], reported: list[Problem]) -> Iterator[Draft]:
    for file in files:
        reader = yaml_rules if file.path.endswith(source.YAML_SUFFIXES) else headers
        rules, rule_problems = reader.read_drafts(file)
        reported += rule_problems
        if not rules and not rule_problems:
            reported.append(problems.empty_file(file.spot(1, 1)))
        yield from rules


def _compile_rule(draft: Draft, metadata: Metadata, reported: list[Problem]) -> CompiledRule | None:
    """Compile a draft; return None when it has an error."""
    body, rule_problems = parse_rule(draft.condition)
    exceptions = _exceptions(draft, metadata.timezone, rule_problems)
    exemptions = tuple(exemption for exemption, _ in exceptions)
    kind = None
    if body is not None:
        kind = resolve_kind(body, metadata.kind, draft, rule_problems)
        rule_problems += check_body(body, kind, draft.condition)
        rule_problems += lint_rule(body, kind, draft.condition)
    reported += rule_problems
    if body is None or kind is None or problems.has_errors(rule_problems):
        return None
    assembly = Assembly(metadata.timezone, exemptions)
    formula = assembly.formula(body, kind)
    if assembly.is_about_every_trace:
        reported.append(problems.about_every_trace(draft.condition.spot(body.at)))
    fingerprint = _fingerprint(body, kind, metadata.timezone, exemptions)
    atoms = frozenset(spec.fingerprint for spec in assembly.atom_specs)
    rule = _rule(metadata, kind, draft.condition.text, fingerprint, formula, atoms)
    rule = replace(rule, exceptions=tuple(shown for _, shown in exceptions))
    return CompiledRule(rule, draft, body, assembly.atom_specs, assembly.pairings)


def _rule(meta: Metadata, kind: Kind, text: str, fingerprint: str, formula: Formula, atoms: frozenset[bytes]) -> Rule:
    return Rule(
        id=meta.id,
        title=meta.title,
        severity=meta.severity,
        kind=kind,
        controls=meta.controls,
        owner=meta.owner,
        tags=meta.tags,
        description=meta.description,
        references=meta.references,
        enabled=meta.enabled,
        mode=meta.mode,
        timezone=meta.timezone,
        text=text,
        fingerprint=fingerprint,
        formula=formula,
        atoms=atoms,
    )


def _exceptions(draft: Draft, zone: str, reported: list[Problem]) -> list[tuple[Exemption, RuleException]]:
    """Return the valid exceptions, as exemptions and in readable form."""
    read_files = []
    for exception in draft.exceptions:
        cond, rule_problems = parse_cond(exception.where)
        if cond is not None:
            rule_problems += check_cond(cond, None, exception.where)
            reported += lint_cond(cond, None, exception.where)
        reported += rule_problems
        if cond is not None and not rule_problems:
            until_ns = None if exception.expires is None else _end_ns(exception.expires, zone)
            shown = RuleException(cond_text(cond), exception.owner, exception.reason, exception.expires)
            read_files.append((Exemption(cond, until_ns), shown))
    return read_files


def _end_ns(day: date, zone: str) -> int | None:
    """Return the end of a day in a time zone, in Unix nanoseconds; None when it is beyond the calendar."""
    try:
        end = datetime.combine(day + timedelta(days=1), time(), zone_of(zone))
        return int(end.timestamp()) * 10**9
    except (OverflowError, ValueError):
        return None


def _fingerprint(body: RuleBody, kind: Kind, zone: str, exemptions: tuple[Exemption, ...]) -> str:
    lines = [f"semantics {SEMANTICS}", kind.value, zone, body_text(body)]
    lines += [f"except {cond_text(each.where)} until {each.until_ns}" for each in exemptions]
    return blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()
