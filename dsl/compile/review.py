"""Reviews rule files: all that `betrace check` reports.

In: paths and today's date. Out: every problem, sorted by place: those of loading, the in-file tests that fail, and the
exceptions that have expired. Tests run each trace through the same `hits` and `judge` as live processing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from dsl import problems
from dsl.compile.compile import CompiledRule, compile_files, rule_set
from dsl.files.draft import DraftTest
from dsl.judge.atoms import Atom, Pairing
from dsl.judge.keys import hashed, key_hash
from dsl.judge.occurrences import Occurrences
from dsl.judge.ruleset import RuleSet
from dsl.judge.span import Span
from dsl.judge.verdict import Judgement, Verdict, judge
from dsl.problems import Problem
from dsl.syntax import source


@dataclass(slots=True)
class TraceFacts:
    """The facts of one atom in a trace that is held whole in memory."""

    first_ns: int | None = None
    last_ns: int | None = None
    identities: set[bytes] = field(default_factory=set)
    occurrences: Occurrences | None = None

    @property
    def identity_count(self) -> int:
        """Distinct spans that were hit."""
        return len(self.identities)

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
    for rule in compiled:
        found += _failed(rule)
        found += _expired(rule, today)
    return problems.by_place(found)


def judge_trace(rules: RuleSet, spans: Iterable[Span], *, whole: bool = True) -> list[Judgement]:
    """The judgements of one trace, from all its spans."""
    facts: dict[bytes, TraceFacts] = {}
    for span in spans:
        for atom in rules.hits(span):
            facts.setdefault(atom.fingerprint, TraceFacts()).add(atom, span)
    return judge(rules, facts, whole=whole)


def _failed(compiled: CompiledRule) -> Iterator[Problem]:
    if compiled.draft.misses_tests:
        yield problems.no_tests(compiled.draft.spot, compiled.rule.id)
    if compiled.draft.tests:
        alone = replace(compiled, rule=replace(compiled.rule, enabled=True))
        rules, _ = rule_set([], [alone], [])
        for test in compiled.draft.tests:
            if (actual := _verdict(rules, test)) is not test.expect:
                yield problems.failed_test(test.spot, test.name, test.expect.value, actual.value)


def _verdict(rules: RuleSet, test: DraftTest) -> Verdict:
    judgements: Sequence[Judgement] = judge_trace(rules, test.spans, whole=not test.is_cut)
    return judgements[0].verdict if judgements else Verdict.NOT_APPLICABLE


def _expired(compiled: CompiledRule, today: date) -> Iterator[Problem]:
    for exception in compiled.draft.exceptions:
        if exception.expires is not None and exception.expires < today:
            yield problems.expired_exception(exception.spot, exception.expires.isoformat())
