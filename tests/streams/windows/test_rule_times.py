"""From when a rule judges, when rule sets change while windows are open."""

from __future__ import annotations

import msgspec

from streams.windows.rule_times import RuleTimes

SETS = {"one": frozenset({"a"}), "two": frozenset({"a", "b"}), "none": frozenset[str]()}
REACH_MS = 1_000


def rules_of(rule_set: str) -> frozenset[str]:
    """Return the rules in a set of these tests."""
    return SETS[rule_set]


def noted(*sections: tuple[int, str, int]) -> RuleTimes:
    """Note sections of source partitions: partition, rule set, highest record time so far."""
    times = RuleTimes()
    for partition, rule_set, reached_ms in sections:
        times.note_projection("otlp_spans", partition, rule_set, reached_ms, rules_of)
    return times


def judging(times: RuleTimes, chain_first_ms: int) -> frozenset[str]:
    """Return the rules that judge a chain."""
    return times.judging(rules_of, chain_first_ms=chain_first_ms, reach_ms=REACH_MS)


def test_no_source_known() -> None:
    """No rule judges before a source is known."""
    assert frozenset() == judging(RuleTimes(), 5_000)


def test_first_set_judges_everything() -> None:
    """Rules that were active when a source was first seen judge chains of any age."""
    times = noted((0, "two", 9_000))

    assert {"a", "b"} == judging(times, 0)


def test_added_rule_exactly_at_reach() -> None:
    """An added rule does not judge a chain that began exactly gap + lateness after it."""
    times = noted((0, "one", 0), (0, "two", 5_000))

    assert {"a"} == judging(times, 6_000)


def test_added_rule_beyond_reach() -> None:
    """An added rule judges a chain that began later than gap + lateness after it."""
    times = noted((0, "one", 0), (0, "two", 5_000))

    assert {"a", "b"} == judging(times, 6_100)


def test_added_rule_counts_from_its_first_section() -> None:
    """Later sections with the same times do not delay the rule."""
    times = noted((0, "one", 0), (0, "two", 5_000), (0, "two", 5_000))

    assert {"a", "b"} == judging(times, 6_100)


def test_added_rule_reported_again_with_a_later_time() -> None:
    """An ingest worker that took over knows more records without the rule: only added rules are delayed."""
    times = noted((0, "one", 0), (0, "two", 5_000), (0, "two", 9_000))

    assert [{"a"}, {"a", "b"}] == [judging(times, 10_000), judging(times, 10_100)]


def test_added_rule_of_an_earlier_version() -> None:
    """The list of added rules in a store of an earlier version remains valid."""
    stored = ([("otlp_spans", 0, "two", ["b"]), ("otlp_spans", 1, "two", [])], {"b": 5_000}, None)
    times = msgspec.msgpack.decode(msgspec.msgpack.encode(stored), type=RuleTimes)

    times.note_projection("otlp_spans", 0, "two", 9_000, rules_of)
    times.note_projection("otlp_spans", 1, "two", 20_000, rules_of)

    assert {"a": 0, "b": 10_100} == times.judges_from(rules_of, reach_ms=REACH_MS)


def test_thousands_of_rules_of_many_sources() -> None:
    """The size of the state of 5,000 added rules grows with the rules and not with the sources."""
    rules = frozenset(f"{number:032x}" for number in range(5_000))
    sets = {"none": frozenset[str](), "all": rules}

    def size(sources: int) -> int:
        times = RuleTimes()
        for rule_set in ("none", "all"):
            for partition in range(sources):
                times.note_projection("otlp_spans", partition, rule_set, 5_000, sets.__getitem__)
        return len(msgspec.msgpack.encode(times))

    assert size(64) < size(1) + 64 * 64 < 300_000


def test_reading_that_started_in_the_middle() -> None:
    """No rule judges what began until gap + lateness after missing records; the latest source counts."""
    times = noted((0, "two", 0))
    times.note_missing(5_000)
    times.note_missing(4_000)

    assert [frozenset(), {"a", "b"}] == [judging(times, 6_000), judging(times, 6_100)]


def test_from_when_each_rule_judges() -> None:
    """Each rule has the first record time of a trace that it judges; rules not active everywhere have none."""
    times = noted((0, "one", 0), (1, "one", 0), (0, "two", 5_000))
    before = times.judges_from(rules_of, reach_ms=REACH_MS)
    times.note_projection("otlp_spans", 1, "two", 5_050, rules_of)

    assert {"a": 0} == before
    assert {"a": 0, "b": 6_100} == times.judges_from(rules_of, reach_ms=REACH_MS)


def test_removed_rule() -> None:
    """A removed rule judges nothing, not even chains that began while it was active."""
    times = noted((0, "two", 0), (0, "one", 5_000))

    assert {"a"} == judging(times, 1_000)


def test_rule_added_again() -> None:
    """A rule that was absent judges only what began after its return."""
    times = noted((0, "two", 0), (0, "one", 5_000), (0, "two", 7_000))

    assert [{"a"}, {"a", "b"}] == [judging(times, 8_000), judging(times, 8_100)]


def test_rule_not_yet_everywhere() -> None:
    """A rule judges nothing while one source partition is still projected without it."""
    times = noted((0, "one", 0), (1, "one", 0), (0, "two", 5_000))

    assert {"a"} == judging(times, 99_000)


def test_rule_counts_from_the_last_source() -> None:
    """A rule judges from the time when the last source partition is projected with it."""
    times = noted((0, "one", 0), (1, "one", 0), (1, "two", 8_000), (0, "two", 5_000))

    assert [{"a"}, {"a", "b"}] == [judging(times, 9_000), judging(times, 9_100)]


def test_new_source_changes_nothing() -> None:
    """A new source partition with the same rules as the others changes nothing."""
    times = noted((0, "two", 0), (1, "two", 5_000))

    assert {"a", "b"} == judging(times, 0)


def test_no_rules_at_all() -> None:
    """An empty set judges nothing."""
    times = noted((0, "one", 0), (0, "none", 5_000))

    assert frozenset() == judging(times, 99_000)


def test_judges_from_is_when_it_judges() -> None:
    """The time named for a rule is the first at which a chain that begins is judged by it."""
    for sections in (
        [(0, "two", 9_000)],
        [(0, "one", 0), (0, "two", 5_000)],
        [(0, "one", 0), (1, "one", 0), (1, "two", 8_000), (0, "two", 5_000)],
        [(0, "one", 0), (1, "one", 0), (0, "two", 5_000)],
    ):
        times = noted(*sections)

        moments = times.judges_from(rules_of, reach_ms=REACH_MS)

        assert moments.keys() == judging(times, 99_000)
        for rule, from_ms in moments.items():
            assert rule in judging(times, from_ms)
            assert from_ms == 0 or rule not in judging(times, from_ms - 1)
