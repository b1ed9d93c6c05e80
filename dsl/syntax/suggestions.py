"""Suggests a correction for a token that the grammar does not accept.

In: the tokens read so far, the rejected token, and the token types that the parser would accept. Out: one line of
advice. Keywords of other languages are recognised as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import takewhile
from types import MappingProxyType

from lark import Token

from dsl.syntax import pair_suggestions
from dsl.syntax.tokens import UNIT_NS

RESERVED = frozenset(
    {"when", "always", "never", "and", "or", "not", "in", "in_cidr", "before", "after", "contains", "matches"}
    | {"starts_with", "ends_with", "exists", "true", "false"}
)

_SIMILARITY_CUTOFF = 0.65
_MAX_ADVICE_CHARS = 120
"""Advice that quotes a name longer than a line is less useful than a list of what is expected."""
_NO_TOKEN = Token("", "")
_WHEN = "write when { … } always { … } or when { … } never { … }"
_OPERATORS = frozenset({"CMP", "IN", "IN_CIDR", "CONTAINS", "MATCHES", "STARTS_WITH", "ENDS_WITH"})
_TERMINAL_NAMES = MappingProxyType(
    {
        "operator": "an operator such as ==",
        "NAME": "a name",
        "STRING": "a quoted text",
        "NUMBER": "a number",
        "CMP": "a comparison such as == or >",
        "HAS": "trace.has(…)",
        "COUNT": "count(…)",
        "_WHERE": ".where(…)",
        "LPAR": "(",
        "RPAR": ")",
        "LBRACE": "{",
        "RBRACE": "}",
        "LSQB": "[",
        "RSQB": "]",
        "COMMA": ",",
        "DOLLAR": "$",
        "OWNS": "has",
        "BY": "by",
        "$END": "the end of the rule",
    }
)
_FOREIGN_KEYWORDS = MappingProxyType(
    {
        **dict.fromkeys(("is", "eq", "equals"), ("CMP", "==")),
        **dict.fromkeys(("ne", "isnt", "differs"), ("CMP", "!=")),
        **dict.fromkeys(("gt", "above", "over"), ("CMP", ">")),
        **dict.fromkeys(("lt", "below", "under"), ("CMP", "<")),
        **dict.fromkeys(("ge", "gte"), ("CMP", ">=")),
        **dict.fromkeys(("le", "lte"), ("CMP", "<=")),
        **dict.fromkeys(("like", "regex", "regexp", "rlike"), ("MATCHES", "matches")),
        **dict.fromkeys(("includes", "has"), ("CONTAINS", "contains")),
        **dict.fromkeys(("precedes", "followed_by"), ("BEFORE", "before")),
        **dict.fromkeys(("follows", "preceded_by"), ("AFTER", "after")),
        **dict.fromkeys(("then", "must", "require"), ("ALWAYS", "always")),
        **dict.fromkeys(("forbid", "must_not"), ("NEVER", "never")),
    }
)
"""Keywords of other languages: the token type of the equivalent here, and its spelling."""

_FOREIGN_PHRASES = MappingProxyType(
    {
        "between": "write x >= 1 and x <= 5",
        "implies": "write when { a } always { b }",
        "unless": "write a and not b",
        "where": "write .where(…) directly after the name",
        "xor": "write (a and not b) or (b and not a)",
    }
)
"""Keywords of other languages that have no equivalent here."""


_QUANTIFIERS = MappingProxyType(
    {**dict.fromkeys(("no", "none"), "not some"), **dict.fromkeys(("every", "all"), "each"), "any": "some"}
)
"""Words in place of `each` and `some`, and what to write instead."""

TRACE_DURATION_FORM = "compare it with a duration: trace.duration > 10s"


def advice(word: Token, read: Sequence[Token], accepted: frozenset[str]) -> str:
    """Return what to write instead of the rejected token."""
    if (of_pair := pair_suggestions.after_pair(word, read)) is not None and len(of_pair) <= _MAX_ADVICE_CHARS:
        return of_pair
    before, previous = [_NO_TOKEN, _NO_TOKEN, *read][-2:]
    mistakes = (*_idioms(word, before, previous, accepted), *_call_mistakes(word, before, previous, accepted))
    if (correction := next((text for is_so, text in mistakes if is_so), None)) and len(correction) <= _MAX_ADVICE_CHARS:
        return correction
    if word.lower() in RESERVED and word not in RESERVED:
        return f"write `{word.lower()}` in lower case"
    if word in RESERVED and "NAME" in accepted:
        return f'`{word}` is a keyword; for a name, write "{word}"'
    if (keyword := _intended_keyword(word, previous, accepted)) is not None and len(keyword) <= _MAX_ADVICE_CHARS:
        return f"did you mean `{keyword}`?"
    return expected(accepted)


def function_of(opening: Token) -> str:
    """Return the name of the function that a token such as `distinct (` opens."""
    return "".join(takewhile(str.isalpha, opening))


def aggregate_form(opening: Token) -> str:
    """Return how to write the aggregate that the token opens."""
    function = function_of(opening)
    return f"write {function}(SUBJECT, NAME) > 1, beside other conditions and not in a where or pair"


def expected(accepted: frozenset[str]) -> str:
    """Return a list of what the parser would accept."""
    # A pair or a name is accepted wherever a subject is; listing them as well would only lengthen the advice.
    accepted = accepted - {"EACH", "SOME", "NAMED", "AGGREGATE", "TRACE_DURATION", "STEP_OPEN", "ELEMENTS"}
    names = accepted - _OPERATORS | {"operator"} if accepted >= _OPERATORS else accepted
    return "expected " + ", ".join(sorted(_TERMINAL_NAMES.get(name, name.lower()) for name in names))


def _idioms(word: Token, before: Token, previous: Token, accepted: frozenset[str]) -> Iterator[tuple[bool, str]]:
    """Yield idioms that the language does not have: whether this is one, and how to write it instead."""
    is_not = previous.type == "NOT" and accepted == {"IN"}
    yield word == "exists" and "NAME" in accepted, "write `exists` after the name: x exists"
    yield accepted == {"LBRACE"}, _WHEN
    yield word in {"always", "never"} and previous is _NO_TOKEN, _WHEN
    yield is_not and word == "exists", f"write not ({before} exists)"
    yield is_not and word.type in _OPERATORS, f"write not ({before} {word} …)"
    yield is_not, "did you mean `and not`?"
    yield word in _FOREIGN_PHRASES and previous is not _NO_TOKEN, _FOREIGN_PHRASES.get(word, "")
    yield previous.type == "IN" and word in {"(", "{"}, "write the list in [ ]"
    yield previous.type == "NUMBER" and word in UNIT_NS, f"write {previous}{word} without a space"
    yield previous == "<" and word == ">", "did you mean `!=`?"
    yield word.type in {"STEP_OPEN", "ELEMENTS"}, f"reach into a value in a where: .where({previous}[…] == …)"
    is_apart = word.type in {"LSQB", "STAR"} and "STEP_OPEN" in accepted
    yield is_apart, f"write the bracket directly after {'the name' if previous == ']' else previous}"


def _call_mistakes(word: Token, before: Token, previous: Token, accepted: frozenset[str]) -> Iterator[tuple[bool, str]]:
    """Yield, as `_idioms` does, calls of what cannot be called, and calls with too many arguments."""
    name, _, last = previous.rpartition(".")
    is_count = previous in {"count", "trace.count"} and word.type in {"NAME", "STRING"}
    yield word.type == "LPAR" and previous == "has", "write trace.has(…)"
    is_pair = word == "has" and "BEFORE" in accepted
    yield is_count, f"write count({word})"
    is_relation = "BEFORE" in accepted and previous.type in {"NAME", "RPAR"}
    subject = previous if previous.type == "NAME" else "A"
    yield is_relation and word == "within", f"write each {subject} has … within 10m"
    yield is_relation and word == "child", f"write each … has {subject} directly below"
    yield is_relation and word == "parent", f"write each … has {subject} directly above"
    yield is_pair and before in _QUANTIFIERS, f"write {_QUANTIFIERS.get(before)} {previous} has …"
    yield is_pair, f"write each {previous} has … or some {previous} has …"
    is_quantified = previous.type == "NAME" and previous in _QUANTIFIERS and word.type == "NAME"
    yield is_quantified, f"write {_QUANTIFIERS.get(previous)} {word} has …"
    yield word.type == "LPAR" and name != "" and last in RESERVED, f"write {name} {last} …"
    yield before.type == "HAS", "trace.has(…) takes one name; put conditions in .where(…), other subjects beside it"
    yield before.type == "COUNT" and "RPAR" in accepted, "count(…) takes one subject; put conditions in .where(…)"


def _intended_keyword(word: Token, previous: Token, accepted: frozenset[str]) -> str | None:
    """Return the keyword that a name was probably meant to be."""
    kind, spelled = _FOREIGN_KEYWORDS.get(word.lower(), ("", ""))
    if kind in accepted:
        return spelled
    candidates = sorted(RESERVED & {name.lower() for name in accepted})
    candidates += ["not in"] if {"NOT", "IN"} <= accepted else []
    if word.type == "NAME" and (close := _closest(word, candidates)):
        return close
    if previous.type != "NAME":
        return None
    if word.type == "LPAR":
        return _intended_call(previous)
    if word.type == "LBRACE" and previous.lower() in {"if", "given"}:
        return "when"
    return _closest(previous, {"LBRACE": ["when"], "NAME": ["not"]}.get(word.type, []))


def _intended_call(name: Token) -> str | None:
    above, dot, last = name.rpartition(".")
    if (close := _closest(last, ["where"])) and above + dot not in {"", "trace."}:
        return f"{above}.{close}("
    return f"{close}(" if (close := _closest(name, ["trace.has", "trace.count", "count"])) else None


def _closest(word: str, known: Sequence[str]) -> str | None:
    return next(iter(get_close_matches(word.lower(), known, n=1, cutoff=_SIMILARITY_CUTOFF)), None)
