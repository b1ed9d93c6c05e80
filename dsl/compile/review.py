"""Finds everything that `betrace check` reports.

In: paths and today's date. Out: all problems, sorted by location: those of loading, failing tests, rules without tests
that show what breaks them, and expired exceptions. Tests judge each trace with the same `hits` and `judge` as live
processing: by the rule alone, and by all rules of the files together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from dsl import problems
from dsl.compile.compile import CompiledRule, build_rule_set, compile_drafts, read_drafts
from dsl.files.definitions import read_files
from dsl.files.draft import DraftFile, DraftTest
from dsl.judge.ancestry import MAX_SPANS
from dsl.judge.atoms import ANCESTRY, Atom, Pairing, Use
from dsl.judge.events import AtomHit
from dsl.judge.keys import KeyHashes, hash_variants, key_hash
from dsl.judge.occurrences import Occurrences
from dsl.judge.ruleset import Rule, RuleSet
from dsl.judge.span import Span
from dsl.judge.verdict import Judgement, Verdict, judge
from dsl.problems import Problem, SeenTrace
from dsl.syntax.source import SourceFile


@dataclass(slots=True, kw_only=True)
class InMemoryAtomFacts:
    """The facts of one atom in a trace that is held in memory; `counted` as in `Atom`, None to count all."""

    first_ns: int | None = None
    last_ns: int | None = None
    identities: set[bytes] = field(default_factory=set)
    counted: int | None = None
    occurrences: Occurrences | None = None

    @property
    def identity_count(self) -> int:
        """The number of distinct spans that were hit, as far as they are counted."""
        return len(self.identities) if self.counted is None else min(len(self.identities), self.counted)

    def add(self, atom: Atom, span: Span) -> None:
        """Record that the span hit the atom."""
        if atom.use is Use.DISTINCT:
            self._add_values(atom, span)
        else:
            self.identities.add(span.identity)
        if atom.use is Use.COMPARED:
            for hit in atom.hits(span):
                self._widen(hit.time_ns)
                if atom.pairing:
                    self._add_hit(atom, span, hit)
            return
        self._widen(atom.time_ns(span))
        if atom.pairing and atom.use is not Use.DISTINCT:
            self._add_occurrence(
                span.identity, span.start_ns, hash_variants(atom.variants(span), atom.unredacted_hashes)
            )

    def _widen(self, time_ns: int | None) -> None:
        if time_ns is not None:
            self.first_ns = time_ns if self.first_ns is None else min(self.first_ns, time_ns)
            self.last_ns = time_ns if self.last_ns is None else max(self.last_ns, time_ns)

    def _add_values(self, atom: Atom, span: Span) -> None:
        [(values,)] = atom.variants(span)
        if values is None:
            self.occurrences = self.occurrences or Occurrences()
        self.identities.update(map(key_hash, values or ()))

    def _add_hit(self, atom: Atom, span: Span, hit: AtomHit) -> None:
        keys = [atom.hit_keys(span, hit)] if atom.pairing is Pairing.EACH else []
        limit = MAX_SPANS if atom.fingerprint == ANCESTRY.fingerprint else None
        hashed = hash_variants(keys, atom.unredacted_hashes)
        self._add_occurrence(span.identity + hit.suffix, hit.time_ns, hashed, limit)

    def _add_occurrence(
        self, identity: bytes, time_ns: int | None, keys: tuple[KeyHashes, ...], limit: int | None = None
    ) -> None:
        self.occurrences = self.occurrences or Occurrences()
        self.occurrences.add(identity, time_ns, keys, limit)


@dataclass(frozen=True, slots=True)
class Review:
    """All problems of rule files, sorted by location, what each file contains, and the rules without errors."""

    problems: list[Problem]
    drafts: Sequence[DraftFile]
    compiled: Sequence[CompiledRule]

    @property
    def rule_count(self) -> int:
        """How many rules the files have, those with errors included."""
        return sum(len(file.rules) for file in self.drafts)

    @property
    def test_count(self) -> int:
        """How many tests these rules have."""
        return sum(len(rule.tests) for file in self.drafts for rule in file.rules)


def review(paths: Iterable[str | Path], today: date) -> list[Problem]:
    """Return every problem of the rule files, sorted by location."""
    return review_files(paths, today).problems


def review_files(paths: Iterable[str | Path], today: date) -> Review:
    """Review the rule files at the paths and below them."""
    files, reported = read_files(paths)
    return review_sources(files, reported, today)


def review_sources(files: Sequence[SourceFile], reported: Sequence[Problem], today: date) -> Review:
    """Review rule files that were read, with their list files; `reported` are the problems of reading them."""
    drafts, draft_problems = read_drafts(files)
    compiled, compile_problems = compile_drafts(files, drafts)
    found = [*reported, *draft_problems, *compile_problems]
    all_rules = as_rule_set(compiled)
    for rule in compiled:
        found += run_tests(rule, all_rules)
        found += _expired(rule, today)
    return Review(problems.sort_by_location(found), drafts, compiled)


def as_rule_set(compiled: Iterable[CompiledRule]) -> RuleSet:
    """Return the rules as one set that also judges rules that are not enabled."""
    enabled = [replace(each, rule=replace(each.rule, enabled=True)) for each in compiled]
    rules, _ = build_rule_set([], enabled, [])
    return rules


def judge_trace(rules: RuleSet, spans: Iterable[Span], *, whole: bool = True) -> list[Judgement]:
    """Return the judgements on a trace, given all its spans."""
    facts: dict[bytes, InMemoryAtomFacts] = {}
    for span in spans:
        for atom in rules.hits(span):
            facts.setdefault(atom.fingerprint, InMemoryAtomFacts(counted=atom.counted)).add(atom, span)
    return judge(rules, facts, whole=whole)


def run_tests(compiled: CompiledRule, all_rules: RuleSet) -> Iterator[Problem]:
    """Yield a problem for each test of a rule that fails, judged alone and together with `all_rules`."""
    if compiled.draft.lacks_tests:
        yield problems.missing_tests(compiled.draft.spot, compiled.rule.id)
    if not compiled.draft.tests:
        return
    rule, alone, passed = compiled.rule, as_rule_set([compiled]), True
    for test in compiled.draft.tests:
        judgement = _judgement(alone, rule, test)
        actual, among_others = _verdict(judgement), _verdict(_judgement(all_rules, rule, test))
        if actual is not test.expect:
            passed = False
            seen = _seen_trace(alone, rule, test, judgement)
            yield problems.failed_test(test.spot, test.name, test.expect.value, actual.value, seen)
        if among_others is not actual:
            yield problems.depends_on_others(test.spot, test.name, actual.value, among_others.value)
    if passed and all(test.expect is Verdict.HELD for test in compiled.draft.tests):
        yield problems.only_held_tests(compiled.draft.spot, rule.id)


def _judgement(rules: RuleSet, rule: Rule, test: DraftTest) -> Judgement | None:
    judgements = judge_trace(rules, test.spans, whole=not test.hit_max_duration)
    # Two rules with the same id, which is reported elsewhere, each have a verdict of their own.
    rule_key = (rule.id, rule.fingerprint)
    return next((each for each in judgements if (each.rule.id, each.rule.fingerprint) == rule_key), None)


def _verdict(judgement: Judgement | None) -> Verdict:
    return Verdict.NOT_APPLICABLE if judgement is None else judgement.verdict


def _seen_trace(rules: RuleSet, rule: Rule, test: DraftTest, judgement: Judgement | None) -> SeenTrace:
    """Return what a rule saw of the trace of a test; a subject with and without exceptions is one."""
    matches: dict[str, list[int]] = {}
    for term in rule.formula.subjects:
        numbers = [number for number, span in enumerate(test.spans, 1) if rules.atoms[term.atom].holds(span)]
        matches.setdefault(term.text, numbers)
    return SeenTrace(
        missing=() if judgement is None else judgement.missing,
        present=() if judgement is None else judgement.present,
        is_excepted=judgement is not None and judgement.excepted,
        matches=list(matches.items()),
    )


def _expired(compiled: CompiledRule, today: date) -> Iterator[Problem]:
    for exception in compiled.draft.exceptions:
        if exception.expires is not None and exception.expires < today:
            yield problems.expired_exception(exception.spot, exception.expires.isoformat())
