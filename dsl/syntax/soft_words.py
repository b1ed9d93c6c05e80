"""Finds the words of pairs: names to the lexer, words only by their place.

In: the tokens of a rule. Out: the same tokens, those that are words of a pair with a type of their own. A span may be
called `each` or `own` all the same: no word of a pair is a word anywhere else. `each` and `some` begin a pair where an
expression begins and a subject follows, which nothing else can; the other words are looked for in the pair that they
begin. Linear in the number of tokens.
"""

from __future__ import annotations

from collections.abc import Iterable

from lark import Token

QUANTIFIERS = ("each", "some")
WORDS = frozenset(
    {*QUANTIFIERS, "that", "has", "own", "above", "below", "directly", "beside", "within", "with", "same", "different"}
    | {"without", "any", "between"}
)
"""The names that are words somewhere in a pair."""

_BEGINS_SUBJECT = frozenset({"NAME", "STRING", "HAS", "LPAR"})
_BEFORE_EXPRESSION = frozenset({"LBRACE", "LPAR", "AND", "OR", "NOT"})
_OPENING = frozenset({"LPAR", "HAS", "COUNT", "_WHERE"})
_RELATIONS = {"above": "ABOVE", "below": "BELOW", "directly": "DIRECTLY", "beside": "BESIDE", "within": "WITHIN"}
_RELATIONS |= {"with": "WITH", "without": "WITHOUT"}


def soften(words: Iterable[Token]) -> list[Token]:
    """The tokens, with the words of pairs told from names."""
    softened = list(words)
    in_condition: list[bool] = []
    at = 0
    while at < len(softened):
        word = softened[at]
        if word.type in _OPENING:
            in_condition.append(word.type != "LPAR" or (bool(in_condition) and in_condition[-1]))
        elif word.type == "RPAR" and in_condition:
            in_condition.pop()
        elif not (in_condition and in_condition[-1]) and _begins_pair(softened, at):
            at = _Pair(softened, at).soften()
            continue
        at += 1
    return softened


def _begins_pair(words: list[Token], at: int) -> bool:
    is_first = at == 0 or words[at - 1].type in _BEFORE_EXPRESSION
    return is_first and words[at].type == "NAME" and words[at] in QUANTIFIERS and _subject_begins(words, at + 1)


def _subject_begins(words: list[Token], at: int) -> bool:
    return at < len(words) and words[at].type in _BEGINS_SUBJECT


class _Pair:
    """Walks over one pair, as far as it is one; what is wrong with it the parser says."""

    def __init__(self, words: list[Token], at: int) -> None:
        self._words = words
        self._at = at

    def soften(self) -> int:
        """Turns the words of the pair; where it ends."""
        self._turn(self._words[self._at].upper())
        self._skip_subject()
        if self._is("that"):
            self._turn("THAT")
            self._partner()
        self._partner()
        return self._at

    def _partner(self) -> None:
        if not self._is("has"):
            return
        self._turn("OWNS")
        if self._is("own") and _subject_begins(self._words, self._at + 1):
            self._turn("OWN")
        self._skip_subject()
        while self._relation():
            pass

    def _relation(self) -> bool:
        """Passes over a relation; whether there was one."""
        if self._type() in {"BEFORE", "AFTER"}:
            self._at += 1
            return True
        word = next((word for word in _RELATIONS if self._is(word)), None)
        if word is None:
            return False
        self._turn(_RELATIONS[word])
        if word == "with":
            self._keys()
        elif word == "without":
            self._without()
        elif word == "directly":
            for below in ("above", "below"):
                if self._is(below):
                    self._turn(below.upper())
        elif word == "within" and self._type() == "NUMBER":
            self._at += 1
        return True

    def _keys(self) -> None:
        while True:
            for word in ("same", "different"):
                if self._is(word) and self._type(1) in {"NAME", "STRING"}:
                    self._turn(word.upper())
                    break
            else:
                if self._type(1) == "CMP":
                    self._at += 2
            if self._type() in {"NAME", "STRING"}:
                self._at += 1
            if self._type() != "COMMA":
                return
            self._at += 1

    def _without(self) -> None:
        if self._is("any") and _subject_begins(self._words, self._at + 1):
            self._turn("ANY")
        self._skip_subject()
        if self._is("between"):
            self._turn("BETWEEN")

    def _skip_subject(self) -> None:
        if self._type() in {"LPAR", "HAS"}:
            self._skip_group()
        elif self._type() in {"NAME", "STRING"}:
            self._at += 1
        while self._type() == "_WHERE":
            self._skip_group()

    def _skip_group(self) -> None:
        depth = 0
        while (kind := self._type()) is not None:
            depth += (kind in _OPENING) - (kind == "RPAR")
            self._at += 1
            if depth == 0:
                return

    def _turn(self, kind: str) -> None:
        self._words[self._at] = Token.new_borrow_pos(kind, self._words[self._at], self._words[self._at])
        self._at += 1

    def _is(self, word: str) -> bool:
        return self._type() == "NAME" and self._words[self._at] == word

    def _type(self, ahead: int = 0) -> str | None:
        at = self._at + ahead
        return self._words[at].type if at < len(self._words) else None
