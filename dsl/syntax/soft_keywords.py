"""Recognises soft keywords: words that are keywords only at some positions, and names everywhere else.

In: the tokens of a rule. Out: the same tokens, with a type of their own for soft keywords. A span may therefore be
called `each` or `own`. `each` and `some` start a pair where an expression starts and a subject follows, because no name
can stand there; most other soft keywords are recognised only inside that pair. `by` is one after the subject of a
count, `trace.duration` where an expression starts or after a comparison operator. Linear in the number of tokens.
"""

from __future__ import annotations

from collections.abc import Iterable

from lark import Token

from dsl.syntax.tokens import CALLS

TRACE_DURATION = "trace.duration"
QUANTIFIERS = ("each", "some")
SOFT_KEYWORDS = frozenset(
    {*QUANTIFIERS, "that", "has", "own", "above", "below", "directly", "beside", "within", "with", "same", "different"}
    | {"without", "any", "between"}
)
"""Names that are keywords at some position in a pair."""

_SUBJECT_START = frozenset({"NAME", "STRING", "HAS", "LPAR"})
_EXPRESSION_OPENERS = frozenset({"LBRACE", "LPAR", "AND", "OR", "NOT"})
_OPENING = CALLS | {"LPAR"}
_QUANTITY_ENDS = frozenset({"NUMBER", "RPAR", "TRACE_DURATION"})
_RELATIONS = {"above": "ABOVE", "below": "BELOW", "directly": "DIRECTLY", "beside": "BESIDE", "within": "WITHIN"}
_RELATIONS |= {"with": "WITH", "without": "WITHOUT"}


def mark_soft_keywords(tokens: Iterable[Token]) -> list[Token]:
    """Return the tokens with the soft keywords retyped."""
    softened = list(tokens)
    in_condition: list[bool] = []
    index = 0
    while index < len(softened):
        word = softened[index]
        if word.type == "COUNT":
            _Scanner(softened, index + 1).count()
        if word.type in _OPENING:
            in_condition.append(word.type != "LPAR" or (bool(in_condition) and in_condition[-1]))
        elif word.type == "RPAR" and in_condition:
            in_condition.pop()
        elif not (in_condition and in_condition[-1]) and _starts_pair(softened, index):
            index = _PairScanner(softened, index).scan()
            continue
        elif _is_trace_duration(softened, index, is_nested=bool(in_condition) and in_condition[-1]):
            softened[index] = Token.new_borrow_pos("TRACE_DURATION", word, word)
        index += 1
    return softened


def _starts_pair(tokens: list[Token], index: int) -> bool:
    token, is_first = tokens[index], index == 0 or tokens[index - 1].type in _EXPRESSION_OPENERS
    return is_first and token.type == "NAME" and token in QUANTIFIERS and _starts_subject(tokens, index + 1)


def _is_trace_duration(tokens: list[Token], index: int, *, is_nested: bool) -> bool:
    """Return whether the token stands where an expression starts, or is compared with a number or quantity."""
    if is_nested or tokens[index].type != "NAME" or tokens[index] != TRACE_DURATION:
        return False
    if index == 0 or tokens[index - 1].type in _EXPRESSION_OPENERS:
        return True
    return index > 1 and tokens[index - 1].type == "CMP" and tokens[index - 2].type in _QUANTITY_ENDS


def _starts_subject(tokens: list[Token], index: int) -> bool:
    return index < len(tokens) and tokens[index].type in _SUBJECT_START


class _Scanner:
    """Scans tokens as far as they are well formed; the parser reports what is wrong with the rest."""

    def __init__(self, tokens: list[Token], index: int) -> None:
        self._tokens = tokens
        self._index = index

    def count(self) -> None:
        """Retype `by` after the subject of a count."""
        self._skip_subject()
        if self._is("by"):
            self._retype("BY")

    def _skip_subject(self) -> None:
        if self._type() in {"LPAR", "HAS"}:
            self._skip_group()
        elif self._type() in {"NAME", "STRING"}:
            self._index += 1
        while self._type() == "_WHERE":
            self._skip_group()

    def _skip_group(self) -> None:
        depth = 0
        while (kind := self._type()) is not None:
            depth += (kind in _OPENING) - (kind == "RPAR")
            self._index += 1
            if depth == 0:
                return

    def _retype(self, kind: str) -> None:
        self._tokens[self._index] = Token.new_borrow_pos(kind, self._tokens[self._index], self._tokens[self._index])
        self._index += 1

    def _is(self, word: str) -> bool:
        return self._type() == "NAME" and self._tokens[self._index] == word

    def _type(self, ahead: int = 0) -> str | None:
        index = self._index + ahead
        return self._tokens[index].type if index < len(self._tokens) else None


class _PairScanner(_Scanner):
    """Scans one pair."""

    def scan(self) -> int:
        """Retype the soft keywords of the pair and return the index of the token after it."""
        self._retype(self._tokens[self._index].upper())
        self._skip_subject()
        if self._is("that"):
            self._retype("THAT")
            self._partner()
        self._partner()
        return self._index

    def _partner(self) -> None:
        if not self._is("has"):
            return
        self._retype("OWNS")
        if self._is("own") and _starts_subject(self._tokens, self._index + 1):
            self._retype("OWN")
        self._skip_subject()
        while self._relation():
            pass

    def _relation(self) -> bool:
        """Scan one relation; return whether there was one."""
        if self._type() in {"BEFORE", "AFTER"}:
            self._index += 1
            return True
        word = next((word for word in _RELATIONS if self._is(word)), None)
        if word is None:
            return False
        self._retype(_RELATIONS[word])
        if word == "with":
            self._keys()
        elif word == "without":
            self._without()
        elif word == "directly":
            for below in ("above", "below"):
                if self._is(below):
                    self._retype(below.upper())
        elif word == "within" and self._type() == "NUMBER":
            self._index += 1
        return True

    def _keys(self) -> None:
        while True:
            for word in ("same", "different"):
                if self._is(word) and self._type(1) in {"NAME", "STRING"}:
                    self._retype(word.upper())
                    break
            else:
                if self._type(1) == "CMP":
                    self._index += 2
            if self._type() in {"NAME", "STRING"}:
                self._index += 1
            if self._type() != "COMMA":
                return
            self._index += 1

    def _without(self) -> None:
        if self._is("any") and _starts_subject(self._tokens, self._index + 1):
            self._retype("ANY")
        self._skip_subject()
        if self._is("between"):
            self._retype("BETWEEN")
