"""The budget of a source record: its facts and audit records are bounded, whatever the record."""

from __future__ import annotations

import msgspec
import pytest

from dsl import RuleSet, Span, compile_texts
from dsl.judge.atoms import Use
from streams.decode.decoder import Decoded, TraceSpans
from streams.errors import RecordError
from streams.projection.audit_records import extract
from streams.projection.budget import (
    FACT_BYTES,
    MIN_BYTES,
    Budget,
    Projection,
    RecordFacts,
    bare_fact_bytes,
    project,
)
from streams.projection.project import Projector
from streams.projection.redact import Redaction, treatments
from tests.support import poison
from tests.support.builders import shown_of, trace_id
from tests.support.decoding import decode
from topics.errors import Refusal, RefusalReason
from topics.otlp.requests import RecordKind
from topics.records import audit
from topics.records.facts import Fact
from topics.values import TRUNCATED_KEY

BUDGET = Budget()


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    """The rules that poison records hit."""
    return compile_texts({"p.rules": poison.RULES})[0]


def projected(value: bytes, rules: RuleSet) -> Projection:
    """Return what ingest makes of a record; nothing when it cannot be decoded."""
    projector = Projector(rules)
    try:
        decoded = decode(value, projector.interest)
    except RecordError:
        decoded = Decoded()
    return project(decoded, projector, BUDGET.facts_bytes(len(value)))


def size_bytes(facts: list[Fact]) -> int:
    """Return the size of facts on the topic."""
    return sum(len(msgspec.msgpack.encode(fact)) for fact in facts)


def span(number: int, **attributes: str) -> Span:
    """Create a numbered span that is a hit."""
    identity = number.to_bytes(8, "big")
    return Span(poison.HIT, span_id=identity, identity=identity, attributes=attributes)


@pytest.mark.parametrize("name", poison.ALL)
def test_no_record_makes_more_than_its_budget(name: str, rules: RuleSet) -> None:
    """The facts and the audit records of a record stay within the budget, and each of them fits in a message."""
    value = poison.ALL[name]()

    told = projected(value, rules)
    facts = [fact for trace in told.traces for fact in trace.facts]
    total_bytes = size_bytes(facts)
    assert max(map(size_bytes, ([fact] for fact in facts)), default=0) <= FACT_BYTES
    room_bytes = BUDGET.total_bytes(len(value)) - total_bytes
    for record in extract(value, RecordKind.SPANS, room_bytes=room_bytes):
        written_bytes = len(audit.encode(record))
        assert written_bytes <= audit.VALUE_LIMIT_BYTES
        total_bytes += written_bytes

    assert total_bytes <= BUDGET.total_bytes(len(value))


def test_usual_record_is_whole(rules: RuleSet) -> None:
    """Facts within the budget are unchanged."""
    spans = [span(number, **{"user.id": "u" * 900}) for number in range(20)]
    facts = RecordFacts(Projector(rules), BUDGET.facts_bytes(0))

    whole = Projector(rules).facts_of(spans)
    assert whole == facts.of_trace(spans)
    assert facts.refusal is None
    assert size_bytes(whole) <= facts.size_bytes <= size_bytes(whole) + len(whole)


def test_long_values_give_way_first(rules: RuleSet) -> None:
    """Texts are truncated to 64 bytes with a digest; which span hit what, and when, stays, and so do short values."""
    spans = [span(number, **{"user.id": "u" * 900, "user.role": "admin"}) for number in range(100)]

    facts = RecordFacts(Projector(rules), BUDGET.facts_bytes(0)).of_trace(spans)

    whole = Projector(rules).facts_of(spans)
    assert [(each.atom, each.identity) for each in whole] == [(each.atom, each.identity) for each in facts]
    shown = shown_of(facts[0]).attributes
    assert "admin" == shown["user.role"]
    assert str(shown["user.id"]).startswith("uuuu")
    assert "[cut sha256:" in str(shown["user.id"])
    assert len({str(shown_of(each).attributes) for each in facts}) == 1


