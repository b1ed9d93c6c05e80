"""Replaces names of lists and subjects, such as `@risky_tools`, by what they stand for, before a rule is parsed.

In: the tokens of a rule and the definitions of a rule set. Out: tokens without names, each at the position of the name
it came from, and problems. No later stage knows names: a rule equals the rule in which they are written out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lark import Token

from dsl import problems
from dsl.problems import Problem
from dsl.syntax.source import SourceText
from dsl.syntax.tokens import MAX_BYTES, text_range, too_deep

NAMED = "NAMED"
"""The type of a name's token."""

_OPERATORS = frozenset({"CMP", "IN", "IN_CIDR", "CONTAINS", "MATCHES", "STARTS_WITH", "ENDS_WITH"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """What a name stands for: the tokens of a list or a subject; `tokens` is empty when it has an error.

    `text` is the canonical form. `needs_group` is true for a comparison, which a pair accepts only in parentheses.
    `warnings` are the messages that were reported where the name is defined, and need not be repeated where it is used.
    """

    is_list: bool
    tokens: tuple[Token, ...] = ()
    text: str = ""
    needs_group: bool = False
    warnings: frozenset[str] = frozenset()

    @property
    def size(self) -> int:
        """The number of characters of the tokens, with a space after each."""
        return sum(len(token) + 1 for token in self.tokens)


@dataclass(frozen=True, slots=True)
class Names:
    """The definitions of a rule set, by name."""

    definitions: Mapping[str, Definition] = field(default_factory=dict)

    def expand(self, tokens: Sequence[Token], source: SourceText) -> tuple[list[Token] | None, list[Problem]]:
        """Return the tokens with each name replaced.

        Returns None when there is a problem, or a name whose definition has one, which is reported there.
        """
        used = [(index, token) for index, token in enumerate(tokens) if token.type == NAMED]
        if not used:
            return list(tokens), []
        reported = [problem for index, token in used if (problem := self._misuse(tokens, index, token, source))]
        if reported:
            return None, reported
        definitions = [self.definitions[_name(token)] for _, token in used]
        if not all(definition.tokens for definition in definitions):
            return None, []
        size = len(source.text.encode()) + sum(definition.size for definition in definitions)
        if size > MAX_BYTES:
            spot = source.spot(text_range(used[0][1]))
            return None, [problems.expansion_too_long(spot, size, MAX_BYTES)]
        expanded = list(self._expanded(tokens))
        reported = list(too_deep(source, expanded))
        return None if reported else expanded, reported

    def _expanded(self, tokens: Sequence[Token]) -> Iterator[Token]:
        previous = None
        for token in tokens:
            if token.type == NAMED:
                definition = self.definitions[_name(token)]
                parts = definition.tokens
                # Before a subject of a pair stands `each`, `has` or another word that the lexer reads as a name.
                if definition.needs_group and previous == "NAME":
                    parts = (Token("LPAR", "("), *parts, Token("RPAR", ")"))
                yield from (Token.new_borrow_pos(part.type, part.value, token) for part in parts)
            else:
                yield token
            previous = token.type

    def _misuse(self, tokens: Sequence[Token], index: int, token: Token, source: SourceText) -> Problem | None:
        """Return what is wrong with a name at its position."""
        spot, name = source.spot(text_range(token)), _name(token)
        if (definition := self.definitions.get(name)) is None:
            return problems.unknown_name(spot, name, sorted(self.definitions))
        before = tokens[index - 1].type if index else ""
        if definition.is_list and before in {"LSQB", "COMMA"}:
            return problems.unexpected(spot, token, f"a list stands alone, without brackets: in {token}")
        if definition.is_list != (before in _OPERATORS):
            return problems.misplaced_name(spot, name, is_list=definition.is_list)
        return None


def as_written(source: SourceText, token: Token) -> Token:
    """Return a token with the text at its position in the rule, which is a name if the token came from one."""
    start, end = text_range(token)
    written = source.text[start:end]
    return Token.new_borrow_pos(token.type, written, token) if written.startswith("@") else token


def _name(token: Token) -> str:
    return token.removeprefix("@")
