"""Suggests a correction for a token of a pair that the grammar does not accept.

In: the tokens read so far, and the rejected token. Out: one line of advice, or None if it does not concern pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from types import MappingProxyType

from lark import Token

_FORM = (
    "write each A has B before (or some, after, within 10m, directly below, with same K, without C between); "
    "nothing may follow these"
)
_WITHIN_FORM = "write how far apart the starts may be: each A has B within 10m"
_PHRASES = MappingProxyType(
    {
        "child": "write `directly below` if B is a child of A",
        "parent": "write `directly above` if B is the parent of A",
        "sibling": "write `beside` if B has the parent of A",
        "between": "write `without C between`",
    }
)
"""Words that are not a relation of a pair, and what to write instead."""

_CONDITIONS = "put conditions in .where(…), as in each A.where(x == 1 and y == 2) has B"
_LITERALS = frozenset({"NUMBER", "TRUE", "FALSE", "LSQB"})
_OPERATORS = frozenset({"IN", "IN_CIDR", "CONTAINS", "MATCHES", "STARTS_WITH", "ENDS_WITH"})
_NAMES = frozenset({"NAME", "STRING"})
_KEY_WORDS = frozenset({"same", "different"})
_SUBJECT_OPENERS = frozenset({"EACH", "SOME", "OWNS", "OWN", "WITHOUT", "ANY"})
"""The types of the tokens that a subject of a pair follows."""


def in_pair(word: str, kind: str, read: Sequence[Token]) -> str:
    """Return what to write in place of a token that no pair has there; `word` is empty at the end of the rule."""
    if read and read[-1].type == "WITHIN":
        return _WITHIN_FORM
    keys = _keys(read)
    if keys and (compared := _compared(word, kind, keys)) is not None:
        return f"to compare with a value, write each A.where({compared}) has B"
    if word in _KEY_WORDS and keys and keys[-1].type in _NAMES:
        return f"write a comma between the keys: {_joined(keys)}, {word} …"
    return _PHRASES.get(word, _FORM)


def after_pair(word: Token, read: Sequence[Token]) -> str | None:
    """Return what to write in place of a token that follows a pair, or stands in parentheses in one."""
    if len(read) > 1 and read[-1] in _KEY_WORDS and read[-2].type == "AND" and word.type in _NAMES:
        if keys := _keys(read[:-2]):
            return f"write a comma between the keys: {_joined(keys)}, {read[-1]} {word}"
        return None
    return _in_parentheses(word, read)


def _in_parentheses(word: Token, read: Sequence[Token]) -> str | None:
    """Return the advice for a subject of a pair in parentheses, which are for one comparison."""
    inside = [*takewhile(lambda token: token.type != "LPAR", reversed(read))]
    opener = read[-len(inside) - 2] if len(inside) + 2 <= len(read) else None
    if opener is None or opener.type not in _SUBJECT_OPENERS:
        return None
    if word.type in {"AND", "OR"}:
        return _CONDITIONS if len(inside) > 1 else "write one subject, and join pairs by `and` or `or`"
    is_name = len(inside) == 1 and inside[0].type in _NAMES
    if word.type == "HAS" and not inside:
        return f"write {opener} trace.has(…) without parentheses"
    return f"write {opener} {inside[0]} without parentheses" if is_name and word.type in {"RPAR", "_WHERE"} else None


def _compared(word: str, kind: str, keys: Sequence[Token]) -> str | None:
    """Return the comparison with a value that stands in place of a key; None when there is none."""
    if kind in _LITERALS and keys[-1].type == "CMP":
        name, op = keys[-2:]
        return f"{name} in […]" if kind == "LSQB" else f"{name} {op} {word}"
    if kind in _OPERATORS and keys[-1].type in _NAMES and (len(keys) == 1 or keys[-2].type == "COMMA"):
        return f"{keys[-1]} {word} …"
    return None


def _keys(read: Sequence[Token]) -> list[Token]:
    """Return the tokens after `with`, if all that was read since are keys."""
    keys = [*takewhile(lambda token: token.type in {"SAME", "DIFFERENT", "CMP", "COMMA", *_NAMES}, reversed(read))]
    is_with = len(keys) < len(read) and read[-len(keys) - 1].type == "WITH"
    return keys[::-1] if is_with else []


def _joined(keys: Sequence[Token]) -> str:
    return ("with " + " ".join(keys)).replace(" ,", ",")
