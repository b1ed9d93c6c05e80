"""Splits a rule's text into tokens, and finds the mistakes that a single token can have.

In: a `SourceText`. Out: Lark tokens and problems. Nesting is limited here, by counting, so that no later stage can
exhaust the stack. Linear in the size of the text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import pairwise

from lark import Lark, Token, UnexpectedCharacters

from dsl import problems
from dsl.problems import Problem
from dsl.syntax.nodes import Duration, Number, TextRange
from dsl.syntax.source import SourceText

MAX_BYTES = 64 * 1024
MAX_NESTING = 100

_QUANTITY = re.compile(r"([+-]?[0-9]+)(\.[0-9]+)?([eE][+-]?[0-9]+)?(ns|us|ms|s|m|h|d)?")
UNIT_NS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}
_INDEX = re.compile(r"[0-9]{1,9}")
_LIST_TYPES = {"LSQB": "LSQB", "ELEMENTS": "STAR"}
"""The types of brackets that are not a step; the grammar has no place for a `[*]` that is not."""
_MAX_INT_DIGITS = 400
CALLS = frozenset({"HAS", "COUNT", "AGGREGATE", "_WHERE"})
"""The tokens that end in the parenthesis they open."""
_OPENING = CALLS | {"LPAR", "LBRACE", "LSQB", "STEP_OPEN"}
_CLOSING = ("RPAR", "RBRACE", "RSQB")
_SIGN_ADVICE = {
    "=>": "did you mean `>=`?",
    "=<": "did you mean `<=`?",
    "=~": "did you mean `matches`?",
    "!~": "write not (x matches …)",
    "--": "write a comment with //",
    "=": "write == to compare",
    "&": "write `and`",
    "|": "write `or`",
    "!": "write `not`, or != to compare",
    "#": "write a comment with //",
    "/": "write a comment with //; put text with / in quotes",
    "@": "write the name of a list or subject directly after @",
    ".": "a dot is allowed only inside a name or number, or in .where(…)",
    "*": "there are no wildcards; use `matches`, `starts_with` or `contains`",
    "-": "write the sign directly before its number",
    ";": "remove it; a rule ends at the next header",
    "≥": "write >=",
    "≤": "write <=",
    "≠": "write !=",
    **dict.fromkeys("“”„«»", 'write straight quotes: "'),
    **dict.fromkeys("\u2018\u2019\u201a", "write straight quotes: '"),
}
"""What to write instead of an unknown sign; longer signs come before their prefixes."""


def tokenize(language: Lark, source: SourceText) -> tuple[list[Token], list[Problem]]:
    """Return the tokens of the text, up to the first character that no token starts with."""
    size_bytes = len(source.text.encode())
    if size_bytes > MAX_BYTES:
        return [], [problems.too_long(source.spot(TextRange(0, 1)), size_bytes, MAX_BYTES)]
    words: list[Token] = []
    reported: list[Problem] = []
    try:
        words.extend(language.lex(source.text))
    except UnexpectedCharacters as error:
        reported.append(_unknown_character(source, error.pos_in_stream or 0))
    words = _mark_paths(words)
    reported.extend(problem for word in words if (problem := _invalid_token(source, word)))
    reported.extend(_invalid_indices(source, words))
    reported.extend(too_deep(source, words))
    return words, reported


def text_range(token: Token) -> TextRange:
    """Return the range of a token in its text."""
    return TextRange(token.start_pos or 0, token.end_pos or 0)


def quantity(text: str, at: TextRange) -> Number | Duration | None:
    """Parse a number or duration; return None when the text is neither or the value overflows.

    >>> quantity("1.5h", TextRange(0, 4)).value_ns
    5400000000000
    """
    match = _QUANTITY.fullmatch(text)
    if match is None or math.isinf(value := float(text.removesuffix(match[4] or ""))):
        return None
    is_short_int = match[2] is None and match[3] is None and len(text) < _MAX_INT_DIGITS
    if match[4] is None:
        return Number(int(text) if is_short_int else value, at)
    # With float arithmetic, 4.35ms would be off by a fraction of a nanosecond. Decimal rejects large exponents.
    exact = Decimal(match[1] + (match[2] or "")) if match[3] is None else Decimal(value)
    value_ns = exact * UNIT_NS[match[4]]
    if math.isinf(float(value_ns)):
        return None
    return Duration(int(value_ns) if value_ns == int(value_ns) else float(value_ns), at)


def _mark_paths(words: list[Token]) -> list[Token]:
    """Return the tokens with brackets retyped that touch a name: they are steps of a path, not lists."""
    marked: list[Token] = []
    is_path = False
    for word in words:
        touched = marked[-1] if marked and marked[-1].end_pos == word.start_pos else None
        if word.type in {"LSQB", "ELEMENTS"}:
            is_path = touched is not None and (touched.type in {"NAME", "STRING"} or (is_path and _ends_step(touched)))
            kind = "STEP_OPEN" if word.type == "LSQB" else word.type
            marked.append(Token.new_borrow_pos(kind if is_path else _LIST_TYPES[word.type], word, word))
        else:
            marked.append(word)
    return marked


def _ends_step(word: Token) -> bool:
    return word.type in {"RSQB", "ELEMENTS"}


def _invalid_indices(source: SourceText, words: list[Token]) -> Iterator[Problem]:
    for opening, word in pairwise(words):
        if opening.type == "STEP_OPEN" and word.type == "NUMBER" and _INDEX.fullmatch(word) is None:
            yield problems.invalid_index(source.spot(text_range(word)), word)


def _unknown_character(source: SourceText, position: int) -> Problem:
    character = source.text[position]
    spot = source.spot(TextRange(position, position + 1))
    if character in "\"'":
        return problems.unterminated_string(spot)
    return problems.unknown_character(spot, character, _sign_advice(source.text, position))


def _sign_advice(text: str, position: int) -> str:
    character = text[position]
    if (known := next((sign for sign in _SIGN_ADVICE if text.startswith(sign, position)), None)) is not None:
        return _SIGN_ADVICE[known]
    if not character.isprintable():
        return "remove it; only spaces, tabs and line breaks separate words"
    if not character.isascii():
        return "put text that is not ASCII in quotes"
    return "put it in quotes if it is part of a name or text"


def _invalid_token(source: SourceText, word: Token) -> Problem | None:
    if word.type == "NUMBER" and quantity(word, text_range(word)) is None:
        problem = problems.malformed_number if _QUANTITY.fullmatch(word) is None else problems.overflowing_number
        return problem(source.spot(text_range(word)), word)
    if word.type == "NAMED" and word.endswith(".where"):
        return problems.reserved_name(source.spot(text_range(word)), word)
    if word.type == "NAME" and (word in {"trace", "trace.has", "trace.count"} or word.endswith(".where")):
        return problems.reserved_name(source.spot(text_range(word)), word)
    return None


def too_deep(source: SourceText, words: Iterable[Token]) -> Iterator[Problem]:
    """Yield one problem where nesting first exceeds the limit; a `not` nests until its operand ends."""
    depth, nots = 0, 0
    opened: list[int] = []
    for word in words:
        if word.type == "NOT":
            nots += 1
        elif word.type in _OPENING:
            opened.append(nots + 1)
            depth, nots = depth + nots + 1, 0
        else:
            nots = 0
            if word.type in _CLOSING and opened:
                depth -= opened.pop()
        if depth + nots > MAX_NESTING:
            yield problems.too_deep(source.spot(text_range(word)), MAX_NESTING)
            return
