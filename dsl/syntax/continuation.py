"""Finds what can follow the beginning of a rule, for editors.

In: the text before the cursor. Out: the types of the tokens that the parser would accept next. Soft keywords count as
keywords where a subject may follow them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from lark import Token, UnexpectedToken

from dsl.syntax.names import NAMED
from dsl.syntax.parse import language, lex
from dsl.syntax.soft_keywords import mark_soft_keywords
from dsl.syntax.source import SourceText, source_file
from dsl.syntax.tokens import text_range

RULE, COND, SUBJECT = "rule", "cond", "definition"
"""What a text can be: a rule, the condition in a where, or the definition of a subject."""

_FOLLOWS = "x"
"""Stands for what is still to be written; the lexer reads it as a name."""
_SPELLED = {
    "OWNS": ("has",),
    "TRACE_DURATION": ("trace.duration",),
    "HAS": ("trace.has(",),
    "COUNT": ("count(",),
    "AGGREGATE": ("sum(", "min(", "max(", "avg(", "distinct("),
}
"""The keywords of tokens that are not spelled as they are called."""
_PUNCTUATION = frozenset({"_WHERE", "ELEMENTS", "STEP_OPEN", "NAMED", "NAME", "STRING", "NUMBER", "CMP"})
"""Tokens without a fixed spelling, and `.where(`, which is written after a name."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """The types of the tokens that can follow, and the tokens that were read."""

    accepted: frozenset[str]
    read: tuple[Token, ...]


def continuation(before: str, form: str) -> Continuation | None:
    """Return what can follow a text; None in a comment or quoted text. After a mistake, nothing is accepted.

    >>> sorted(keywords(continuation("when { each a ", RULE)))
    ['has', 'that']
    """
    tokens, reported = lex(_whole(before))
    end = text_range(tokens[-1]).end if tokens else 0
    if any(problem.code == "E103" for problem in reported) or "//" in before[end:].rpartition("\n")[2]:
        return None
    # The definition of a name does not matter here: a name can stand wherever a list or subject can.
    read = [Token.new_borrow_pos("NAME", _FOLLOWS, each) if each.type == NAMED else each for each in tokens]
    words = [*read, Token("NAME", _FOLLOWS)]
    words = (mark_soft_keywords(words) if form == RULE else words)[:-1]
    reader = language().parse_interactive(start=form)
    try:
        for word in [] if reported else words:
            reader.feed_token(word)
    except UnexpectedToken:
        return Continuation(frozenset(), tuple(tokens))
    accepted: frozenset[str] = frozenset() if reported else frozenset(reader.accepts())  # type: ignore[no-untyped-call]
    return Continuation(accepted, tuple(tokens))


def keywords(found: Continuation | None) -> list[str]:
    """Return the spelled words of the language that can follow, sorted."""
    accepted = found.accepted if found is not None else frozenset[str]()
    words = {word for kind in accepted - _PUNCTUATION for word in _spelled(kind)}
    if "IN" in accepted and "NOT" in accepted:
        words = words - {"not"} | {"not in"}
    return sorted(words)


@cache
def named_pattern() -> re.Pattern[str]:
    """Return the pattern of a name with its `@`."""
    return re.compile(str(language().get_terminal(NAMED).pattern.to_regexp()))


@cache
def _spelled(kind: str) -> tuple[str, ...]:
    if kind in _SPELLED:
        return _SPELLED[kind]
    fixed = {each.name: each.pattern.value for each in language().terminals if each.pattern.type == "str"}
    word = fixed.get(kind, kind.lower())
    return (word,) if re.fullmatch(r"[a-z_]+", word) else ()


def _whole(text: str) -> SourceText:
    return SourceText(file=source_file("", text), text=text, line=1)
