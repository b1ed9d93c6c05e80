"""The rule language: compiles rule files and judges traces by them. It does not depend on Kafka."""

from dsl.compile.compile import RulesError, compile_texts, load
from dsl.compile.review import judge_trace, review
from dsl.files.spans import read_span
from dsl.judge.atoms import Atom
from dsl.judge.ruleset import Interest, Kind, Mode, Rule, RuleSet, RuleSeverity
from dsl.judge.span import Event, Span, Value
from dsl.judge.verdict import AtomFacts, Judgement, Verdict, judge
from dsl.problems import Location, Problem, Severity

__all__ = [
    "Atom",
    "AtomFacts",
    "Event",
    "Interest",
    "Judgement",
    "Kind",
    "Location",
    "Mode",
    "Problem",
    "Rule",
    "RuleSet",
    "RuleSeverity",
    "RulesError",
    "Severity",
    "Span",
    "Value",
    "Verdict",
    "compile_texts",
    "judge",
    "judge_trace",
    "load",
    "read_span",
    "review",
]
