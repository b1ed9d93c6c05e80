"""The rule language: text to rules, atoms and verdicts. Knows nothing of Kafka."""

from dsl.atoms import Atom
from dsl.compile import RulesError, compile_texts, load
from dsl.problems import Place, Problem, Severity
from dsl.ruleset import Interest, Kind, Mode, Rule, RuleSet, RuleSeverity
from dsl.span import Event, Span, Value
from dsl.verdict import AtomFacts, Judgement, Verdict, judge

__all__ = [
    "Atom",
    "AtomFacts",
    "Event",
    "Interest",
    "Judgement",
    "Kind",
    "Mode",
    "Place",
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
    "load",
]
