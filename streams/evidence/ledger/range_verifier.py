"""Verifies a range of consecutive seals and their tree heads in one pass.

    seals     each was made after the seals and the tree head before it; its entries are those that were sealed
    heads     each tree head is that of its seal, and signed by known keys alone
    known     a known head is the log's own

In: storage and a range of seals; the seal before the range is accepted unchecked. Out: findings. After damage the next
seal is accepted unchecked, so that damage is one finding, and not one for every seal after it.

Verifying a signature costs as much as the rest of a seal. The next seal names the hash of the tree head, and its own
tree head signs that; so a signature is verified only if no such seal follows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from streams.evidence.ledger import notes, storage, tree_head
from streams.evidence.ledger import seal as seals
from streams.evidence.ledger.entry_verifier import EntryVerifier
from streams.evidence.ledger.findings import Fault, Finding
from streams.evidence.ledger.log import head
from streams.evidence.ledger.merkle import Frontier, leaf_hash
from streams.evidence.ledger.notes import Algorithm, Note, NoteError, Verifier
from streams.evidence.ledger.seal import Parts, Seal
from streams.evidence.ledger.storage import Storage
from streams.evidence.ledger.tree_head import TreeHead


@dataclass(frozen=True, slots=True)
class _Head:
    """A tree head that was read: its content, the signatures not verified yet, and the hash of its bytes."""

    location: str
    note: Note
    content: TreeHead
    sha256: str


class SealRangeVerifier:
    """A pass over seals; `entry_verifier`, and `head`, the last one that is signed, are complete after it."""

    def __init__(
        self,
        store: Storage,
        verifiers: Sequence[Verifier],
        known: Sequence[TreeHead],
        settled_ms: int | None = None,
    ) -> None:
        """Prepare the pass; for `settled_ms` see `EntryVerifier`."""
        self.entry_verifier = EntryVerifier(settled_ms)
        self.head: TreeHead | None = None
        self._store = store
        self._verifiers = verifiers
        self._keys = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
        self._known = {head.size: head for head in known}
        self._before: Frontier | None = Frontier()
        self._last: _Head | None = None

    def findings(self, first: int, end: int) -> Iterator[Finding]:
        """Yield what is wrong with the seals `[first, end)` and their tree heads."""
        if first:
            self._resume_after(first - 1)
        for number in range(first, end):
            yield from self._step(number)
        yield from self._settle()

    def _resume_after(self, number: int) -> None:
        location = storage.seal_path(number)
        try:
            parts = seals.split(self._store.read(location))
            seal = seals.decode(parts.line)
            self._before = Frontier.unpacked(number, seal.peaks)
            self._before.append(leaf_hash(parts.line))
            self.entry_verifier.resume_after(seal)
            self._last = self._read_head(location, parts.note, None)
        except (msgspec.DecodeError, NoteError, OSError, ValueError):
            self._forget()

    def _step(self, number: int) -> list[Finding]:
        """Check one seal and its tree head; their file may be missing or damaged."""
        location = storage.seal_path(number)
        findings: list[Finding] = []
        tree_head = None
        try:
            parts = seals.split(self._store.read(location))
        except FileNotFoundError:
            findings.append(Finding(location, Fault.MISSING, "the seal does not exist"))
            self._forget()
        except (msgspec.DecodeError, OSError) as error:
            findings.append(Finding(location, Fault.CHANGED, f"it cannot be read: {error}"))
            self._forget()
        else:
            tree_head = self._file(location, number, parts, findings)
        findings += self._settle()
        self._last = tree_head
        return findings

    def _file(self, location: str, number: int, parts: Parts, findings: list[Finding]) -> _Head | None:
        """Add what is wrong with a seal and its tree head; return the tree head, None if it is not one."""
        try:
            seal = seals.decode(parts.line)
            tree = self._tree_before(number, seal)
        except (msgspec.DecodeError, ValueError) as error:
            tree_head = self._head_in(location, parts.note, None, findings)
            findings.append(Finding(location, Fault.CHANGED, f"it cannot be read: {error}"))
            self._forget()
            return tree_head
        damages = self._chain(location, number, seal)
        made = head(leaf_hash(parts.line), tree, seal.origin)
        self._before = tree
        tree_head = self._head_in(location, parts.note, made, findings)
        damages += self._against(location, made, tree_head)
        findings += damages + self.entry_verifier.check(location, seal, parts.entries)
        if damages:
            self._forget()
        elif tree_head is not None and self._last is not None:
            # This seal names it, and what follows signs this seal.
            self.head, self._last = self._last.content, None
        return tree_head

    def _tree_before(self, number: int, seal: Seal) -> Frontier:
        """Return the log of the seals before this one, as it says itself; raises `ValueError`."""
        before = self._before
        if before is None or before.packed() != seal.peaks:
            return Frontier.unpacked(number, seal.peaks)
        return before

    def _against(self, location: str, made: TreeHead, tree_head: _Head | None) -> Iterator[Finding]:
        """Yield findings if its own tree head or a known one is for another seal."""
        if tree_head is not None and tree_head.content != made:
            yield Finding(location, Fault.CHANGED, "it is not the seal that its tree head signs")
        known = self._known.get(made.size, made)
        if known != made:
            yield Finding(location, Fault.CHANGED, f"the known head over {known.size} seals is for other seals")

    def _chain(self, location: str, number: int, seal: Seal) -> list[Finding]:
        """Return findings if the seal was not made after the seals before it."""
        findings: list[Finding] = []
        if seal.number != number:
            findings.append(Finding(location, Fault.CHANGED, f"it claims to be seal {seal.number}"))
        if self._before is not None and seal.peaks != self._before.packed():
            findings.append(
                Finding(location, Fault.CHANGED, "the seals before it are not those that it was made after")
            )
        if number == 0 and seal.previous is not None:
            findings.append(Finding(location, Fault.CHANGED, "it is the first seal, but names a tree head before it"))
        if self._last is not None and seal.previous != self._last.sha256:
            message = "the tree head before it is not the one that it was made after"
            findings += self._settle() or [Finding(location, Fault.CHANGED, message)]
        return findings

    def _head_in(self, location: str, note: bytes, made: TreeHead | None, findings: list[Finding]) -> _Head | None:
        """Return the tree head; if it is invalid or signed by unknown keys, add a finding and return None."""
        try:
            return self._read_head(location, note, made)
        except NoteError as error:
            findings.append(Finding(location, Fault.UNSIGNED, str(error)))
            return None

    def _read_head(self, location: str, content: bytes, made: TreeHead | None) -> _Head:
        """Return the tree head, with everything checked but its signatures; `made` is its expected content.

        Raises:
            NoteError: it is not a tree head, or signed by unknown keys.
        """
        text = made.text() if made else None
        note = notes.decode(content, text)
        head = made if made and note.text == text else tree_head.decode(note.text)
        names = [(signature.name, signature.key_id) for signature in note.signatures]
        by = [self._keys.get(name) for name in names]
        if None in by:
            raise NoteError("it is signed by an unknown key")
        if len({*names}) != len(names):
            raise NoteError("it is signed twice by the same key")
        if not any(key and key.name == head.origin and key.algorithm is Algorithm.ED25519 for key in by):
            raise NoteError(f"it is not signed by {head.origin}")
        return _Head(location, note, head, hashlib.sha256(content).hexdigest())

    def _settle(self) -> list[Finding]:
        """Verify the signatures of the last tree head, which no seal covers."""
        last, self._last = self._last, None
        if last is None:
            return []
        try:
            notes.verified(last.note, self._verifiers)
        except NoteError as error:
            return [Finding(last.location, Fault.UNSIGNED, str(error))]
        self.head = last.content
        return []

    def _forget(self) -> None:
        """Accept what follows unchecked."""
        self._before = None
        self.entry_verifier.forget()
