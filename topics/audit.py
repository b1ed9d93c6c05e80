"""`betrace.audit`: where a record of the audit trail came from.

Each message names the place of its source record in a header, so that a reader can tell a record that was written twice
(ingest was killed, or its offsets were reset) from two records that are alike.
"""

from __future__ import annotations

import re

import msgspec

POSITION_HEADER = "betrace_source"

_POSITION = re.compile(r"([a-zA-Z0-9._-]{1,249})/(\d{1,10})/(\d{1,19})/(\d{1,19})/(\d{1,10})", re.ASCII)


class SourcePosition(msgspec.Struct, frozen=True, order=True):
    """Which span or log record it was: number `index` of those that the record at `offset` brought to this partition.

    `epoch` is that of the section (`topics.facts`): the wall time in ms at which reading of that log began, another one
    only when the topic was made again.
    """

    topic: str
    partition: int
    epoch: int
    offset: int
    index: int

    def encode(self) -> bytes:
        """The header's value.

        >>> SourcePosition("otlp_spans", 3, 17, 1200, 0).encode()
        b'otlp_spans/3/17/1200/0'
        """
        return f"{self.topic}/{self.partition}/{self.epoch}/{self.offset}/{self.index}".encode()


def decode_position(value: bytes | str) -> SourcePosition | None:
    """The inverse of `SourcePosition.encode`; None when it is none.

    >>> decode_position(b"otlp_spans/3/17/1200/0").offset
    1200
    """
    text = value if isinstance(value, str) else value.decode(errors="replace")
    found = _POSITION.fullmatch(text)
    return SourcePosition(found[1], *map(int, found.groups()[1:])) if found else None
