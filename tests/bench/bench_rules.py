"""How long it takes to find the atoms a span hits, with 10 and with 100 rules.

    python -m tests.bench.bench_rules [--spans 20000] [--runs 9]

Prints one line of JSON: microseconds of processor time a span, medians of the runs. Goals: 10 rules take at most 1.5 µs
for a span with one relevant attribute; 100 rules take at most 3 times as long as 10 on spans that hit nothing, and at
most 1.3 times as long on the corpus, from the bytes of its messages to facts.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time

import msgspec

from dsl import RuleSet, Span, compile_texts
from dsl.judge.span import Attributes
from streams.decode.decoder import Decoder
from streams.projection.budget import Budget, project
from streams.projection.project import Projector
from tests.support.load import CORPUS
from topics.embedded import capture

CONDITIONS = (
    "when {{ pii.access{n} }} always {{ audit.log{n} }}",
    "when {{ phi.access{n} }} always {{ audit.log{n}.where(log_type == hipaa_audit) }}",
    "when {{ payment{n}.where(amount > 1000 and currency in [EUR, USD]) }} always {{ approval{n} before payment{n} }}",
    "when {{ deploy{n} }} never {{ count(rollback{n}) > 2 }}",
    "when {{ login{n} }} always {{ auth.mfa{n} after login{n} }} never {{ token.logged{n} }}",
    "when {{ export{n}.where(user.role == contractor) }} never {{ export{n}.where(timestamp.hour >= 18) }}",
    "when {{ agent.tool{n}.where(name == hr_database) }} always {{ agent.approval{n} }}",
    'when {{ query{n}.where(statement matches "(?i)drop") }} always {{ dba.session{n} }}',
    'when {{ call{n}.where(peer in_cidr "10.0.0.0/8") }} never {{ internal{n}.where(span.status == error) }}',
    "when {{ purchase{n}.where(buyer == $approver) }} never {{ refund{n} }}",
)

ATTRIBUTES: Attributes = {
    "http.request.method": "GET",
    "http.response.status_code": 200,
    "http.route": "/v1/orders/{id}",
    "network.protocol.version": "1.1",
    "server.address": "orders",
    "url.path": "/v1/orders/17",
    "user_agent.original": "curl/8",
}
RESOURCE: Attributes = {"service.name": "orders", "service.version": "1.4.2", "host.name": "node-3"}
SPANS = {
    "nothing": Span("GET /v1/orders/{id}", start_ns=1, attributes=ATTRIBUTES, resource=RESOURCE),
    "attribute": Span("GET /v1/orders/{id}", start_ns=1, attributes={**ATTRIBUTES, "pii.access0": True}),
    "where": Span("export5", start_ns=1, attributes={**ATTRIBUTES, "user.role": "contractor"}),
}
COUNTS = (10, 100)
CORPORA = ("partitioned_proto", "unkeyed_proto")
ROUNDS_A_RUN = 3


class Figures(msgspec.Struct):
    """Microseconds a span by number of rules: a span of no interest, one found by an attribute, one with a where."""

    nothing_us: dict[int, float]
    attribute_us: dict[int, float]
    where_us: dict[int, float]
    nothing_ratio: float
    """What a span of no interest costs with 100 rules, in what it costs with 10."""
    corpus_us: dict[str, dict[int, float]]
    """Microseconds a message of the corpus, which hits none of the rules."""
    corpus_ratio: dict[str, float]


def rule_set(count: int) -> RuleSet:
    """Rules of ten kinds in turn, each about spans of its own."""
    conditions = itertools.islice(itertools.cycle(CONDITIONS), count)
    texts = [f"// id: r{number}\n{condition.format(n=number)}\n" for number, condition in enumerate(conditions)]
    rules, _ = compile_texts({"bench.rules": "\n".join(texts)})
    return rules


def median_us(rules: RuleSet, span: Span, *, spans: int, runs: int) -> float:
    """The median over the runs of the processor time one span takes."""
    times_s = []
    for _ in range(runs):
        start_s = time.process_time()
        for _ in range(spans):
            rules.hits(span)
        times_s.append(time.process_time() - start_s)
    return round(statistics.median(times_s) / spans * 1e6, 3)


def corpus_us(name: str, *, runs: int) -> dict[int, float]:
    """The median processor time of a message, decoded and projected, by number of rules; they take turns."""
    values = [frame.value for frame in capture.read(CORPUS / f"{name}.bin.gz")]
    projectors = {count: Projector(rule_set(count)) for count in COUNTS}
    decoders = {count: Decoder(projector.interest) for count, projector in projectors.items()}
    times_s: dict[int, list[float]] = {count: [] for count in COUNTS}
    for _ in range(runs):
        for count, decoder in decoders.items():
            start_s = time.process_time()
            for value in values * ROUNDS_A_RUN:
                project(decoder.decode(value), projectors[count], Budget().facts_bytes(len(value)))
            times_s[count].append(time.process_time() - start_s)
    taken = len(values) * ROUNDS_A_RUN
    return {count: round(statistics.median(times) / taken * 1e6, 3) for count, times in times_s.items()}


def measure(*, spans: int, runs: int) -> Figures:
    """All figures."""
    sets = {count: rule_set(count) for count in COUNTS}
    taken_us = {
        name: {count: median_us(rules, span, spans=spans, runs=runs) for count, rules in sets.items()}
        for name, span in SPANS.items()
    }
    nothing_us = taken_us["nothing"]
    on_corpus_us = {name: corpus_us(name, runs=runs) for name in CORPORA}
    return Figures(
        nothing_us,
        taken_us["attribute"],
        taken_us["where"],
        _ratio(nothing_us),
        on_corpus_us,
        {name: _ratio(taken) for name, taken in on_corpus_us.items()},
    )


def _ratio(taken_us: dict[int, float]) -> float:
    return round(taken_us[COUNTS[1]] / taken_us[COUNTS[0]], 2)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--spans", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=9)
    asked = parser.parse_args()
    print(msgspec.json.encode(measure(spans=asked.spans, runs=asked.runs)).decode())  # noqa: T201, it is a command


if __name__ == "__main__":
    main()
