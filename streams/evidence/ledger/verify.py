"""Verifies evidence: with its files, the public keys, and perhaps heads that are known from elsewhere.

    files     every seal from 0 on is there, and nothing else is
    passages  each seal follows from those before it and is signed, on all processors (`passage`)
    joints    coverage goes on from one passage to the next
    cut       the log reaches the known heads

In: a storage. Out: findings, each with its place, and totals. What must hold: any change, removal, insertion or new
order is found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from streams.evidence.ledger import storage
from streams.evidence.ledger.contents import Totals
from streams.evidence.ledger.cover import Continuity
from streams.evidence.ledger.findings import Fault, Finding
from streams.evidence.ledger.log import AUDIT
from streams.evidence.ledger.notes import Verifier
from streams.evidence.ledger.passage import Passage
from streams.evidence.ledger.shares import in_shares
from streams.evidence.ledger.storage import Storage
from streams.evidence.ledger.tree_head import Checkpoint

_OTHERS = frozenset({storage.PARTIAL, storage.RETENTION, AUDIT})
"""What is no evidence, and what is made of it and verified by itself (`streams.evidence.audit`)."""


@dataclass(frozen=True, slots=True)
class _Passed:
    """What a passage found, as it comes from another process."""

    findings: list[Finding]
    totals: Totals
    continuity: dict[int, Continuity]
    head: Checkpoint | None


class Verification:
    """One pass over a storage: iterate `findings` once; `totals` and `head` are complete after it.

    `head` is the last checkpoint that was found signed and right, None when there is none.
    """

    def __init__(self, store: Storage, verifiers: Sequence[Verifier], known: Sequence[Checkpoint] = ()) -> None:
        self.totals = Totals()
        self.head: Checkpoint | None = None
        self._store = store
        self._keys = [verifier.encode() for verifier in verifiers]
        self._known = known
        self._continuity: dict[int, Continuity] = {}

    def findings(self) -> Iterator[Finding]:
        """Everything that is wrong."""
        count = 0
        for file in _files(self._store):
            number = storage.seal_number(file)
            if number is None:
                yield Finding(file, Fault.UNKNOWN, "it is no file of the ledger's")
            else:
                count = max(count, number + 1)
        if not count:
            yield Finding(storage.SEALS, Fault.MISSING, "there is no evidence here")
        for passed in in_shares(partial(_pass, self._store, self._keys, self._known), 0, count):
            yield from passed.findings
            yield from self._join(passed)
        for known in self._known:
            if known.size > count:
                message = f"a head over {known.size} seals is known, the evidence ends after {count}"
                yield Finding(storage.seal_path(count), Fault.CUT, message)

    def _join(self, passed: _Passed) -> Iterator[Finding]:
        self.totals.add(passed.totals)
        self.head = passed.head or self.head
        for partition, later in passed.continuity.items():
            before = self._continuity.setdefault(partition, later)
            if before is not later:
                for gap in before.gaps_to(later):
                    yield Finding(later.where, Fault.GAP, f"facts partition {partition}: {gap}")


def _pass(store: Storage, keys: list[str], known: Sequence[Checkpoint], first: int, end: int) -> _Passed:
    passage = Passage(store, [Verifier.decode(key) for key in keys], known)
    findings = [*passage.findings(first, end)]
    return _Passed(findings, passage.contents.totals, passage.contents.continuity, passage.head)


def _files(store: Storage) -> Iterator[str]:
    """Every file, and what is none where a directory should be; an empty directory is nothing."""
    for top in store.names(""):
        if top != storage.SEALS:
            yield from () if top in _OTHERS else (top,)
            continue
        for first in store.names(top):
            for second in store.names(f"{top}/{first}"):
                yield from (f"{top}/{first}/{second}/{name}" for name in store.names(f"{top}/{first}/{second}"))
