"""The facts of a record for a rule set, and how little of it is published."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dsl import RuleSet, Span, compile_texts
from dsl.judge.atoms import ANCESTRY
from dsl.judge.events import span_identity
from dsl.judge.keys import key_hash
from dsl.judge.occurrences import MAX_OCCURRENCES
from dsl.judge.span import Event, Value
from streams.decode.decoder import Decoded, TraceSpans
from streams.inspect import spans_file
from streams.projection.budget import Budget, project
from streams.projection.project import NOTHING_SHOWN, TRUNCATION_MARK, VALUE_BYTES, Projector, scalar
from streams.projection.redact import Redaction, treatments
from tests.support.builders import TRACE, shown_of, trace_id
from tests.support.growth import LINEAR, growth
from topics.records.facts import VERSION, Entry, Fact, Facts, Section, Witness, decode, encode

RULES = """
// Signal: EXPORT (high)
trace.has(export).where(rows > 10) and not trace.has(audit.log)
"""
EXPORT = Span(
    "export",
    span_id=bytes(7) + b"1",
    identity=bytes(7) + b"1",
    start_ns=1_000,
    end_ns=1_250,
    attributes={"rows": 11, "user.id": "u1", "secret": "s"},
    resource={"service.name": "shop", "user.id": "nobody", "host.name": "h"},
)
AUDIT = Span("audit.log", span_id=bytes(7) + b"2", identity=bytes(7) + b"2")
OTHER = Span("checkout", span_id=bytes(7) + b"3", identity=bytes(7) + b"3")


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    """Create a rule with two atoms."""
    compiled, problems = compile_texts({"export.rules": RULES})
    assert all(problem.severity.value != "error" for problem in problems)
    return compiled


def witness(rules: RuleSet, span: Span) -> Witness:
    """Return the witness of the span's only hit."""
    [fact] = Projector(rules).facts(TraceSpans(1, root_seen=False, spans=[span]))
    return shown_of(fact)


def test_every_hit_is_a_fact(rules: RuleSet) -> None:
    """Each span gives a fact for each atom it satisfies: the atom, the span, and its start."""
    trace = TraceSpans(3, root_seen=True, spans=[EXPORT, OTHER, AUDIT])

    facts = Projector(rules).facts(trace)

    texts = [rules.atoms[fact.atom].text for fact in facts]
    assert [("export", b"1", 1_000), ("audit.log", b"2", None)] == [
        (next(name for name in ("export", "audit.log") if name in text), fact.identity[-1:], fact.start_ns)
        for text, fact in zip(texts, facts, strict=True)
    ]


def test_every_trace_of_a_record_is_included(rules: RuleSet) -> None:
    """A trace without a fact is included, because it continues the chain of its trace."""
    decoded = Decoded({TRACE: TraceSpans(2, root_seen=True, spans=[EXPORT]), trace_id("b"): TraceSpans(5, False, [])})  # noqa: FBT003, as short as it is

    told = project(decoded, Projector(rules), Budget().facts_bytes(0))

    assert [(TRACE, 2, True, 1), (trace_id("b"), 5, False, 0)] == [
        (one.trace_id, one.span_count, one.root_seen, len(one.facts)) for one in told.traces
    ]


def test_only_what_is_named_travels(rules: RuleSet) -> None:
    """A witness has what rules name and the identity attributes, nothing else; its own attributes come first."""
    shown = witness(rules, EXPORT)

    assert {"rows": 11, "user.id": "u1", "service.name": "shop"} == shown.attributes


def test_span_that_many_rules_name() -> None:
    """Projection is linear in the number of atoms that a span hits."""
    texts = [f"// id: r{number}\n// kind: pattern\na{number} and b" for number in range(1_600)]
    projector = Projector(compile_texts({"many.rules": "\n".join(texts)})[0])

    def carried(count: int) -> Callable[[], list[Fact]]:
        span = Span("x", identity=bytes(8), attributes=dict.fromkeys([f"a{number}" for number in range(count)], 1))
        return lambda: projector.facts_of([span])

    def had(count: int) -> Callable[[], list[Fact]]:
        span = Span("x", identity=bytes(8), events=tuple([Event(f"a{number}") for number in range(count)]))
        return lambda: projector.facts_of([span])

    assert (1_600, 1_600) == (len(carried(1_600)()), len(had(1_600)()))
    assert growth(carried(400), carried(1_600)) < LINEAR
    assert growth(had(400), had(1_600)) < LINEAR


