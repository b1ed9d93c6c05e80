"""Whether the audit records of a seal are in their order, and of input that was read.

    order      of each source partition they come in the order of their source positions, which are their numbers: the
               ledger leaves out what is byte for byte a repeat, so what does not go on from the highest is no repeat
    highest    the seal names the highest position of each source as its entries have it
    read       coverage reaches past each position, as soon as windows of a later time were judged

In: seals with their entries and covers, in order. Out: sentences, and what coverage has not reached yet (`Unread`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from streams.evidence.ledger.entry import Place
from streams.evidence.ledger.seal import LogState
from topics.cluster.bulk import decode_many
from topics.records.audit import SourcePosition, position_in
from topics.records.verdicts import SourceCoverage

Epoch = tuple[str, int, int]
"""A source topic, its partition, and the epoch of reading."""


Positioned = tuple[int, SourcePosition]
"""An offset in a log of the audit trail, and the source position of the entry there."""


class _Headers(Place, frozen=True, gc=False):
    """Of an entry its offset and its headers."""

    headers: tuple[tuple[str, str | None], ...] = ()
    headers_base64: tuple[tuple[str, bytes | None], ...] = ()


_decoder: msgspec.json.Decoder[_Headers | None] = msgspec.json.Decoder(_Headers)


@dataclass(frozen=True, slots=True)
class Unread:
    """An audit record of a source offset that no coverage had reached when it was sealed."""

    epoch: Epoch
    offset: int
    sealed_ms: int
    where: str


@dataclass(slots=True)
class AuditReading:
    """How far coverage reaches in each epoch, and the audit records that are beyond it."""

    covered: dict[Epoch, int] = field(default_factory=dict)
    unread: list[Unread] = field(default_factory=list)

    def cover(self, sources: Iterable[SourceCoverage]) -> None:
        """Adds what coverage says."""
        for source in sources:
            epoch = (source.topic, source.partition, source.epoch)
            if source.to_offset > self.covered.get(epoch, 0):
                self.covered[epoch] = source.to_offset
        self._forget()

    def add(self, later: AuditReading) -> None:
        """Adds what was read of later seals."""
        for epoch, to_offset in later.covered.items():
            self.covered[epoch] = max(to_offset, self.covered.get(epoch, 0))
        self.unread += later.unread
        self._forget()

    def _forget(self) -> None:
        if self.unread:
            self.unread = [one for one in self.unread if one.offset >= self.covered.get(one.epoch, 0)]

    def beyond(self, judged_ms: int) -> Iterator[tuple[str, str]]:
        """What is beyond coverage although windows were judged up to `judged_ms`, with its place."""
        for one in self.unread:
            if one.sealed_ms < judged_ms:
                topic, partition, epoch = one.epoch
                end = self.covered.get(one.epoch)
                reached = "nothing of this epoch was read" if end is None else f"it was read up to {end}"
                yield one.where, f"an audit record is of offset {one.offset} of {topic}[{partition}]/{epoch}, {reached}"


def out_of_order(before: LogState | None, state: LogState, entries: Iterable[Positioned]) -> Iterator[str]:
    """What is wrong with the positions of a log's new entries; nothing is known where `before` is not."""
    if before is None:
        return
    highest = {(at.topic, at.partition): at for at in before.sources}
    for offset, at in entries:
        reached = highest.get((at.topic, at.partition))
        if reached is not None and at <= reached:
            yield (
                f"the record at offset {offset} says that it is {_text(at)}, which is not after {_text(reached)}, "
                "and no repeat: one of the two is forged"
            )
        else:
            highest[at.topic, at.partition] = at
    if sorted(highest.values()) != state.sources:
        yield "the source positions that the seal names are not those of its entries"


def highest_offsets(entries: Iterable[Positioned]) -> Mapping[Epoch, int]:
    """The highest offset of each epoch among the entries."""
    found: dict[Epoch, int] = {}
    for _, at in entries:
        epoch = (at.topic, at.partition, at.epoch)
        if at.offset >= found.get(epoch, 0):
            found[epoch] = at.offset
    return found


def positioned(lines: Sequence[bytes]) -> list[Positioned]:
    """The entries that have a source position; without one nothing can be said of an entry's order."""
    return [
        (found.offset, at)
        for found in decode_many(_decoder, lines)
        if found is not None and (at := position_in(found.headers or found.headers_base64)) is not None
    ]


def _text(at: SourcePosition) -> str:
    return at.encode().decode()
