"""Explains one rule to people who do not write rules.

In: a compiled rule, and the identity attributes that are exported with every span. Out: text that says when the rule
applies, when it is broken and held, what is excepted, which attributes leave the process because of it, and its atoms.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from dsl.check.meaning import Meaning, meaning_of
from dsl.compile.compile import CompiledRule
from dsl.explain.phrase import clauses, joined, noun, sentence, whose_phrase
from dsl.files.dedup import text as dedup_text
from dsl.files.triage import KEYS
from dsl.judge.atoms import ANCESTRY, AtomSpec, Use, key_text, lookup_names
from dsl.judge.formula import compare
from dsl.judge.ruleset import Mode, Rule, RuleException
from dsl.show import printable
from dsl.syntax.nodes import (
    Aggregate,
    AllOf,
    AnyOf,
    CountComparison,
    Duration,
    Expr,
    Not,
    Number,
    TraceDuration,
    subjects,
)
from dsl.syntax.parse import parse_cond
from dsl.syntax.printer import body_text, cond_text
from dsl.syntax.source import SourceText, source_file

_UNDETERMINED = (
    "it applies, but the trace is incomplete, and the missing part could change the verdict",
    "(its window hit max_duration, input was lost, or it has more spans than are counted)",
)
_SPAN_IS = (
    "A span matches `x` when `x` is its name, the name of one of its events, or an attribute of it that is not false.",
    "A condition on `a` of a span `x` also matches any span with an attribute `x.a`; a condition on `x.a` of a span",
    "also matches a span `x` with an attribute `a`.",
)


def explain(compiled: CompiledRule, identity: Iterable[str]) -> str:
    r"""Return the explanation as text of several lines.

    >>> from dsl.compile.compile import compile_files
    >>> from dsl.syntax.source import source_file
    >>> (rule,), _ = compile_files([source_file("t.rules", "// id: r\nwhen { login } never { token.logged }")])
    >>> print("".join(explain(rule, ["user.id"]).splitlines(keepends=True)[:12]), end="")
    r
      conditional, high
    <BLANKLINE>
    Rule
      when { login } never { token.logged }
    <BLANKLINE>
    Applies to a trace when
      there is a span `login`
    <BLANKLINE>
    Broken when it applies and
      there is a span `token.logged`
    <BLANKLINE>
    """
    rule, body = compiled.rule, compiled.body
    meaning = meaning_of(body, rule.kind)
    sections = {
        rule.id if rule.title == rule.id else f"{rule.id}: {rule.title}": [_status(rule)],
        "Rule": [body_text(body)],
        "Names in the rule and its exceptions": rule.definitions,
        "Applies to a trace when": _applies(meaning),
        "Broken when it applies and": clauses(meaning.broken),
        "Held when it applies and": clauses(meaning.broken, holds=False),
        "Undetermined when": [*_UNDETERMINED, *_lost_parents(compiled.atom_specs)],
        "Triage": list(_triage(rule)),
        "Exceptions": [_exception(each) for each in rule.exceptions],
        "Exported from each span that satisfies an atom": list(_exported_data(compiled.atom_specs, identity)),
        "Atoms": [_atom(spec) for spec in compiled.atom_specs],
    }
    written = [_section(head, lines) for head, lines in sections.items() if lines]
    return "\n".join([*written, "".join(f"{line}\n" for line in _SPAN_IS)])


def _lost_parents(atom_specs: Collection[AtomSpec]) -> list[str]:
    return ["or a span is missing that could be above or below another one"] if ANCESTRY in atom_specs else []


def _section(head: str, lines: Iterable[str]) -> str:
    return "".join(f"{printable(line)}\n" for line in [head, *(f"  {line}" for line in lines)])


def _status(rule: Rule) -> str:
    phrases = [rule.kind.value, rule.severity.value, *rule.controls]
    phrases += [f"times in {rule.timezone}"] if rule.timezone != "UTC" else []
    phrases += ["shadow: judged and counted, no signals"] if rule.mode is Mode.SHADOW else []
    phrases += ["not enabled: never judged"] if not rule.enabled else []
    return ", ".join(phrases)


def _triage(rule: Rule) -> Iterator[str]:
    for key in KEYS:
        value = getattr(rule.triage, key)
        for text in value if isinstance(value, tuple) else () if value is None else (value,):
            yield f"{key.replace('_', ' ')}: {text}"
    if rule.dedup is not None:
        yield f"dedup: {dedup_text(rule.dedup)}"


def _applies(meaning: Meaning) -> list[str]:
    hits = [f"there is a {noun(subject)}" for subject, is_positive in subjects(meaning.about) if is_positive]
    if not meaning.is_pattern or not hits:
        return clauses(meaning.about)
    # A pattern also applies to every trace for which it is true, even without a hit.
    items = meaning.about.items if isinstance(meaning.about, AnyOf) else (meaning.about,)
    unhit = [item for item in items if not _implies_hit(item)]
    phrases = [f"({sentence(item)})" if isinstance(item, AllOf | AnyOf) else sentence(item) for item in unhit]
    return joined("or", [*hits, *phrases])


def _implies_hit(expr: Expr) -> bool:
    """Return whether the expression can be true only if one of its positive subjects was hit."""
    match expr:
        case AllOf(items):
            return any(map(_implies_hit, items))
        case AnyOf(items):
            return all(map(_implies_hit, items))
        case CountComparison(left, op, right):
            if any(isinstance(side, Duration | TraceDuration) for side in (left, right)):
                return False  # a duration needs any span
            if any(isinstance(side, Aggregate) and side.function in {"min", "max", "avg"} for side in (left, right)):
                return True
            zero, other = (side.value if isinstance(side, Number) else 0 for side in (left, right))
            return not compare(zero, op, other)
        case _:
            return not isinstance(expr, Not)


def _exception(exception: RuleException) -> str:
    cond, _ = parse_cond(SourceText(file=source_file("", exception.where), text=exception.where, line=1))
    until = "" if exception.expires is None else f" up to and including {exception.expires.isoformat()}"
    why = ": ".join(text for text in (exception.owner, exception.reason) if text)
    phrases = "" if cond is None else whose_phrase(cond)
    return f"a span {phrases} does not make the rule apply{until}" + (f" ({why})" if why else "")


def _exported_data(atom_specs: Collection[AtomSpec], identity: Iterable[str]) -> Iterator[str]:
    numbers = {key.name for spec in atom_specs if spec.use is Use.NUMBERS for key in spec.keys}
    grouped = {key.name for spec in atom_specs if spec.use is Use.DEDUP for key in spec.keys}
    others = frozenset({Use.NUMBERS, Use.DEDUP})
    compared = {key.name for spec in atom_specs if spec.use not in others for key in spec.keys}
    links = {link for spec in atom_specs for link in spec.links}
    shown = (spec for spec in atom_specs if spec != ANCESTRY and spec.use is not Use.DEDUP)
    named = {name for spec in shown for name in lookup_names(spec, shown=True)}
    yield "its id, name, service, start and duration"
    yield "if present, the attributes that the rule names: " + ", ".join(sorted(named))
    yield "if present, the identity attributes: " + ", ".join(sorted(identity))
    if links:
        yield "hashes of its id and of its parent's id, and whether it is a server or consumer span"
    if compared:
        yield "if present, hashes of the values that pairs and aggregates compare: " + ", ".join(sorted(compared))
    if numbers:
        yield "if present, the numbers that aggregates are taken of: " + ", ".join(sorted(numbers))
    if grouped:
        yield "if present, hashes of the values that signals are grouped by: " + ", ".join(sorted(grouped))


def _atom(spec: AtomSpec) -> str:
    unless = [f"unless {cond_text(each.where)}" for each in spec.exemptions]
    has_use = spec.keys or spec.use is not Use.COMPARED
    keys = [f"{spec.use.value} {', '.join(map(key_text, spec.keys))}".rstrip()] if has_use else []
    keys += [f"linked by {', '.join(link.value for link in spec.links)}"] if spec.links else []
    return " ".join([spec.fingerprint.hex(), spec.text, *keys, *unless])
