"""Detects that the source looks sampled: then "no B in the trace" proves little, because B may have been dropped.

In: source records and what they contain. Out: a warning and a metric, once for each sign. There are two signs:

    threshold   a span's `tracestate` tells that its trace was sampled (OpenTelemetry's `ot=th:…`, above 0)
    rootless    almost none of many traces has its root

Only a part is examined, one record of a batch and one trace of 256, so that it costs nothing. Workers that share an
unkeyed source each miss most roots, so only `ROOTLESS_SHARE` counts as almost none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import structlog

from streams.observe import metrics

log = structlog.get_logger()

TRACES = 500
ROOTLESS_SHARE = 0.05
THRESHOLD_BITS = 56

_THRESHOLD = re.compile(rb"\bot=(?:[a-z0-9:.;_-]*;)?th:([0-9a-f]{1,14})(?![0-9a-f])")


def kept_share(value: bytes) -> float | None:
    """Return the share of traces that sampling keeps, from the first threshold in a record; None without one.

    >>> kept_share(b"... ot=th:c;rv:9b8233f7e3a151 ..."), kept_share(b"ot=th:0"), kept_share(b"vendor=1")
    (0.25, 1.0, None)
    """
    match = _THRESHOLD.search(value)
    if match is None:
        return None
    rejected = int(match[1].ljust(THRESHOLD_BITS // 4, b"0"), 16)
    return 1 - rejected / (1 << THRESHOLD_BITS)


class SamplingWatch:
    """Looks for the signs in what one ingest worker reads."""

    def __init__(self) -> None:
        self._trace_ids: set[bytes] = set()
        self._rooted: set[bytes] = set()
        self._warned: set[str] = set()

    def add(self, value: bytes | None) -> None:
        """Examine the bytes of a record."""
        share = None if value is None else kept_share(value)
        if share is not None and share < 1:
            self._warn("threshold", kept_share=round(share, 6))

    def take(self, sample: Iterable[tuple[bytes, bool]]) -> None:
        """Count the traces of a sample (`Touches.sample`), and those whose root was read."""
        for trace_id, root_seen in sample:
            self._trace_ids.add(trace_id)
            if root_seen:
                self._rooted.add(trace_id)
        if len(self._trace_ids) >= TRACES:
            if len(self._rooted) < ROOTLESS_SHARE * len(self._trace_ids):
                self._warn("rootless", traces=len(self._trace_ids), with_root=len(self._rooted))
            self._trace_ids.clear()
            self._rooted.clear()

    def _warn(self, reason: str, **facts: float) -> None:
        metrics.SOURCE_SAMPLED.labels(reason).set(1)
        if reason not in self._warned:
            self._warned.add(reason)
            log.warning("the source looks sampled: a missing span proves little", sign=reason, **facts)
