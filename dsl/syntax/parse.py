"""Parses a rule's text into nodes.

In: a `SourceText`. Out: a `RuleBody`, or a `Cond` for the condition in a where; or None and at least one error. Parsing
is linear in the size of the text and never raises. Nodes are built bottom-up while Lark reduces, so nesting does not
use the call stack.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TypeAlias, cast

from lark import Lark, Token, Transformer, UnexpectedToken, v_args

from dsl import problems
from dsl.problems import Problem
from dsl.syntax import pair_suggestions, suggestions
from dsl.syntax.names import Names, as_written
from dsl.syntax.nodes import (
    COUNT_BY,
    Aggregate,
    AllOf,
    AnyOf,
    Boolean,
    Comparison,
    Cond,
    Count,
    CountComparison,
    Duration,
    Elements,
    Exists,
    Expr,
    Has,
    HasAttribute,
    IsTruthy,
    JoinKey,
    ListLiteral,
    Literal,
    Name,
    Not,
    Number,
    Operand,
    Order,
    Pair,
    Partner,
    Quantity,
    Reference,
    Relations,
    RelationWord,
    RuleBody,
    Step,
    Subject,
    Text,
    TextRange,
    TraceDuration,
    When,
    Without,
)
from dsl.syntax.soft_keywords import mark_soft_keywords
from dsl.syntax.source import SourceText, replace_surrogates
from dsl.syntax.tokens import CALLS, quantity, text_range, tokenize

_OPENING = CALLS | {"LPAR"}
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))")
_ESCAPED = {"n": "\n", "t": "\t", "\\": "\\", '"': '"', "'": "'"}
_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


NO_NAMES = Names()


def parse_rule(source: SourceText, names: Names = NO_NAMES) -> tuple[RuleBody | None, list[Problem]]:
    """Parse a rule; None without a problem means that a name in it has one."""
    tree, reported = _parse(source, "rule", names)
    return cast("RuleBody | None", tree), reported


def parse_cond(source: SourceText, names: Names = NO_NAMES) -> tuple[Cond | None, list[Problem]]:
    """Parse a condition, as it is written in a where; None is as in `parse_rule`."""
    tree, reported = _parse(source, "cond", names)
    return cast("Cond | None", tree), reported


def parse_subject(source: SourceText, names: Names = NO_NAMES) -> tuple[Subject | None, list[Problem]]:
    """Parse the definition of a subject; None is as in `parse_rule`."""
    tree, reported = _parse(source, "definition", names)
    return cast("Subject | None", tree), reported


def lex(source: SourceText) -> tuple[list[Token], list[Problem]]:
    """Return the tokens of a text, with the names in it."""
    return tokenize(language(), source)


def unquote(text: str) -> str:
    r"""Return the value of a quoted text; a backslash before any other character is kept.

    >>> unquote(r'"\d+ \"a\" \u00e9"')
    '\\d+ "a" é'
    """
    return decode_surrogates(_ESCAPE.sub(_unescape, text[1:-1]))


def decode_surrogates(text: str) -> str:
    r"""Decode surrogates that came from escapes: a pair becomes one character, a lone one becomes U+FFFD.

    >>> [ascii(decode_surrogates(text)) for text in ("\ud83d\ude00", "\ud83d")]
    ["'\\U0001f600'", "'\\ufffd'"]
    """
    joined = _SURROGATE_PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
    return replace_surrogates(joined)


def _unescape(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 16)) if escape[1] else _ESCAPED.get(escape[2], escape[0])


@cache
def language() -> Lark:
    """Return the grammar, as Lark has compiled it."""
    return Lark(
        Path(__file__).with_name("grammar.lark").read_text(encoding="utf-8"),
        parser="lalr",
        lexer="basic",
        start=["rule", "cond", "definition"],
        transformer=_Builder(),
        maybe_placeholders=False,
    )


def _parse(source: SourceText, start: str, names: Names) -> tuple[object, list[Problem]]:
    written, reported = lex(source)
    if reported:
        return None, reported
    words, reported = names.expand(written, source)
    if words is None:
        return None, reported
    if start == "rule":
        words = mark_soft_keywords(words)
    reader = language().parse_interactive(start=start)
    read: list[Token] = []
    try:
        for word in words:
            reader.feed_token(word)
            read.append(word)
        end = len(source.text.rstrip())
        return reader.feed_token(Token("$END", "", start_pos=end, end_pos=end)), []
    except UnexpectedToken as error:
        return None, [_unexpected(source, error.token, read, frozenset(reader.accepts()))]  # type: ignore[no-untyped-call]


def _unexpected(source: SourceText, word: Token, read: list[Token], accepted: frozenset[str]) -> Problem:
    previous = read[-1] if read else None
    in_pair = _is_in_pair(read)
    aggregate = _aggregate_form(word, read)
    if word.type == "$END":
        of_pair = pair_suggestions.in_pair("", "", read) if in_pair else None
        help_line = aggregate or of_pair or suggestions.expected(accepted)
        return problems.unexpected_end(source.spot(text_range(previous) if previous else TextRange(0, 1)), help_line)
    word = as_written(source, word)
    spot = source.spot(text_range(word))
    if aggregate is not None:
        return problems.unexpected(spot, word, aggregate)
    if word.type in {"_WHERE", "BEFORE", "AFTER"} and not in_pair and _ends_in_group(read):
        return problems.group_as_subject(spot, "where" if word.type == "_WHERE" else word)
    if in_pair:
        return problems.unexpected(spot, word, pair_suggestions.in_pair(word, word.type, read))
    if previous is not None and previous.type in {"BEFORE", "AFTER"} and word.type == "LPAR":
        return problems.group_as_subject(spot, previous)
    return problems.unexpected(spot, word, suggestions.advice(word, read, accepted))


def _aggregate_form(word: Token, read: list[Token]) -> str | None:
    """Return the form of the aggregate that is or contains the rejected token, or that ends before it; else None."""
    if word.type == "AGGREGATE":
        return suggestions.aggregate_form(word)
    if (read and read[-1].type == "TRACE_DURATION") or _compares_duration(read):
        return suggestions.TRACE_DURATION_FORM
    opened: list[Token] = []
    closed: Token | None = None
    for token in read:
        closed = None
        if token.type in _OPENING:
            opened.append(token)
        elif token.type == "RPAR" and opened:
            closed = opened.pop()
    last = closed or (opened[-1] if opened else None)
    return suggestions.aggregate_form(last) if last is not None and last.type == "AGGREGATE" else None


def _compares_duration(read: list[Token]) -> bool:
    """Return whether the tokens end with `trace.duration` and an operator."""
    return [token.type for token in read[-2:]] == ["TRACE_DURATION", "CMP"]


def _is_in_pair(read: list[Token]) -> bool:
    """Return whether the tokens end inside a pair, but not inside one of its wheres."""
    depth = 0
    for word in reversed(read):
        depth += (word.type == "RPAR") - (word.type in _OPENING)
        if depth < 0 or (depth == 0 and word.type in {"AND", "OR", "NOT", "LBRACE", "RBRACE"}):
            return False
        if word.type in {"EACH", "SOME"}:
            return True
    return False


def _ends_in_group(read: list[Token]) -> bool:
    """Return whether the last token closes a group: a parenthesis not opened by `trace.has`, `count` or `where`."""
    depth = 0
    for word in reversed(read):
        if word.type == "RPAR":
            depth += 1
        elif word.type in _OPENING:
            depth -= 1
        if depth == 0:
            return word.type == "LPAR"
    return False


_Relation: TypeAlias = RelationWord | list[JoinKey] | Without


def _spanning(*nodes: object) -> TextRange:
    stretches = [text_range(node) if isinstance(node, Token) else cast("Name", node).at for node in nodes]
    return TextRange(min(at.start for at in stretches), max(at.end for at in stretches))


def _count_operand(side: Quantity | Token) -> Quantity | Number | Duration:
    return cast("Number | Duration", quantity(side, text_range(side))) if isinstance(side, Token) else side


def _join_wheres(wheres: tuple[Cond, ...]) -> Cond | None:
    if len(wheres) <= 1:
        return wheres[0] if wheres else None
    return AllOf(wheres, at=_spanning(*wheres))


def _nodes_of(partner: Partner) -> list[object]:
    relations = partner.relations
    return [partner.subject, *relations.words, *relations.keys, *relations.without]


def _relations(written: Sequence[object]) -> Relations:
    """Sort the relations by kind, each kind in source order."""
    return Relations(
        tuple(each for each in written if isinstance(each, RelationWord)),
        tuple(key for each in written if isinstance(each, list) for key in each),
        tuple(each for each in written if isinstance(each, Without)),
    )


@v_args(inline=True)
class _Builder(Transformer[Token, object]):
    """Builds nodes: one method per alias in the grammar."""

    def when(self, condition: Expr, *clauses: tuple[str, Expr]) -> When:
        always = tuple(expr for word, expr in clauses if word == "always")
        never = tuple(expr for word, expr in clauses if word == "never")
        return When(condition, always, never, at=_spanning(condition, *always, *never))

    def bare(self, expr: Expr) -> Expr:
        return expr

    def always(self, expr: Expr) -> tuple[str, Expr]:
        return "always", expr

    def never(self, expr: Expr) -> tuple[str, Expr]:
        return "never", expr

    def any_of(self, *items: Expr) -> AnyOf[Expr]:
        return AnyOf(items, at=_spanning(*items))

    def all_of(self, *items: Expr) -> AllOf[Expr]:
        return AllOf(items, at=_spanning(*items))

    def negation(self, item: Expr) -> Not[Expr]:
        return Not(item, at=_spanning(item))

    def group(self, item: Expr) -> Expr:
        return replace(item, grouped=True) if isinstance(item, AllOf | AnyOf) else item

    def order(self, left: Subject, word: Token, right: Subject) -> Order:
        return Order(left, str(word), right, at=_spanning(left, right))

    def pair(self, quantifier: Token, subject: Subject, *partners: Partner) -> Pair:
        that = partners[0] if len(partners) > 1 else None
        return Pair(
            quantifier=str(quantifier),
            subject=subject,
            that=that,
            partner=partners[-1],
            at=_spanning(quantifier, *_nodes_of(partners[-1])),
        )

    def that(self, _that: Token, owns: Token, subject: Subject, *relations: _Relation) -> Partner:
        return self.partner(owns, subject, *relations)

    def partner(self, _owns: Token, *parts: Token | Subject | _Relation) -> Partner:
        is_own = isinstance(parts[0], Token)
        subject, *relations = parts[1:] if is_own else parts
        return Partner(cast("Subject", subject), _relations(relations), is_own)

    def relation_word(self, *words: Token) -> RelationWord:
        *texts, last = words
        if last.type != "NUMBER":
            return RelationWord(" ".join(words), at=_spanning(*words))
        duration = cast("Number | Duration", quantity(last, text_range(last)))
        return RelationWord(" ".join(texts), duration, at=_spanning(*words))

    def with_keys(self, _with: Token, *keys: JoinKey) -> list[JoinKey]:
        return list(keys)

    def key(self, *parts: Token | Name) -> JoinKey:
        at = _spanning(*parts)
        if isinstance(parts[0], Token):
            return JoinKey(str(parts[0]), cast("Name", parts[1]), at=at)
        return JoinKey(str(parts[1]), parts[0], cast("Name", parts[2]), at=at)

    def without(self, opening: Token, *parts: Token | Subject) -> Without:
        *is_any, subject, closing = parts
        return Without(cast("Subject", subject), bool(is_any), at=_spanning(opening, closing))

    def count_comparison(self, left: Quantity | Token, op: Token, right: Quantity | Token) -> CountComparison:
        return CountComparison(_count_operand(left), str(op), _count_operand(right), at=_spanning(left, right))

    def has_attribute(self, name: Name, op: str | None = None, value: Operand | None = None) -> HasAttribute:
        comparison = Exists(name, at=name.at) if op is None or value is None else self.comparison(name, op, value)
        return HasAttribute(comparison, at=comparison.at)

    def comparison(self, name: Name, op: str, value: Operand) -> Comparison:
        return Comparison(name, op, value, at=_spanning(name, value))

    def exists(self, name: Name) -> Exists:
        return Exists(name, at=name.at)

    def is_truthy(self, name: Name) -> IsTruthy:
        return IsTruthy(name, at=name.at)

    def count(self, opening: Token, subject: Has, closing: Token, *wheres: Cond) -> Count:
        where = _join_wheres((subject.where, *wheres) if subject.where else wheres)
        return Count(Has(subject.name, where, at=subject.at), at=_spanning(opening, closing, *wheres))

    def count_by(
        self, opening: Token, subject: Has, _by: Token, name: Name, closing: Token, *wheres: Cond
    ) -> Aggregate:
        count = self.count(opening, subject, closing, *wheres)
        return Aggregate(COUNT_BY, count.subject, name, at=count.at)

    def aggregate(self, opening: Token, subject: Subject, name: Name, closing: Token) -> Aggregate:
        return Aggregate(suggestions.function_of(opening), subject, name, at=_spanning(opening, closing))

    def trace_duration(self, word: Token) -> TraceDuration:
        return TraceDuration(at=text_range(word))

    def subject(self, opening: Token, name: Name, closing: Token, *wheres: Cond) -> Has:
        return Has(name, _join_wheres(wheres), at=_spanning(opening, closing, *wheres))

    def bare_subject(self, name: Name, *wheres: Cond) -> Has:
        return Has(name, _join_wheres(wheres), bare=not wheres, at=_spanning(name, *wheres))

    def op(self, *words: Token) -> str:
        return " ".join(words)

    def list(self, opening: Token, *items: Literal | Token) -> ListLiteral:
        return ListLiteral(cast("tuple[Literal, ...]", items[:-1]), at=_spanning(opening, items[-1]))

    def reference(self, name: Name) -> Reference:
        return Reference(name, at=name.at)

    def text(self, word: Token) -> Text:
        is_quoted = word.type == "STRING"
        return Text(unquote(word) if is_quoted else str(word), is_quoted, at=text_range(word))

    def quantity(self, word: Token) -> Number | Duration:
        return cast("Number | Duration", quantity(word, text_range(word)))

    def boolean(self, word: Token) -> Boolean:
        return Boolean(word == "true", at=text_range(word))

    def path(self, name: Name, *steps: tuple[Step, TextRange]) -> Name:
        at = TextRange(name.at.start, steps[-1][1].end)
        return replace(name, path=tuple(step for step, _ in steps), at=at)

    def step(self, opening: Token, *rest: Token) -> tuple[Step, TextRange]:
        if not rest:
            return Elements.ALL, text_range(opening)
        word, closing = rest
        step: Step = int(word) if word.type == "NUMBER" else unquote(word) if word.type == "STRING" else str(word)
        return step, _spanning(opening, closing)

    def name(self, word: Token) -> Name:
        is_quoted = word.type == "STRING"
        return Name(unquote(word) if is_quoted else str(word), is_quoted, at=text_range(word))
