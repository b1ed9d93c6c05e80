"""Explains one rule to people who do not write rules.

In: a compiled rule, and the identity attributes that leave with every span. Out: text that says when the rule applies,
when it is broken and held, what is excepted, which attributes leave the process because of it, and what its atoms are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from dsl.compile.compile import CompiledRule
from dsl.explain.phrase import clauses, joined, noun, sentence, whose
from dsl.files.draft import DraftException
from dsl.judge.atoms import Question, looked_up
from dsl.judge.formula import compare
from dsl.judge.ruleset import Kind, Mode, Rule
from dsl.show import printable
from dsl.syntax.nodes import AllOf, AnyOf, Compared, Expr, Form, Not, Number, When, subjects
from dsl.syntax.parse import parse_cond
from dsl.syntax.printer import cond_text, form_text

_UNDETERMINED = (
    "it applies, and what is missing could change the answer, because the trace is not known whole",
    "(it was cut, input was lost, or it has more spans than are counted)",
)
_SPAN_IS = (
    "A span is `x` when that is its name, or it has an event of that name, or an attribute that is not false.",
    "Where `a` of a span `x` is looked at, any span that has an `x.a` is one, too; where `x.a` of a span is looked at,",
    "so is a span `x` that has an `a`.",
)


def explain(compiled: CompiledRule, identity: Iterable[str]) -> str:
    r"""The explanation, several lines, each ended.

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
    rule, form = compiled.rule, compiled.form
    bad = _bad(form, rule.kind)
    sections = {
        rule.id if rule.title == rule.id else f"{rule.id}: {rule.title}": [_standing(rule)],
        "Rule": [form_text(form)],
        "Applies to a trace when": _applies(form, rule.kind),
        "Broken when it applies and": clauses(bad),
        "Held when it applies and": clauses(bad, holds=False),
        "Undetermined when": _UNDETERMINED,
        "Exceptions": [_exception(each) for each in compiled.draft.exceptions],
        "Leaves the process, of each span that satisfies an atom": list(_leaves(compiled.questions, identity)),
        "Atoms": [_atom(question) for question in compiled.questions],
    }
    written = [_section(head, lines) for head, lines in sections.items() if lines]
    return "\n".join([*written, "".join(f"{line}\n" for line in _SPAN_IS)])


def _section(head: str, lines: Iterable[str]) -> str:
    return "".join(f"{printable(line)}\n" for line in [head, *(f"  {line}" for line in lines)])


def _standing(rule: Rule) -> str:
    said = [rule.kind.value, rule.severity.value, *rule.controls]
    said += [f"times in {rule.timezone}"] if rule.timezone != "UTC" else []
    said += ["shadow: judged and counted, no signals"] if rule.mode is Mode.SHADOW else []
    said += ["not enabled: judged on no trace"] if not rule.enabled else []
    return ", ".join(said)


def _applies(form: Form, kind: Kind) -> list[str]:
    if isinstance(form, When):
        return clauses(form.condition)
    if kind is Kind.INVARIANT and isinstance(form, AllOf):
        return clauses(form.items[0])
    seen = [f"there is a {noun(subject)}" for subject, is_positive in subjects(form) if is_positive]
    if not seen:
        return clauses(form)
    # A pattern is also about every trace of which it is true, whatever of it was seen.
    others = [item for item in (form.items if isinstance(form, AnyOf) else [form]) if not _is_seen(item)]
    said = [f"({sentence(item)})" if isinstance(item, AllOf | AnyOf) else sentence(item) for item in others]
    return joined("or", [*seen, *said])


def _is_seen(expr: Expr) -> bool:
    """Whether the expression is true only of traces in which one of its positive subjects was seen."""
    match expr:
        case AllOf(items):
            return any(map(_is_seen, items))
        case AnyOf(items):
            return all(map(_is_seen, items))
        case Compared(left, op, right):
            none, other = (side.value if isinstance(side, Number) else 0 for side in (left, right))
            return not compare(none, op, other)
        case _:
            return not isinstance(expr, Not)


def _bad(form: Form, kind: Kind) -> Expr:
    """What a rule that applies is broken by."""
    if isinstance(form, When):
        items: tuple[Expr, ...] = (*map(Not, form.always), *form.never)
        return items[0] if len(items) == 1 else AnyOf(items)
    if kind is Kind.INVARIANT and isinstance(form, AllOf):
        first, *rest = form.items[1:]
        return Not(AllOf((first, *rest)) if rest else first)
    return form


def _exception(exception: DraftException) -> str:
    cond, _ = parse_cond(exception.where)
    until = "" if exception.expires is None else f" up to and including {exception.expires.isoformat()}"
    why = ": ".join(text for text in (exception.owner, exception.reason) if text)
    said = "" if cond is None else whose(cond)
    return f"a span {said} does not make the rule apply{until}" + (f" ({why})" if why else "")


def _leaves(questions: Collection[Question], identity: Iterable[str]) -> Iterator[str]:
    compared = {key for question in questions for key in question.keys}
    named = {name for question in questions for name in looked_up(question, shown=True)}
    yield "its id, name, service, start and duration"
    yield "where it has them, as the rule names them: " + ", ".join(sorted(named))
    yield "where it has them, as it tells who: " + ", ".join(sorted(identity))
    if compared:
        yield "where it has them, hashes of the values that pairs compare: " + ", ".join(sorted(compared))


def _atom(question: Question) -> str:
    unless = [f"unless {cond_text(each.where)}" for each in question.exemptions]
    keys = [f"with {', '.join(question.keys)}"] if question.keys else []
    return " ".join([question.fingerprint.hex(), question.text, *keys, *unless])
