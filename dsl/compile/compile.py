"""Compiles rule files, from text to a rule set.

    text → drafts (headers, yaml_rules) → names (definitions) → nodes (parse) → check → atoms + formula (assemble)
         → RuleSet

In: paths, or texts by file name. Out: a `RuleSet` and warnings, or a `RulesError` with the problems of all files at
once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from fnmatch import fnmatchcase
from hashlib import blake2b
from pathlib import Path

from dsl import problems
from dsl.check.check import check_body, check_cond, resolve_kind
from dsl.check.lint import lint_cond, lint_rule
from dsl.compile.assemble import Assembly
from dsl.compile.dedup import dedup_specs
from dsl.compile.definitions import read_names, used_names, without_repeated
from dsl.files import headers, yaml_rules
from dsl.files.definitions import read_files
from dsl.files.draft import Draft, DraftException, DraftFile, DraftSetException
from dsl.files.fields import Metadata, read_metadata
from dsl.judge.atoms import ANCESTRY, SEMANTICS, Atom, AtomSpec, Exemption, Pairing, compile_atom
from dsl.judge.builtin import zone_of
from dsl.judge.ruleset import Formula, Interest, Kind, Rule, RuleException, RuleSet
from dsl.problems import Problem
from dsl.syntax import source
from dsl.syntax.names import Names
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


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledRule:
    """A rule with its draft and body, the specs of its atoms, and what pairs must know about each."""

    rule: Rule
    draft: Draft
    body: RuleBody
    atom_specs: Mapping[AtomSpec, int]
    pairings: Mapping[bytes, Pairing]


@dataclass(frozen=True, slots=True)
class _SetParts:
    """What the files of a set define for all its rules: names, and exceptions for several rules."""

    names: Names
    exceptions: tuple[DraftSetException, ...]

    def exceptions_of(self, rule_id: str) -> Iterator[DraftException]:
        """Yield the exceptions for a rule."""
        for each in self.exceptions:
            if any(fnmatchcase(rule_id, pattern.text) for pattern in each.patterns):
                yield each.exception


def load(paths: Iterable[str | Path]) -> tuple[RuleSet, list[Problem]]:
    """Load the rules in files and in directories below them; return them with their warnings, sorted by location.

    Raises `RulesError` when a rule or a path has an error, and nothing else, whatever the files contain.
    """
    files, reported = read_files(paths)
    compiled, compile_problems = compile_files(files)
    return build_rule_set(files, compiled, reported + compile_problems)


def compile_texts(texts: Mapping[str, str]) -> tuple[RuleSet, list[Problem]]:
    """Load rules from texts by file name; the suffix of the name determines the format."""
    files, reported = source.from_texts(texts)
    compiled, compile_problems = compile_files(files)
    return build_rule_set(files, compiled, reported + compile_problems)


def load_compiled(paths: Iterable[str | Path]) -> list[CompiledRule]:
    """Load rules with what they were compiled from, sorted by id; rules that are not enabled have atoms too."""
    files, reported = read_files(paths)
    compiled, compile_problems = compile_files(files)
    build_rule_set(files, compiled, reported + compile_problems)
    return sorted(compiled, key=lambda each: each.rule.id)


def compile_files(files: Iterable[SourceFile]) -> tuple[list[CompiledRule], list[Problem]]:
    """Return the rules that have no error of their own, and all problems of the files; list files are among them."""
    files = list(files)
    drafts, reported = read_drafts(files)
    compiled, draft_problems = compile_drafts(files, drafts)
    return compiled, reported + draft_problems


def compile_drafts(
    files: Iterable[SourceFile], drafts: Sequence[DraftFile]
) -> tuple[list[CompiledRule], list[Problem]]:
    """Return the rules that have no error of their own, and the problems of the drafts that the files contain."""
    reported: list[Problem] = []
    compiled: list[CompiledRule] = []
    first: dict[str, problems.Location] = {}
    lists = {file.path: file for file in files if file.path.endswith(source.LIST_SUFFIX)}
    names, name_problems = read_names(drafts, lists)
    reported += name_problems
    parts = _SetParts(names, tuple(each for file in drafts for each in file.exceptions))
    for draft in (each for file in drafts for each in file.rules):
        metadata, rule_problems = read_metadata(draft.fields, draft.spot)
        reported += rule_problems
        if metadata.id and (other := first.setdefault(metadata.id, draft.spot.location)) is not draft.spot.location:
            reported.append(problems.duplicate_id(draft.spot, metadata.id, other))
        if (rule := _compile_rule(draft, metadata, parts, reported)) is not None:
            compiled.append(rule)
    reported += _set_exception_problems(parts, sorted(first))
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


def read_drafts(files: Iterable[SourceFile]) -> tuple[list[DraftFile], list[Problem]]:
    """Read the rule files among the files; return what they contain, and the problems of reading it."""
    drafts, reported = list[DraftFile](), list[Problem]()
    for file in files:
        if file.path.endswith(source.LIST_SUFFIX):
            continue
        reader = yaml_rules if file.path.endswith(source.YAML_SUFFIXES) else headers
        draft, file_problems = reader.read_file(file)
        reported += file_problems
        if draft.is_empty and not file_problems:
            reported.append(problems.empty_file(file.spot(1, 1)))
        drafts.append(draft)
    return drafts, reported


def _set_exception_problems(parts: _SetParts, ids: Sequence[str]) -> Iterator[Problem]:
    """Yield the problems of exceptions for several rules, also of those that fit no rule."""
    for each in parts.exceptions:
        for pattern in each.patterns:
            if not any(fnmatchcase(rule_id, pattern.text) for rule_id in ids):
                yield problems.unmatched_exception(pattern.spot, pattern.text, ids)
        reported: list[Problem] = []
        _exceptions([each.exception], "UTC", parts.names, reported)
        yield from reported


def _compile_rule(draft: Draft, metadata: Metadata, parts: _SetParts, reported: list[Problem]) -> CompiledRule | None:
    """Compile a draft; return None when it has an error."""
    names = parts.names
    draft = replace(draft, exceptions=(*draft.exceptions, *parts.exceptions_of(metadata.id)))
    body, rule_problems = parse_rule(draft.condition, names)
    exceptions = _exceptions(draft.exceptions, metadata.timezone, names, rule_problems)
    exemptions = tuple(exemption for exemption, _ in exceptions)
    kind = None
    if body is not None:
        kind = resolve_kind(body, metadata.kind, draft, rule_problems)
        rule_problems += check_body(body, kind, draft.condition)
        rule_problems += lint_rule(body, kind, draft.condition)
    reported += without_repeated(rule_problems, draft.condition, names)
    if body is None or kind is None or problems.has_errors(rule_problems):
        return None
    assembly = Assembly(zone=metadata.timezone, exemptions=exemptions)
    formula = assembly.formula(body, kind)
    if assembly.is_about_every_trace:
        reported.append(problems.about_every_trace(draft.condition.spot(body.at)))
    if ANCESTRY in assembly.atom_specs:
        reported.append(problems.needs_all_parents(draft.condition.spot(body.at)))
    fingerprint = _fingerprint(body, kind, metadata.timezone, exemptions)
    atoms = frozenset(spec.fingerprint for spec in assembly.atom_specs)
    rule = _rule(metadata, kind, draft.condition.text, fingerprint, formula, atoms)
    texts = [draft.condition, *(each.where for each in draft.exceptions)]
    shown = tuple(shown for _, shown in exceptions)
    rule = replace(rule, exceptions=shown, triage=metadata.triage, definitions=used_names(texts, names))
    atom_specs = assembly.atom_specs
    if metadata.dedup is not None:
        specs = dedup_specs(metadata.dedup, formula, atom_specs)
        rule = replace(rule, dedup=replace(metadata.dedup, atoms=tuple(spec.fingerprint for spec in specs)))
        atom_specs = {**atom_specs, **dict.fromkeys(specs, 0)}
    return CompiledRule(rule=rule, draft=draft, body=body, atom_specs=atom_specs, pairings=assembly.pairings)


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


def _exceptions(
    drafts: Iterable[DraftException], zone: str, names: Names, reported: list[Problem]
) -> list[tuple[Exemption, RuleException]]:
    """Return the valid exceptions, as exemptions and in readable form."""
    read = []
    for exception in drafts:
        cond, rule_problems = parse_cond(exception.where, names)
        if cond is not None:
            rule_problems += check_cond(cond, None, exception.where)
            reported += lint_cond(cond, None, exception.where)
        reported += rule_problems
        if cond is not None and not rule_problems:
            until_ns = None if exception.expires is None else _end_ns(exception.expires, zone)
            shown = RuleException(cond_text(cond), exception.owner, exception.reason, exception.expires)
            read.append((Exemption(cond, until_ns), shown))
    return read


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