def test_witnesses_are_reduced_to_a_digest(rules: RuleSet) -> None:
    """If truncated values are still too much, only a digest of them remains."""
    spans = [span(number, **{f"user.{name}": "u" * 900 for name in ("id", "name", "role")}) for number in range(400)]

    facts = RecordFacts(Projector(rules), MIN_BYTES // 2).of_trace(spans)

    assert 400 == len(facts)
    assert {(TRUNCATED_KEY,)} == {tuple(shown_of(each).attributes) for each in facts}


def test_facts_that_are_too_many(rules: RuleSet) -> None:
    """The record is refused, and exactly its traces with spans of interest are incomplete."""
    traces = {trace_id("a"): TraceSpans(9_999, root_seen=True, spans=[span(number) for number in range(9_999)])}
    traces[trace_id("b")] = TraceSpans(3, root_seen=False, spans=[])
    traces[trace_id("c")] = TraceSpans(1, root_seen=False, spans=[span(1)])

    told = project(Decoded(traces), Projector(rules), BUDGET.facts_bytes(0))

    assert Refusal(RefusalReason.OVER_BUDGET) == told.refusal
    assert [(9_999, [], True), (3, [], False), (1, [], True)] == [
        (trace.span_count, trace.facts, trace.is_incomplete) for trace in told.traces
    ]


@pytest.mark.parametrize("count", [500, 5_000])
def test_showing_nothing_refuses_the_same(rules: RuleSet, count: int) -> None:
    """A replay without witnesses refuses exactly the records that ingest refuses."""
    spans = [span(number, **{"user.id": "u" * 900}) for number in range(count)]
    showing = RecordFacts(Projector(rules), BUDGET.facts_bytes(0))
    bare = RecordFacts(Projector(rules, shows=False), BUDGET.facts_bytes(0))

    assert len(showing.of_trace(spans)) == len(bare.of_trace(spans))
    assert showing.refusal == bare.refusal


GROUPED = f"""// id: r
// dedup: user.id, tenant.id for 1h
when {{ {poison.HIT} }} always {{ reviewed }}
"""


@pytest.mark.parametrize("redaction", [Redaction(), Redaction(treatments("user.id=hash"), b"0123456789abcdef")])
def test_values_that_group_signals_stay(redaction: Redaction) -> None:
    """Beyond the budget, the hashes by which `dedup` groups signals remain, so the budget never changes a group."""
    rules, _ = compile_texts({"t.rules": GROUPED})
    projector = Projector(rules, redaction=redaction)
    spans = [span(number, **{"user.id": "u" * 900, "tenant.id": f"t{number}"}) for number in range(150)]
    whole = projector.facts_of(spans)
    room_bytes = 150 * 165

    facts = RecordFacts(projector, room_bytes)
    bounded = facts.of_trace(spans)

    dedup = {fingerprint for fingerprint, atom in rules.atoms.items() if atom.use is Use.DEDUP}
    assert {(TRUNCATED_KEY,)} == {tuple(shown_of(each).attributes) for each in bounded if each.atom not in dedup}
    assert [each for each in whole if each.atom in dedup] == [each for each in bounded if each.atom in dedup]
    assert {("tenant.id", "user.id")} == {tuple(shown_of(each).attributes) for each in bounded if each.atom in dedup}
    assert facts.size_bytes <= room_bytes


@pytest.mark.parametrize("names", [1, 2, 8])
def test_values_that_group_signals_count(names: int) -> None:
    """The hashes count against the budget, and a record is refused with them as without witnesses."""
    by = ", ".join(f"a.rather.long.name.{number}" for number in range(names))
    rules, _ = compile_texts({"t.rules": GROUPED.replace("user.id, tenant.id", by)})
    attributes = {f"a.rather.long.name.{number}": "u" for number in range(names)}

    refusals = []
    for count in range(1, 150, 2):
        spans = [span(number, **attributes) for number in range(count)]
        showing, bare = (RecordFacts(Projector(rules, shows=shows), 16 << 10) for shows in (True, False))
        assert len(showing.of_trace(spans)) == len(bare.of_trace(spans))
        assert showing.size_bytes <= 16 << 10
        assert showing.refusal == bare.refusal
        refusals.append(showing.refusal)

    assert {None, Refusal(RefusalReason.OVER_BUDGET)} == set(refusals)
    for fact in Projector(rules).facts_of([span(1, **attributes)]):
        atom = rules.atoms[fact.atom]
        if atom.use is Use.DEDUP:
            assert size_bytes([fact]) <= bare_fact_bytes(atom)


def test_fault_of_the_program_is_a_dead_letter(rules: RuleSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in the projection of one record affects this record alone."""

    def hits(_: RuleSet, __: Span) -> list[object]:
        raise RecursionError

    monkeypatch.setattr(RuleSet, "hits", hits)

    told = project(
        Decoded({trace_id("a"): TraceSpans(1, root_seen=True, spans=[span(1)])}), Projector(rules), MIN_BYTES
    )

    assert Refusal(RefusalReason.PROJECTION_FAILED, "RecursionError") == told.refusal
    assert told.traces[0].is_incomplete