def test_identity_is_a_setting(rules: RuleSet) -> None:
    """The operator sets the identity allow-list."""
    projector = Projector(rules, identity=("host.name",))

    [fact] = projector.facts(TraceSpans(1, root_seen=False, spans=[EXPORT]))

    assert {"rows": 11, "host.name": "h"} == shown_of(fact).attributes
    assert "host.name" in projector.interest.attributes


def test_nothing_travels_unredacted(rules: RuleSet) -> None:
    """A redacted value is not published: neither as an attribute nor as the witness's service."""
    redaction = Redaction(treatments("user.id=hash,service.name=mask,rows=drop"), b"k" * 16)

    [fact] = Projector(rules, redaction=redaction).facts(TraceSpans(1, root_seen=False, spans=[EXPORT]))

    assert {"user.id": redaction.value("user.id", "u1"), "service.name": "[masked]"} == shown_of(fact).attributes
    assert shown_of(fact).service == "[masked]"


def test_a_long_value_is_hashed_whole(rules: RuleSet) -> None:
    """Two values that differ only after 1 KiB have two hashes: redaction precedes truncation."""
    redaction = Redaction(treatments("user.id=hash"), b"k" * 16)
    projector = Projector(rules, redaction=redaction)
    spans = [replace(EXPORT, attributes={"rows": 11, "user.id": "x" * 2000 + end}) for end in "ab"]

    first, second = projector.facts(TraceSpans(2, root_seen=False, spans=spans))

    assert shown_of(first).attributes["user.id"] != shown_of(second).attributes["user.id"]


def test_witness_of_a_span(rules: RuleSet) -> None:
    """A witness has the span's name, service and duration."""
    shown = witness(rules, EXPORT)

    assert ("export", "shop", 250) == (shown.name, shown.service, shown.duration_ns)


@pytest.mark.parametrize(("start_ns", "end_ns"), [(None, 5), (5, None), (6, 5)])
def test_no_duration(rules: RuleSet, start_ns: int | None, end_ns: int | None) -> None:
    """A span without a duration, or one that ends before it starts, has none."""
    shown = witness(rules, replace(EXPORT, start_ns=start_ns, end_ns=end_ns))

    assert shown.duration_ns is None


def test_service_that_is_no_text(rules: RuleSet) -> None:
    """A service name that is not a text is ignored."""
    shown = witness(rules, replace(EXPORT, resource={"service.name": 5}))

    assert shown.service is None


def test_identity_of_a_log_record(rules: RuleSet) -> None:
    """A log record has its own identity, not that of the span it belongs to."""
    [fact] = Projector(rules).facts(
        TraceSpans(1, root_seen=False, spans=[replace(AUDIT, is_log=True, identity=b"hash of a record")])
    )

    assert b"hash of a record" == fact.identity


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (1.5, 1.5),
        ((1 << 63) - 1, (1 << 63) - 1),
        (-(1 << 63), -(1 << 63)),
        (1 << 63, str(1 << 63)),
        (-(1 << 63) - 1, str(-(1 << 63) - 1)),
        ("text", "text"),
        (b"ab", '"YWI="'),
        ({"a": [1, None]}, '{"a":[1,null]}'),
    ],
)
def test_scalar(value: Value, expected: Value) -> None:
    """Published values are scalars that MessagePack can represent; nested ones become JSON text."""
    assert expected == scalar(value)


_OTLP = (
    '{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0af7651916cd43dd8448eb211c80319c",'
    '"spanId":"00f067aa0ba902b7","name":"a","attributes":['
    r'{"key":"x","value":{"arrayValue":{"values":[{"stringValue":"\ud800"},{"kvlistValue":{"values":['
    r'{"key":"\udc00","value":{"stringValue":"\ud83d\ud83d\ude00"}}]}}]}}}]}]}]}]}'
)


