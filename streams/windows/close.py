"""The reasons for which windows close: a closed enumeration, each member with its own metric label."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import msgspec

from topics.records.facts import TICK_MS

if TYPE_CHECKING:
    from streams.windows.chain import Chain, Window


class CloseReason(Enum):
    """Why a window closed.

    QUIET: nothing of the trace arrived for longer than the gap; the trace counts as whole. MAX_DURATION: the window or
    its chain reached the longest duration while records still arrived; the trace counts as incomplete. END_OF_INPUT:
    the input of a replay or a file ended; the trace counts as whole. DISK_LIMIT: windows exceeded their disk limit; the
    trace counts as incomplete.
    """

    QUIET = "quiet"
    MAX_DURATION = "max_duration"
    END_OF_INPUT = "end_of_input"
    DISK_LIMIT = "disk_limit"


INCOMPLETE = frozenset({CloseReason.MAX_DURATION, CloseReason.DISK_LIMIT})
"""Reasons after which the trace may continue."""


class Close(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One closed window of a trace, to be judged with all facts of its chain.

    `closed_ms` is record time: last arrival + gap, or the tick at which the window was closed as incomplete. `whole` is
    false when missing facts may exist: the window was closed early, its chain begins in the middle of the trace, or
    input was lost in its time. `read_again_from` is the tick from which all input is read once more, None when it is
    not; a rule whose facts all lie at or after it is judged then.
    """

    trace_id: bytes
    chain: Chain
    window: Window
    reason: CloseReason
    closed_ms: int
    whole: bool
    read_again_from: int | None = None

    @property
    def chain_first_ms(self) -> int:
        """The first arrival of the chain, in ms of record time."""
        return self.chain.first * TICK_MS

    @property
    def known_from_ms(self) -> int:
        """Since when the trace is known to exist, in ms of record time: a rule judges it only if active by then."""
        return self.chain.known_from * TICK_MS
