"""Verifies evidence from its files, the public keys, and optionally tree heads obtained elsewhere.

    files     every seal from 0 on exists, and nothing else
    ranges    each seal follows from those before it and is signed, on all processors (`range_verifier`)
    joints    coverage and counts continue from one range to the next
    figures   nothing is retracted that was not added, signals match verdicts, audit records come from judged input
    truncated the log reaches the known heads

In: storage. Out: findings with their locations, and totals. It finds every change, removal, insertion and reordering.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from streams.evidence.ledger import seal as seals
from streams.evidence.ledger import storage
from streams.evidence.ledger.counts import CountsChain
from streams.evidence.ledger.entry_verifier import ChainKey, SealTotals, named
from streams.evidence.ledger.findings import Fault, Finding
from streams.evidence.ledger.log import AUDIT, SIGNALS, VERDICTS
from streams.evidence.ledger.notes import Verifier
from streams.evidence.ledger.parallel import map_seal_ranges
from streams.evidence.ledger.range_verifier import SealRangeVerifier
from streams.evidence.ledger.seal import Seal
from streams.evidence.ledger.seal_summary import CoverageContinuity
from streams.evidence.ledger.storage import Storage
from streams.evidence.ledger.tree_head import TreeHead
from topics.records.verdicts import is_backfill

APART_MS = 600_000
"""A signal and its verdict are published together, and are in seals at most this far apart."""

_OTHERS = frozenset({storage.PARTIAL, storage.RETENTION, AUDIT})
"""What is not evidence, and what is derived from it and verified separately (`streams.evidence.audit`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Passed:
    """The result of a range, as another process sends it."""

    findings: list[Finding]
    totals: SealTotals
    continuity: dict[ChainKey, CoverageContinuity]
    counts: dict[ChainKey, CountsChain]
    is_damaged: bool
    head: TreeHead | None


class Verification:
    """One verification of a storage: iterate `findings` once; `totals` and `head` are complete after it.

    `head` is the last tree head with a valid signature, None if there is none.
    """

    def __init__(self, store: Storage, verifiers: Sequence[Verifier], known: Sequence[TreeHead] = ()) -> None:
        self.totals = SealTotals()
        self.head: TreeHead | None = None
        self._store = store
        self._keys = [verifier.encode() for verifier in verifiers]
        self._known = known
        self._continuity: dict[ChainKey, CoverageContinuity] = {}
        self._counts: dict[ChainKey, CountsChain] = {}
        self._is_damaged = False

    def findings(self) -> Iterator[Finding]:
        """Yield everything that is wrong."""
        count = 0
        for file in _files(self._store):
            number = storage.seal_number(file)
            if number is None:
                yield Finding(file, Fault.UNKNOWN, "it is not a file of the ledger")
            else:
                count = max(count, number + 1)
        if not count:
            yield Finding(storage.SEALS, Fault.MISSING, "there is no evidence here")
        pass_ = partial(_pass, self._store, self._keys, self._known, self._settled_ms(count))
        for passed in map_seal_ranges(pass_, 0, count):
            self._is_damaged |= passed.is_damaged
            yield from passed.findings
            yield from self._join(passed)
        if not self._is_damaged:
            yield from self._figures(count)
        for known in self._known:
            if known.size > count:
                message = f"a head over {known.size} seals is known, but the evidence ends after {count}"
                yield Finding(storage.seal_path(count), Fault.TRUNCATED, message)

    def _join(self, passed: _Passed) -> Iterator[Finding]:
        self.totals.add(passed.totals)
        self.head = passed.head or self.head
        for key, later in passed.continuity.items():
            before = self._continuity.setdefault(key, later)
            if before is not later:
                for gap in before.gaps_to(later):
                    yield Finding(later.where, Fault.GAP, f"{named(key)}: {gap}")
        for key, chain in passed.counts.items():
            earlier = self._counts.setdefault(key, chain)
            where = passed.continuity[key].where if key in passed.continuity else storage.SEALS
            if earlier is chain:
                # All records of a backfill were on the topic while the ledger read it; live's may be older than that.
                is_known = not self._is_damaged and (VERDICTS, key[1]) not in self.totals.lost
                messages = chain.beginning() if is_backfill(key[0]) and is_known else ()
            elif passed.is_damaged or (VERDICTS, key[1]) in passed.totals.lost:
                self._counts[key] = chain
                continue
            else:
                messages = earlier.join(chain)
            for message in messages:
                yield Finding(where, Fault.INCONSISTENT, f"{named(key)}: {message}")

    def _settled_ms(self, count: int) -> int | None:
        """Return when the seal was made by which related entries of other logs must be sealed; None if unknown."""
        seal = _last_of(self._store, count)
        return None if seal is None else seal.time_ms - APART_MS

    def _figures(self, count: int) -> Iterator[Finding]:
        """Yield contradictions in the sums of all seals."""
        location = storage.seal_path(max(count - 1, 0))
        judged_ms = min(self.totals.judged_to_ms.values(), default=None)
        if judged_ms is not None and not any(topic == VERDICTS for topic, _ in self.totals.lost):
            # What was read is judged soon after; until then nothing is known.
            for where, message in self.totals.reading.beyond(judged_ms - APART_MS):
                yield Finding(where, Fault.INCONSISTENT, message)
        for chain in self._counts.values():
            for where, message in chain.negative():
                yield Finding(where, Fault.INCONSISTENT, message)
        seal = _last_of(self._store, count)
        for state in seal.logs if seal else ():
            log = (state.topic, state.partition)
            chains = [chain for key, chain in self._counts.items() if key[1] == state.partition]
            if state.topic != SIGNALS or log in self.totals.lost:
                continue
            stated = sum(chain.signals_stated for chain in chains)
            if stated > state.size:
                message = f"{stated} signals were published, {state.size} are sealed"
                yield Finding(f"{location} {state.topic}-{state.partition}", Fault.INCONSISTENT, message)
        for (partition, rule, verdict), signals in self.totals.signals.items():
            added = self.totals.added[partition, rule, verdict]
            if signals > added and (VERDICTS, partition) not in self.totals.lost:
                message = f"{signals} signals of rule {rule} say {verdict}, {added} verdicts do"
                yield Finding(f"{location} {VERDICTS}-{partition}", Fault.INCONSISTENT, message)


def _last_of(store: Storage, count: int) -> Seal | None:
    """Return the last seal, None if it is missing or cannot be read."""
    try:
        return seals.decode(seals.split(store.read(storage.seal_path(count - 1))).line) if count else None
    except (msgspec.DecodeError, OSError):
        return None


def _pass(
    store: Storage, keys: list[str], known: Sequence[TreeHead], settled_ms: int | None, first: int, end: int
) -> _Passed:
    verifier = SealRangeVerifier(store, [Verifier.decode(key) for key in keys], known, settled_ms)
    findings = [*verifier.findings(first, end)]
    entry_verifier = verifier.entry_verifier
    return _Passed(
        findings=findings,
        totals=entry_verifier.totals,
        continuity=entry_verifier.continuity,
        counts=entry_verifier.counts,
        is_damaged=entry_verifier.is_damaged,
        head=verifier.head,
    )


def _files(store: Storage) -> Iterator[str]:
    """Yield every file, and anything that is not a directory where one is expected; skip empty directories."""
    for top in store.names(""):
        if top != storage.SEALS:
            yield from () if top in _OTHERS else (top,)
            continue
        for first in store.names(top):
            for second in store.names(f"{top}/{first}"):
                yield from (f"{top}/{first}/{second}/{name}" for name in store.names(f"{top}/{first}/{second}"))
