"""Determines by what the atoms of a pair or an aggregate are compared.

In: the relations of a pair, or the name under an aggregate. Out: for the atom of each subject its columns, which are
names of join keys and links, and for each relation the columns that must be equal or differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from dsl.judge.ancestry import LinkColumns
from dsl.judge.atoms import ANCESTRY
from dsl.judge.descent import Descent
from dsl.judge.keys import AtomKey, Link
from dsl.judge.relation import BarrierKey, KeyPair
from dsl.syntax.nodes import JoinKey, Name, Pair, Partner, Relations


class Columns(NamedTuple):
    """The columns of an atom: the values of its occurrences are in this order, those of links last."""

    keys: tuple[AtomKey, ...] = ()
    links: tuple[Link, ...] = ()

    def place(self, column: AtomKey | Link) -> int:
        """Return the index of a column."""
        return (*self.keys, *self.links).index(column)


NO_COLUMNS = Columns()

_LINKS: Mapping[str | None, tuple[Link, Link]] = MappingProxyType(
    {
        "directly above": (Link.PARENT, Link.SPAN),
        "directly below": (Link.SPAN, Link.PARENT),
        "beside": (Link.PARENT, Link.PARENT),
    }
)
"""The links of the subject and of the partner that must be equal."""

_DESCENTS = ("above", "below")


def pair_columns(pair: Pair) -> Columns:
    """Return the columns of the subject of a pair."""
    relations = [partner.relations for partner in pair.partners]
    keys = {_subject_key(key) for each in relations for key in each.keys}
    return _columns(keys, {link for each in relations for link in _links(each, 0)})


def partner_columns(partner: Partner) -> Columns:
    """Return the columns of a partner."""
    return _columns({_partner_key(key) for key in partner.relations.keys}, _links(partner.relations, 1))


def value_column(name: Name) -> Columns:
    """Return the one column of the subject of an aggregate."""
    return Columns((AtomKey(name.text, name.text),))


def barrier_columns(partner: Partner) -> Columns:
    """Return the columns of what may not lie between a subject and its partner."""
    keys = {of_side(key) for key in _equalities(partner.relations) for of_side in (_subject_key, _partner_key)}
    return _columns(keys, set())


def equal_keys(relations: Relations, subject: Columns, partner: Columns) -> tuple[KeyPair, ...]:
    """Return the columns of subject and partner that must be equal."""
    equal = [
        KeyPair(subject.place(_subject_key(key)), partner.place(_partner_key(key))) for key in _equalities(relations)
    ]
    if relations.structure in _LINKS:
        of_subject, of_partner = _LINKS[relations.structure]
        equal.append(KeyPair(subject.place(of_subject), partner.place(of_partner)))
    return tuple(dict.fromkeys(equal))


def descent_of(relations: Relations, atom: bytes, subject: Columns, partner: Columns) -> Descent | None:
    """Return the descent that the relations ask for; `atom` is that of the subject."""
    if relations.structure not in _DESCENTS:
        return None
    of_subject, of_partner = (LinkColumns(*map(each.place, ANCESTRY.links)) for each in (subject, partner))
    return Descent(
        is_above=relations.structure == "above",
        ancestry=ANCESTRY.fingerprint,
        subject=atom,
        of_subject=of_subject,
        of_partner=of_partner,
    )


def different_keys(relations: Relations, subject: Columns, partner: Columns) -> tuple[KeyPair, ...]:
    """Return the columns of subject and partner that must differ."""
    different = (key for key in relations.keys if not key.is_equality)
    pairs = (KeyPair(subject.place(_subject_key(key)), partner.place(_partner_key(key))) for key in different)
    return tuple(dict.fromkeys(pairs))


def between_keys(relations: Relations, subject: Columns, barrier: Columns) -> tuple[BarrierKey, ...]:
    """Return the columns of the subject that something between must share, and those in which it may have the value.

    Of `K == L`, it may have the value as K like the subject or, if it has no K, as L like the partner.
    """
    keys = (
        BarrierKey(
            subject.place(_subject_key(key)),
            tuple(dict.fromkeys(barrier.place(of_side(key)) for of_side in (_subject_key, _partner_key))),
        )
        for key in _equalities(relations)
    )
    return tuple(dict.fromkeys(keys))


def _links(relations: Relations, side: int) -> set[Link]:
    """Return the links that relations compare on a side: 0 for the subject, 1 for the partner."""
    if relations.structure in _DESCENTS:
        return set(ANCESTRY.links)
    return {_LINKS[relations.structure][side]} if relations.structure in _LINKS else set()


def _equalities(relations: Relations) -> list[JoinKey]:
    return [key for key in relations.keys if key.is_equality]


def _subject_key(key: JoinKey) -> AtomKey:
    return AtomKey(*key.names)


def _partner_key(key: JoinKey) -> AtomKey:
    return AtomKey(*reversed(key.names))


def _columns(keys: set[AtomKey], links: set[Link]) -> Columns:
    return Columns(tuple(sorted(keys)), tuple(sorted(links, key=lambda link: link.value)))
