"""Reviews rule files: all that `betrace check` reports.

In: paths and today's date. Out: every problem, sorted by place: those of loading, the in-file tests that fail, and the
exceptions that have expired. Tests run each trace through the same `hits` and `judge` as live processing: with the rule
alone, and with all rules of the files, as it is judged live.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from dsl import problems
from dsl.compile.compile import CompiledRule, compile_files, rule_set
from dsl.files.draft import DraftTest
from dsl.judge.atoms import Atom, Pairing
from dsl.judge.keys import hashed, key_hash
from dsl.judge.occurrences import Occurrences
from dsl.judge.ruleset import Rule, RuleSet
from dsl.judge.span import Span
from dsl.judge.verdict import Judgement, Verdict, judge
from dsl.problems import Problem
from dsl.syntax import source


@dataclass(slots=True)
class TraceFacts:
    """The facts of one atom in a trace that is held whole in memory; `counted` as `Atom` has it, None counts all."""

    first_ns: int | None = None
    last_ns: int | None = None
    identities: set[bytes] = field(default_factory=set)
    counted: int | None = None
    occurrences: Occurrences | None = None

    @property
    def identity_count(self) -> int:
        """Distinct spans that were hit, as far as they are counted."""
        return len(self.identities) if self.counted is None else min(len(self.identities), self.counted)

    def add(self, atom: Atom, span: Span) -> None:
        """Notes that the span hit the atom."""
        self.identities.add(span.identity)
        if span.start_ns is not None:
            self.first_ns = span.start_ns if self.first_ns is None else min(self.first_ns, span.start_ns)
            self.last_ns = span.start_ns if self.last_ns is None else max(self.last_ns, span.start_ns)
        if atom.pairing:
            self.occurrences = self.occurrences or Occurrences()
            variants = atom.variants(span) if atom.pairing is Pairing.EACH else ()
            self.occurrences.add(span.identity, span.start_ns, hashed(variants, [key_hash] * len(atom.keys)))


def review(paths: Iterable[str | Path], today: date) -> list[Problem]:
    """Every problem of the rule files, sorted by place."""
    files, found = source.read(paths)
    compiled, more = compile_files(files)
    found += more
    every = rules_of(compiled)
    for rule in compiled:
        found += failed_tests(rule, every)
        found += _expired(rule, today)
    return problems.by_place(found)


def rules_of(compiled: Iterable[CompiledRule]) -> RuleSet:
    """The rules as one set; those that are not enabled are judged too."""
    enabled = [replace(each, rule=replace(each.rule, enabled=True)) for each in compiled]
    rules, _ = rule_set([], enabled, [])
    return rules


def judge_trace(rules: RuleSet, spans: Iterable[Span], *, whole: bool = True) -> list[Judgement]:
    """The judgements of one trace, from all its spans."""
    facts: dict[bytes, TraceFacts] = {}
    for span in spans:
        for atom in rules.hits(span):
            facts.setdefault(atom.fingerprint, TraceFacts(counted=atom.counted)).add(atom, span)
    return judge(rules, facts, whole=whole)


def failed_tests(compiled: CompiledRule, every: RuleSet) -> Iterator[Problem]:
    """The tests of a rule that do not come out as expected: judged alone, and among `every` rule of its set."""
    if compiled.draft.misses_tests:
        yield problems.no_tests(compiled.draft.spot, compiled.rule.id)
    if not compiled.draft.tests:
        return
    rule, alone = compiled.rule, rules_of([compiled])
    for test in compiled.draft.tests:
        actual, among = _verdict(alone, rule, test), _verdict(every, rule, test)
        if actual is not test.expect:
            yield problems.failed_test(test.spot, test.name, test.expect.value, actual.value)
        if among is not actual:
            yield problems.depends_on_others(test.spot, test.name, actual.value, among.value)


def _verdict(rules: RuleSet, rule: Rule, test: DraftTest) -> Verdict:
    judgements = judge_trace(rules, test.spans, whole=not test.is_cut)
    # Of two rules with one id, which is a problem of its own, each has its own verdict.
    told_by = (rule.id, rule.fingerprint)
    of_rule = (each.verdict for each in judgements if (each.rule.id, each.rule.fingerprint) == told_by)
    return next(of_rule, Verdict.NOT_APPLICABLE)


def _expired(compiled: CompiledRule, today: date) -> Iterator[Problem]:
    for exception in compiled.draft.exceptions:
        if exception.expires is not None and exception.expires < today:
            yield problems.expired_exception(exception.spot, exception.expires.isoformat())
