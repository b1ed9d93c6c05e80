"""Tells what somebody meant who nearly wrote a rule.

In: the words read so far, the one that cannot stand there, and the kinds of word that could. Out: one line of advice.
Words of other languages are known here, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from types import MappingProxyType

from lark import Token

RESERVED = frozenset(
    {"when", "always", "never", "and", "or", "not", "in", "in_cidr", "before", "after", "contains", "matches"}
    | {"starts_with", "ends_with", "exists", "true", "false"}
)

_NEAR = 0.65
_OPERATORS = frozenset({"CMP", "IN", "IN_CIDR", "CONTAINS", "MATCHES", "STARTS_WITH", "ENDS_WITH"})
_UNITS = frozenset({"ns", "us", "ms", "s", "m", "h", "d"})
_WORDS = MappingProxyType(
    {
        "operator": "an operator such as ==",
        "NAME": "a name",
        "STRING": "a quoted text",
        "NUMBER": "a number",
        "CMP": "a comparison such as == or >",
        "_HAS": "trace.has(…)",
        "_COUNT": "count(…)",
        "_WHERE": ".where(…)",
        "LPAR": "(",
        "RPAR": ")",
        "LBRACE": "{",
        "RBRACE": "}",
        "LSQB": "[",
        "RSQB": "]",
        "COMMA": ",",
        "DOLLAR": "$",
        "$END": "the end of the rule",
    }
)
_ELSEWHERE = MappingProxyType(
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
"""Words of other languages: the kind of word they stand for here, and how it is spelled."""

_PHRASES = MappingProxyType(
    {
        "between": "write x >= 1 and x <= 5",
        "implies": "write when { a } always { b }",
        "unless": "write a and not b",
        "where": "write .where(…) right behind the name",
        "xor": "write (a and not b) or (b and not a)",
    }
)
"""Words of other languages for which this one has no word."""


def advice(word: Token, read: Sequence[Token], accepted: frozenset[str]) -> str:
    """What to write where `word` cannot stand."""
    previous = read[-1] if read else None
    if (instead := _instead(word, read, accepted)) is not None:
        return instead
    if word.lower() in RESERVED and word not in RESERVED:
        return f"write `{word.lower()}` in lower case"
    if word in RESERVED and "NAME" in accepted:
        return f'`{word}` is a word of the language; to mean a name, write "{word}"'
    if (meant := _meant(word, previous, accepted)) is not None:
        return f"did you mean `{meant}`?"
    return expected(accepted)


def expected(accepted: frozenset[str]) -> str:
    """What could stand at a place."""
    names = accepted - _OPERATORS | {"operator"} if accepted >= _OPERATORS else accepted
    return "expected " + ", ".join(sorted(_WORDS.get(name, name.lower()) for name in names))


def _instead(word: Token, read: Sequence[Token], accepted: frozenset[str]) -> str | None:
    """How the language says it, for turns of phrase that it does not have."""
    first, second = (read[-2] if len(read) > 1 else None), (read[-1] if read else None)
    if word == "exists" and "NAME" in accepted:
        return "write `exists` behind the name: x exists"
    if accepted == {"LBRACE"} or (word in {"always", "never"} and second is None):
        return "write when { … } always { … } or when { … } never { … }"
    if second is None:
        return None
    if second.type == "NOT" and accepted == {"IN"}:
        is_operator = word == "exists" or word.type in _OPERATORS
        return f"write not ({first} {word}{'' if word == 'exists' else ' …'})" if is_operator else "did you mean `and not`?"
    if word in _PHRASES:
        return _PHRASES[word]
    if second.type == "IN" and word in {"(", "{"}:
        return "write the list in [ ]"
    if second.type == "NUMBER" and word in _UNITS:
        return f"write {second}{word} without a space"
    if second == "<" and word == ">":
        return "did you mean `!=`?"
    return _instead_of_call(word, first, second, accepted)


def _instead_of_call(word: Token, first: Token | None, second: Token, accepted: frozenset[str]) -> str | None:
    """The same, for what is written as if it were called, and for what is called with too much."""
    if word.type == "LPAR" and second == "has":
        return "write trace.has(…)"
    if second in {"count", "trace.count"} and word.type in {"NAME", "STRING"}:
        return f"write count({word})"
    above, _, last = second.rpartition(".")
    if word.type == "LPAR" and above and last in RESERVED:
        return f"write {above} {last} …"
    if first is not None and first.type == "_HAS":
        return "trace.has(…) takes one name; conditions stand in .where(…), another subject behind `and` or `or`"
    if first is not None and first.type == "_COUNT" and "RPAR" in accepted:
        return "count(…) takes one subject; its conditions stand in .where(…)"
    return None


def _meant(word: Token, previous: Token | None, accepted: frozenset[str]) -> str | None:
    """The word of the language that was probably meant, where the text has a name."""
    kind, spelled = _ELSEWHERE.get(word.lower(), ("", ""))
    if kind in accepted:
        return spelled
    fitting = sorted(RESERVED & {name.lower() for name in accepted})
    fitting += ["not in"] if {"NOT", "IN"} <= accepted else []
    if word.type == "NAME" and (near := _near(word, fitting)):
        return near
    if previous is None or previous.type != "NAME":
        return None
    if word.type == "LPAR":
        return _called(previous)
    if word.type == "LBRACE" and previous.lower() in {"if", "given"}:
        return "when"
    return _near(previous, {"LBRACE": ["when"], "NAME": ["not"]}.get(word.type, []))


def _called(name: Token) -> str | None:
    above, dot, last = name.rpartition(".")
    if (near := _near(last, ["where"])) and above + dot not in {"", "trace."}:
        return f"{above}.{near}("
    return f"{near}(" if (near := _near(name, ["trace.has", "trace.count", "count"])) else None


def _near(word: str, known: Sequence[str]) -> str | None:
    return next(iter(get_close_matches(word.lower(), known, n=1, cutoff=_NEAR)), None)