@pytest.mark.parametrize("line", [_OTLP, r'{"name":"a","attributes":{"x":["\ud800",{"\udc00":"\ud83d\ud83d\ude00"}]}}'])
def test_no_lone_surrogate_reaches_a_witness(line: str) -> None:
    """Those that JSON escapes in nested values and their names are replaced when a record or a file is read."""
    rules, _ = compile_texts({"t.rules": "// Signal: S (low)\na.where(x exists)"})
    read = spans_file.read([line.encode()], rules.interest, file="spans.jsonl")
    [trace] = read.decoded.traces.values()

    [fact] = Projector(rules).facts(trace)

    assert {"x": '["\ufffd",{"\ufffd":"\ufffd\U0001f600"}]'} == shown_of(fact).attributes


def test_text_exactly_as_long_as_it_may_be() -> None:
    """Text of 1 KiB is complete."""
    assert "é" * (VALUE_BYTES // 2) == scalar("é" * (VALUE_BYTES // 2))


def test_text_one_byte_too_long() -> None:
    """Longer text is truncated between two characters, with a mark, to 1 KiB at most."""
    found = scalar("é" * (VALUE_BYTES // 2) + "x")

    assert isinstance(found, str)
    assert found.startswith("éé")
    assert found.endswith("é" + TRUNCATION_MARK)
    assert VALUE_BYTES - 1 <= len(found.encode()) <= VALUE_BYTES


def test_value_nested_too_deep() -> None:
    """A value nested too deeply for JSON is shown as truncated."""
    value: Value = 1
    for _ in range(10_000):
        value = [value]

    assert TRUNCATION_MARK == scalar(value)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(values, st.text(), st.none() | st.integers(1, (1 << 64) - 1))
def test_any_value_travels(rules: RuleSet, value: Value, name: str, start_ns: int | None) -> None:
    """Whatever a span has, its facts can be written to the topic and read again."""
    span = replace(EXPORT, start_ns=start_ns, attributes={"rows": 11, "user.id": value, "user.name": name})
    facts = Projector(rules).facts(TraceSpans(1, root_seen=False, spans=[span]))
    entry = Entry(TRACE, 0, 0, 0, 1, root_seen=False, facts=facts)
    message = Facts(
        version=VERSION,
        rules="rules",
        sections=[
            Section(
                topic="t",
                partition=0,
                epoch=1,
                replay=0,
                start_ms=None,
                partition_count=1,
                from_offset=0,
                to_offset=1,
                watermark_ms=None,
                lost=[],
                touches=b"",
                entries=[entry],
            )
        ],
    )

    written = encode(message)

    assert written == encode(decode(written))


def test_what_pairs_compare_travels_as_hashes_of_the_values_as_they_were() -> None:
    """Equal values have equal hashes whatever is redacted, and the value itself is not published."""
    rules, _ = compile_texts({"t.rules": "// id: r\nwhen { a } never { some a has b with same user.id }"})
    redaction = Redaction(treatments("user.id=mask"), b"0123456789abcdef")
    spans = [Span(name, identity=name.encode(), attributes={"user.id": "u-17"}) for name in ("a", "b")]

    facts = Projector(rules, identity=(), redaction=redaction).facts_of(spans)

    keys = [fact.keys for fact in facts if fact.keys is not None]
    assert 2 == len(keys)
    assert keys[0] == keys[1]
    assert b"u-17" not in encode(Facts(version=VERSION, rules="", sections=[_section(facts)]))
    assert b"[masked]" in encode(Facts(version=VERSION, rules="", sections=[_section(facts)]))


def test_two_names_are_compared_if_one_is_redacted() -> None:
    """`K == L` has equal hashes for equal values, although only K is redacted; neither value is published as a key."""
    rules, _ = compile_texts({"t.rules": "// id: r\nwhen { a } never { some a has b with user.id == id }"})
    redaction = Redaction(treatments("user.id=drop"), b"0123456789abcdef")
    spans = [
        Span("a", identity=b"a", attributes={"user.id": "u-17"}),
        Span("b", identity=b"b", attributes={"id": "u-17"}),
    ]

    facts = Projector(rules, identity=(), redaction=redaction).facts_of(spans)

    keys = [fact.keys for fact in facts if fact.keys is not None]
    assert 2 == len(keys)
    assert (((key_hash("u-17"),),),) != keys[0] == keys[1]


def test_facts_say_of_pairs_only_what_they_ask() -> None:
    """Facts have keys only for pairs that need them: none, only whether a start is missing, or each span's."""
    texts = {
        "when { a } always { a before b }": [None, None],
        "when { a } always { each a has b before }": [None, ()],
        "when { a } always { each a has own b }": [((),), ((),)],
    }
    spans = [Span("a", identity=b"1", start_ns=1), Span("a", identity=b"2")]

    for text, expected in texts.items():
        rules, _ = compile_texts({"t.rules": f"// id: r\n{text}"})

        assert expected == [fact.keys for fact in Projector(rules).facts_of(spans)]


def test_facts_have_parents_only_if_a_pair_asks_for_ancestors() -> None:
    """Of all spans only ids and parents travel, and of log records nothing."""
    spans = [
        Span("x", span_id=b"1", parent_id=b"2", identity=b"1", start_ns=5, kind="server"),
        Span("x", span_id=b"1", identity=b"log", is_log=True),
    ]
    hashes = ((key_hash("edge"),), (key_hash("32"),), (key_hash("31"),))
    texts = {"directly above": [], "above": [Fact(ANCESTRY.fingerprint, b"1", None, NOTHING_SHOWN, (hashes,))]}

    for word, expected in texts.items():
        rules, _ = compile_texts({"t.rules": f"// id: r\nwhen {{ a }} always {{ each a has b {word} }}"})

        assert expected == Projector(rules).facts_of(spans)


def _section(facts: list[Fact]) -> Section:
    return Section(
        topic="t",
        partition=0,
        epoch=1,
        replay=0,
        start_ms=None,
        partition_count=1,
        from_offset=0,
        to_offset=1,
        watermark_ms=None,
        lost=[],
        touches=b"",
        entries=[Entry(TRACE, 0, 0, 0, 1, root_seen=False, facts=facts)],
    )


@pytest.mark.parametrize("comparison", ["distinct(a, user.id) > 1", "count(a by user.id) > 1"])
def test_values_of_aggregates_travel_as_keyed_hashes(comparison: str) -> None:
    """A redacted value is compared before its redaction; without the key it cannot be compared."""
    rules, _ = compile_texts({"t.rules": f"// id: r\nwhen {{ a }} never {{ {comparison} }}"})
    span = Span("a", identity=b"1", attributes={"user.id": "u-17"})
    found = []
    for key in (b"0123456789abcdef", b"another key than it", None):
        projector = Projector(rules, identity=(), redaction=Redaction(treatments("user.id=mask"), key))
        [keys] = [fact.keys for fact in projector.facts_of([span]) if fact.keys]
        found.append(keys[0][0])

    keyed, other, unkeyed = found

    assert keyed is not None
    assert other is not None
    assert (8, 8, None) == (len(keyed[0]), len(other[0]), unkeyed)
    assert len({keyed, other, (key_hash("u-17"),)}) == 3


def test_numbers_travel_as_decimals_unless_they_are_redacted() -> None:
    """What sums are taken of cannot be hashed: a redacted number is unknown, with a key as well."""
    rules, _ = compile_texts({"t.rules": "// id: r\nwhen { a } never { sum(a, x) > 1 or max(a, y) > 1 }"})
    span = Span("a", identity=b"1", attributes={"x": 17.50, "y": 19})
    projector = Projector(rules, redaction=Redaction(treatments("a.y=hash"), b"0123456789abcdef"))

    keys = {fact.keys for fact in projector.facts_of([span]) if fact.keys}

    assert {(((b"17.5",),),), ((None,),)} == keys
    assert ["y"] == projector.uncomparable


def test_ends_of_spans_travel_for_the_duration_of_the_trace() -> None:
    """Each span has a fact with its start, which is shown, and one with its end, which is not."""
    rules, _ = compile_texts({"t.rules": "// id: r\n// kind: pattern\ntrace.duration > 5s"})
    span = Span("a", identity=b"1", start_ns=3, end_ns=8)

    facts = Projector(rules).facts_of([span])

    assert [(3, "a"), (8, "")] == sorted((fact.start_ns, shown_of(fact).name) for fact in facts)


@pytest.mark.parametrize(("key", "expected"), [(None, ["user.id"]), (b"0123456789abcdef", [])])
def test_what_pairs_cannot_compare_is_named(key: bytes | None, expected: list[str]) -> None:
    """An attribute redacted without a key is reported to the operator, and the pair is not decided on it."""
    rules, _ = compile_texts({"t.rules": "// id: r\nwhen { a } never { some a has b with same user.id, same order }"})
    projector = Projector(rules, redaction=Redaction(treatments("user.id=drop"), key))
    span = Span("a", identity=b"1", start_ns=1, attributes={"user.id": "u-17", "order": 1})

    assert expected == projector.uncomparable
    hidden = [
        None for fact in projector.facts_of([span]) for variant in fact.keys or () for each in variant if each is None
    ]
    assert len(expected) == len(hidden)


APPROVED = "// id: r\nwhen { pay } always { each pay has approve before with same order }"
ORDERS = f"{APPROVED}\n// id: s\n// kind: pattern\naudit before pay"
AGENT = Span("agent", bytes(8), start_ns=5, end_ns=90, identity=bytes(8), resource={"service.name": "shop"})


def test_event_is_a_fact_of_its_own() -> None:
    """Each event that satisfies an atom has a fact: its time, its values, an identity that begins with its span's."""
    rules, _ = compile_texts({"t.rules": ORDERS})
    events = (Event("pay", {"order": 17}, 30), Event("pay", {"order": 18}, 20), Event("pay", {"order": 19}))
    span = replace(AGENT, events=events)

    facts = [fact for fact in Projector(rules).facts_of([span]) if fact.keys]

    assert [5, 20, 30] == [fact.start_ns for fact in facts]
    keys = [variant for fact in facts for variant in fact.keys or ()]
    assert [((key_hash(order),),) for order in ("19", "18", "17")] == keys
    assert [19, 18, 17] == [shown_of(fact).attributes["order"] for fact in facts]
    assert {("agent", "shop", None)} == {
        (shown.name, shown.service, shown.duration_ns) for shown in map(shown_of, facts)
    }
    assert {bytes(8)} == {span_identity(fact.identity) for fact in facts}
    assert 3 == len({fact.identity for fact in facts})


def test_span_and_its_event_are_two_facts() -> None:
    """The span has its start and duration, the event its time."""
    rules, _ = compile_texts({"t.rules": ORDERS})
    span = replace(AGENT, name="audit", events=(Event("audit", {}, 30),))

    facts = Projector(rules).facts_of([span])

    assert [(bytes(8), 5, 85), (facts[1].identity, 30, None)] == [
        (fact.identity, fact.start_ns, shown_of(fact).duration_ns) for fact in facts
    ]


def test_only_what_makes_a_difference_is_a_fact_of_many_events() -> None:
    """Five events are shown. Of the others, a pair with keys needs each, an order only the last."""
    rules, _ = compile_texts({"t.rules": ORDERS})
    events = tuple(Event("pay", {"order": number}, 100 - number) for number in range(20))

    facts = Projector(rules).facts_of([replace(AGENT, events=events)])

    each = [fact for fact in facts if fact.keys]
    bounds = [fact for fact in facts if not fact.keys]
    assert [*range(81, 101)] == [fact.start_ns for fact in each]
    assert [81, 82, 83, 84, 85, 100] == [fact.start_ns for fact in bounds]
    assert [5, 5] == [sum(fact.witness is not None for fact in some) for some in (each, bounds)]


def test_events_beyond_the_limit_are_left_out() -> None:
    """A span with more events than a trace remembers makes as many facts as make the trace's list full."""
    rules, _ = compile_texts({"t.rules": APPROVED})
    events = tuple(Event("pay", {"order": 1}, number + 1) for number in range(2 * MAX_OCCURRENCES))

    facts = [fact for fact in Projector(rules).facts_of([replace(AGENT, events=events)]) if fact.keys]

    assert MAX_OCCURRENCES <= len(facts) <= MAX_OCCURRENCES + 10
    assert [1, 2 * MAX_OCCURRENCES] == [facts[0].start_ns, facts[-1].start_ns]


def test_facts_without_events_have_no_more_bytes() -> None:
    """Events of other names, and the feature, cost nothing: a fact is what it was in format 5."""
    rules, _ = compile_texts({"t.rules": ORDERS})
    span = replace(AGENT, name="audit", events=(Event("other", {}, 3),))

    [fact] = Projector(rules).facts_of([span])

    atom, identity, start_ns, seen, keys = msgspec.msgpack.decode(msgspec.msgpack.encode(fact))
    assert (8, bytes(8), 5, None) == (len(atom), identity, start_ns, keys)
    assert ["audit", "shop", 85, {"service.name": "shop"}] == seen


def test_withheld_witnesses_change_no_other_field() -> None:
    """Replay without witnesses makes the same facts otherwise, so it refuses the same records."""
    rules, _ = compile_texts({"t.rules": ORDERS})
    events = tuple(Event("pay", {"order": number}, number + 1) for number in range(9))
    span = replace(AGENT, events=events)

    shown, bare = (Projector(rules, shows=shows).facts_of([span]) for shows in (True, False))

    assert [each.witness is None for each in shown] == [each.witness is None for each in bare]
    assert [replace(each, witness=None) for each in shown] == [replace(each, witness=None) for each in bare]


KEY = b"0123456789abcdef"


@pytest.mark.parametrize(
    ("redaction", "is_keyed"),
    [
        (Redaction(), False),
        (Redaction(treatments("user.id=hash"), KEY), True),
        (Redaction(treatments("user.id=drop"), KEY), True),
        (Redaction(treatments("user.id=mask")), None),
    ],
)
def test_values_of_groups_travel_as_hashes(redaction: Redaction, *, is_keyed: bool | None) -> None:
    """A hash is keyed if the attribute is redacted, whatever the treatment; without a key the value stays."""
    rules, _ = compile_texts({"t.rules": "// id: r\n// kind: pattern\n// dedup: user.id, order for 1h\na"})
    projector = Projector(rules, redaction=redaction)
    span = Span("a", identity=b"1", start_ns=1, attributes={"user.id": "u-17", "secret": 1})

    shown = [fact.witness for fact in projector.facts_of([span]) if fact.witness is not None]
    [grouped] = [witness for witness in shown if not witness.name]

    assert (grouped.service, grouped.duration_ns) == (None, None)
    assert grouped.attributes.keys() == (set() if is_keyed is None else {"user.id"})
    assert (grouped.attributes.get("user.id") == key_hash("u-17").hex()) is (is_keyed is False)
    assert (["user.id"] if is_keyed is None else []) == projector.ungrouped
    assert [] == projector.uncomparable


def test_values_of_groups_are_those_of_the_first_event() -> None:
    """Whatever they are, text too, every name has its value; an event that does not satisfy the subject has no say."""
    rules, _ = compile_texts({"t.rules": "// id: r\n// kind: pattern\n// dedup: user, order for 1h\na.where(x == 1)"})
    events = tuple(Event("a", {"x": x, "user": user}) for x, user in [(2, "other"), (1, "m.ito"), (1, "a.cole")])
    span = Span("s", identity=b"1", start_ns=1, attributes={"order": "o-17"}, events=events)

    shown = [fact.witness for fact in Projector(rules).facts_of([span]) if fact.witness is not None]
    [grouped] = [witness for witness in shown if not witness.name]

    assert {"user": key_hash("m.ito").hex(), "order": key_hash("o-17").hex()} == grouped.attributes


def test_values_of_groups_are_the_only_addition(rules: RuleSet) -> None:
    """What a witness shows of a span is the same with a dedup, which adds facts to those of the rule."""
    grouped, _ = compile_texts({"export.rules": RULES.replace("trace", "// dedup: secret for 1h\ntrace", 1)})

    plain, every = (Projector(each).facts_of([EXPORT, AUDIT]) for each in (rules, grouped))

    assert plain == [fact for fact in every if fact.atom in rules.atoms]
    assert 2 * len(plain) == len(every)
