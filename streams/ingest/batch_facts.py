"""Projects the records of a batch, each within its budget; ingest and replay share this.

In: the messages of a batch, and the spans in it that are of interest to rules. Out: for each record with hits its facts
by trace, or why it is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from streams.decode.batches import BatchResult, Hits
from streams.ingest.flush import SectionBuilder
from streams.projection.budget import Budget, RecordFacts
from streams.projection.project import Projector
from topics.errors import Refusal
from topics.records.facts import Fact

if TYPE_CHECKING:
    from confluent_kafka import Message

_offset = attrgetter("offset")


class RecordHits(NamedTuple):
    """The hits of one record, each with its facts; `refusal` is as in `RecordFacts`."""

    message: Message
    hits: Sequence[tuple[Hits, list[Fact]]]
    refusal: Refusal | None
    size_bytes: int


def batch_facts(
    messages: Sequence[Message], batch: BatchResult, projector: Projector, budget: Budget
) -> Iterator[RecordHits]:
    """Yield the facts of each record of a batch that has hits, in order."""
    following = iter(messages)
    for offset, of_record in groupby(batch.hits, _offset):
        message = next(each for each in following if each.offset() == offset)
        facts = RecordFacts(projector, budget.facts_bytes(len(message.value() or b"")))
        hits = [(each, facts.of_trace(each.spans)) for each in of_record]
        yield RecordHits(message, hits, facts.refusal, facts.size_bytes)


def add_to_builder(builder: SectionBuilder, record: RecordHits) -> int:
    """Add the facts of a record, whose touches were added before; return how many there are."""
    if record.refusal is not None:
        builder.add_dead_letter(record.hits[0][0].offset)
    # Before they are added: the builder extends the list of a trace that the record has more than once.
    fact_count = sum(len(facts) for _, facts in record.hits)
    for each, facts in record.hits:
        if facts or record.refusal is not None:
            builder.add_facts(each.trace_id, each.tick, each.offset, facts, is_incomplete=record.refusal is not None)
    return fact_count
