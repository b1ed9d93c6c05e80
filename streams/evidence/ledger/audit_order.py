"""Checks that the audit records of a seal are in order, and come from input that was read.

    order      those of a source partition come in the order of their source positions, which are their numbers: the
               ledger skips exact repeats, so a record that does not continue from the highest is not a repeat
    highest    the seal names the highest position of each source as its entries have it
    read       coverage reaches past each position, as soon as windows of a later time were judged

In: seals with their entries and summaries, in order. Out: sentences, and what coverage has not reached yet (`Unread`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from streams.evidence.ledger.entry import EntryOffset
from streams.evidence.ledger.seal import LogState
from topics.cluster.bulk import decode_many
from topics.records.audit import SourcePosition, position_in
from topics.records.verdicts import SourceCoverage

Epoch = tuple[str, int, int]
"""A source topic, its partition, and the epoch of reading."""


Positioned = tuple[int, SourcePosition]
"""An offset in a log of the audit trail, and the source position of the entry there."""


class _Headers(EntryOffset, frozen=True, gc=False):
    """The offset and headers of an entry."""

    headers: tuple[tuple[str, str | None], ...] = ()
    headers_base64: tuple[tuple[str, bytes | None], ...] = ()


_decoder: msgspec.json.Decoder[_Headers | None] = msgspec.json.Decoder(_Headers)


@dataclass(frozen=True, slots=True)
class Unread:
    """An audit record whose source offset no coverage had reached when it was sealed."""

    epoch: Epoch
    offset: int
    sealed_ms: int
    where: str


@dataclass(slots=True)
class AuditReading:
    """How far coverage reaches in each epoch, and the audit records beyond it."""

    covered: dict[Epoch, int] = field(default_factory=dict)
    unread: list[Unread] = field(default_factory=list)

    def add_coverage(self, sources: Iterable[SourceCoverage]) -> None:
        """Add the sources of a coverage record."""
        for source in sources:
            epoch = (source.topic, source.partition, source.epoch)
            if source.to_offset > self.covered.get(epoch, 0):
                self.covered[epoch] = source.to_offset
        self._forget()

    def add(self, later: AuditReading) -> None:
        """Add the state of later seals."""
        for epoch, to_offset in later.covered.items():
            self.covered[epoch] = max(to_offset, self.covered.get(epoch, 0))
        self.unread += later.unread
        self._forget()

    def _forget(self) -> None:
        if self.unread:
            self.unread = [one for one in self.unread if one.offset >= self.covered.get(one.epoch, 0)]

    def beyond(self, judged_ms: int) -> Iterator[tuple[str, str]]:
        """Yield audit records beyond coverage although windows were judged up to `judged_ms`, with their location."""
        for one in self.unread:
            if one.sealed_ms < judged_ms:
                topic, partition, epoch = one.epoch
                end = self.covered.get(one.epoch)
                reached = "nothing of this epoch was read" if end is None else f"it was read up to {end}"
                yield one.where, f"an audit record has offset {one.offset} of {topic}[{partition}]/{epoch}, {reached}"


def out_of_order(before: LogState | None, state: LogState, entries: Iterable[Positioned]) -> Iterator[str]:
    """Yield what is wrong with the positions of a log's new entries; without `before`, any start is accepted."""
    if before is None:
        return
    highest = {(position.topic, position.partition): position for position in before.sources}
    for offset, position in entries:
        reached = highest.get((position.topic, position.partition))
        if reached is not None and position <= reached:
            yield (
                f"the record at offset {offset} claims position {_text(position)}, which is not after "
                f"{_text(reached)}, and is not a repeat: one of the two is forged"
            )
        else:
            highest[position.topic, position.partition] = position
    if sorted(highest.values()) != state.sources:
        yield "the source positions in the seal are not those of its entries"


def highest_offsets(entries: Iterable[Positioned]) -> Mapping[Epoch, int]:
    """Return the highest offset of each epoch among the entries."""
    highest: dict[Epoch, int] = {}
    for _, position in entries:
        epoch = (position.topic, position.partition, position.epoch)
        if position.offset >= highest.get(epoch, 0):
            highest[epoch] = position.offset
    return highest


def positioned(lines: Sequence[bytes]) -> list[Positioned]:
    """Return the entries that have a source position; the order of others cannot be checked."""
    return [
        (entry.offset, position)
        for entry in decode_many(_decoder, lines)
        if entry is not None and (position := position_in(entry.headers or entry.headers_base64)) is not None
    ]


def _text(position: SourcePosition) -> str:
    return position.encode().decode()
