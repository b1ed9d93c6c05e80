"""The source topics of `python -m tests.bench`: the corpus in its two forms, with as many spans as are asked for.

In: a broker, a form, a number of spans. Out: a topic that holds them, and what the rules of the bench say of them.
Every trace is over before the topic ends, by record time: who judges traces can judge all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from confluent_kafka.cimpl import NewTopic

from dsl import RuleSet, Verdict, load
from streams.decode.decoder import decode
from streams.inspect.offline import judge_spans
from streams.projection.project import Projector
from tests.support import load as corpus
from tests.support import paths
from topics.cluster import admin

RULES = paths.RULES / "bench.rules"
FORMS = {"keyed": "partitioned_proto", "unkeyed": "unkeyed_proto"}
"""A message has the spans of one trace, two on average, and its id as key; or a batch of 500 spans and no key."""
PARTITIONS = 4
LATER_MS = 120_000


class BenchError(Exception):
    """What was to be measured did not do its work."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A source topic; `signal_count` is how many signals the rules of the bench give on it."""

    bootstrap: str
    name: str
    message_count: int
    message_bytes: int
    """Of one message, the mean."""
    span_count: int
    signal_count: int


def make(bootstrap: str, form: str, spans: int) -> Topic:
    """Makes and fills the topic of a form with at least so many spans."""
    messages = corpus.originals(corpus.CORPUS / f"{FORMS[form]}.bin.gz")
    copies = -(-spans // sum(message.span_count for message in messages))
    name = f"bench-{form}"
    client = admin.connect({"bootstrap.servers": bootstrap})
    client.create_topics([NewTopic(name, PARTITIONS)])[name].result()
    admin.wait_until_available(client, [name])
    loaded = corpus.load(bootstrap, messages, name, copies, PARTITIONS)
    corpus.write_later(bootstrap, name, PARTITIONS, loaded.last_ms + LATER_MS)
    return Topic(
        bootstrap,
        name,
        loaded.message_count,
        sum(len(message.value) for message in messages) // len(messages),
        loaded.span_count,
        copies * _broken_count(messages),
    )


@cache
def rules() -> RuleSet:
    """The ten rules of the bench."""
    found, _ = load([RULES])
    return found


def _broken_count(messages: list[corpus.Original]) -> int:
    """How many signals one copy of the corpus gives."""
    interest = Projector(rules()).interest
    judged = judge_spans((decode(message.value, interest).traces for message in messages), rules())
    return sum(judgement.verdict is Verdict.BROKEN for _, judgement in judged)
