"""The facts of an atom, at the limits of what a chain keeps."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from dsl.judge import occurrences
from dsl.judge.atoms import ANCESTRY
from dsl.judge.occurrences import Occurrence, Occurrences, Variant
from streams.windows import facts as facts_of_windows
from streams.windows.facts import WITNESS_COUNT, AtomFacts
from tests.support.builders import fact


def remembered(*spans: tuple[int, int | None], counted: int = 0) -> AtomFacts:
    """Return the facts of spans (id, start)."""
    facts = AtomFacts()
    for span, start_ns in spans:
        facts.add(fact(span, start_ns), counted, 7)
    return facts


def shown(facts: AtomFacts) -> list[int]:
    """Return the span ids of the witnesses."""
    return [int.from_bytes(seen.identity, "big") for seen in facts.witnesses]


def test_first_and_last_start() -> None:
    """The first and last start are the same in any order of arrival."""
    facts = remembered((1, 20), (2, 10), (3, 30))

    assert (10, 30) == (facts.first_ns, facts.last_ns)


def test_missing_start_has_no_time() -> None:
    """A span without a start is a witness, but neither first nor last."""
    facts = remembered((1, None))

    assert (None, None, [1]) == (facts.first_ns, facts.last_ns, shown(facts))


def test_missing_start_leaves_first_and_last_unchanged() -> None:
    """A span without a start does not change first and last, and sorts last among the witnesses."""
    facts = remembered((1, None), (2, 7))

    assert (7, 7, [2, 1]) == (facts.first_ns, facts.last_ns, shown(facts))


def test_exactly_as_many_witnesses_as_kept() -> None:
    """Five witnesses are all kept, the earliest first."""
    facts = remembered(*[(span, 10 - span) for span in range(WITNESS_COUNT)])

    assert [4, 3, 2, 1, 0] == shown(facts)


def test_one_witness_too_many() -> None:
    """Of six witnesses the latest is dropped, in any order of arrival."""
    facts = remembered((9, 99), *[(span, 10 - span) for span in range(WITNESS_COUNT)])

    assert [4, 3, 2, 1, 0] == shown(facts)


def test_witnesses_of_one_start_by_identity() -> None:
    """Witnesses with the same start are sorted by id."""
    facts = remembered((3, 5), (1, 5), (2, 5))

    assert [1, 2, 3] == shown(facts)


def test_same_span_twice_is_one_witness() -> None:
    """A copy that an exporter sent twice is one witness and counts once."""
    facts = remembered((1, 5), (1, 5), counted=3)

    assert ([1], 1) == (shown(facts), facts.identity_count)


def test_same_span_with_other_content() -> None:
    """Of two copies with different content the same one is kept, in either order of arrival."""
    one, other = AtomFacts(), AtomFacts()
    copies = [fact(1, 5, name="one"), fact(1, 5, name="two")]

    for copy, reverse in zip(copies, copies[::-1], strict=True):
        one.add(copy, 0, 7)
        other.add(reverse, 0, 7)

    assert 1 == len(one.witnesses)
    assert one == other


def test_uncounted_atom_keeps_no_identities() -> None:
    """An atom that no rule counts keeps no identities."""
    facts = remembered((1, 5), (2, 5))

    assert 0 == facts.identity_count


def test_count_is_exact_below_counted() -> None:
    """Below the limit of counted spans the count is exact."""
    facts = remembered(*[(span, 1) for span in range(3)], counted=4)

    assert 3 == facts.identity_count


def test_count_stops_at_counted() -> None:
    """Above the limit of counted spans the count is a lower bound."""
    facts = remembered(*[(span, 1) for span in range(9)], counted=4)

    assert 4 == facts.identity_count


def test_occurrences_are_kept_when_a_fact_says_that_a_pair_asks() -> None:
    """A fact without keys keeps no occurrence; kept occurrences are merged, and survive a round trip."""
    facts, other = remembered((1, 5)), AtomFacts()
    before = facts.occurrences

    facts.add(replace(fact(2, 6), keys=(((b"x",),),)), 0, 1)
    other.add(replace(fact(3, None), keys=()), 0, 1)
    facts.merge(other, 0, b"")

    expected = Occurrences(has_unstarted=True, kept=[Occurrence((2).to_bytes(8, "big"), (Variant(6, ((b"x",),)),))])
    assert (None, expected) == (before, facts.occurrences)
    assert facts == msgspec.msgpack.decode(msgspec.msgpack.encode(facts), type=AtomFacts)


def test_parents_of_more_spans_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit on the parents of spans is another one than that on occurrences, also where facts are merged."""
    monkeypatch.setattr(occurrences, "MAX_OCCURRENCES", 1)
    monkeypatch.setattr(facts_of_windows, "MAX_SPANS", 2)
    kept: dict[bytes, list[int]] = {}

    for atom in (ANCESTRY.fingerprint, b"another"):
        of_atom, merged = AtomFacts(), AtomFacts()
        for number in range(3):
            one = replace(fact(number, None), atom=atom, keys=((),))
            of_atom.add(one, 0, 1)
            other = AtomFacts()
            other.add(one, 0, 1)
            merged.merge(other, 0, atom)
        kept[atom] = [len(each.occurrences.kept) for each in (of_atom, merged) if each.occurrences]

    assert {ANCESTRY.fingerprint: [2, 2], b"another": [1, 1]} == kept


def test_what_an_earlier_version_stored_is_read() -> None:
    """Facts without the field are those of an atom that no pair uses."""
    stored = msgspec.msgpack.encode([5, 5, [], []])

    assert AtomFacts(first_ns=5, last_ns=5) == msgspec.msgpack.decode(stored, type=AtomFacts)


def test_values_are_counted_instead_of_spans() -> None:
    """Of a counted atom with a key, the values are counted as far as needed; one that cannot be compared is noted."""
    facts, other, hidden = AtomFacts(), AtomFacts(), AtomFacts()
    for span, values in enumerate([(b"x", b"y"), (b"y",), (), (b"z",)]):
        facts.add(replace(fact(span), keys=((values,),)), 3, 1)
    other.add(replace(fact(9), keys=(((b"a",),),)), 3, 1)
    hidden.add(replace(fact(8), keys=((None,),)), 3, 1)

    facts.merge(other, 3, b"")

    assert ([b"a", b"x", b"y"], None) == (facts.identities, facts.occurrences)
    facts.merge(hidden, 3, b"")
    assert ([b"a", b"x", b"y"], Occurrences()) == (facts.identities, facts.occurrences)
