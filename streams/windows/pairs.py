"""Names the spans that a pair is about, for the sentence of a signal.

In: the accounts of a judgement, and the facts of its chain. Out: a text for each pair: how many of its subject lack
another one, and which, or which have one. A span is told by the values that are compared, where its witness is
remembered, and by its start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from dsl.judge.pairs import Account, Example
from streams.windows.facts import AtomFacts
from topics.signals.finding import PairText
from topics.signals.sentence import plain_or_quoted
from topics.times import rfc3339

_ID_BYTES = 8


def pair_texts(accounts: Iterable[Account], facts: Mapping[bytes, AtomFacts]) -> Iterator[PairText]:
    """A text for each pair; empty where first and last starts decided."""
    for account in accounts:
        told = _lacking(account, facts) if account.is_missing else _having(account, facts)
        yield PairText(account.words.text, told if account.examples else "")


def _lacking(account: Account, facts: Mapping[bytes, AtomFacts]) -> str:
    words = account.words
    own = " of their own" if account.is_own else ""
    return f"{_counted(account)} no {words.other}{own}: {_listed(account, facts)}"


def _having(account: Account, facts: Mapping[bytes, AtomFacts]) -> str:
    return f"{_counted(account)} such {account.words.other}: {_listed(account, facts)}"


def _counted(account: Account) -> str:
    has = "has" if account.count == 1 else "have"
    return f"{account.count} of {account.total} {account.words.subject} {has}"


def _listed(account: Account, facts: Mapping[bytes, AtomFacts]) -> str:
    shown = [_span(example, account, facts) for example in account.examples]
    left_out = account.count - len(shown)
    return ", ".join([*shown, *([f"{left_out} more"] if left_out else [])])


def _span(example: Example, account: Account, facts: Mapping[bytes, AtomFacts]) -> str:
    identity = example.occurrence.identity
    values = _values(account, identity, facts)
    start_ns = example.occurrence.order[0]
    start = rfc3339(start_ns // 1_000_000) if start_ns >= 0 else None
    return " ".join([*values, *([f"at {start}"] if start else [f"span {identity[:_ID_BYTES].hex()}"])])


def _values(account: Account, identity: bytes, facts: Mapping[bytes, AtomFacts]) -> list[str]:
    """The values that are compared, as the witness of the span has them, redacted as all that leaves."""
    remembered = facts.get(account.subject)
    witness = (
        next((seen.witness for seen in remembered.witnesses if seen.identity == identity), None) if remembered else None
    )
    if witness is None:
        return []
    named = {
        name: value
        for key in account.words.keys
        for name, value in witness.attributes.items()
        if name == key or name.endswith(f".{key}")
    }
    return [f"{name} {plain_or_quoted(str(value))}" for name, value in named.items()]
