"""Implements Merkle trees as in RFC 6962 §2.1: the content of a log in one hash, and proofs of it.

    leaf   SHA-256(0x00 ‖ entry)
    node   SHA-256(0x01 ‖ left ‖ right)
    root   of n leaves: node(root of the first k, root of the others), k the largest power of two below n

In: hashes of leaves, 32 bytes each, in order. Out: roots and proofs, the same as those of any other RFC 6962 log. A log
that only grows needs only its `Frontier`; proofs need all leaves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256().digest()

Hash: TypeAlias = bytes

_sha256 = hashlib.sha256


def leaf_hash(entry: bytes) -> Hash:
    """Return the hash of an entry of a log.

    >>> leaf_hash(b"").hex()[:8]
    '6e340b9c'
    """
    return _sha256(b"\0" + entry).digest()


def leaf_hashes(entries: Iterable[bytes]) -> list[Hash]:
    """Return the hashes of entries, in order."""
    return [_sha256(b"\0" + entry).digest() for entry in entries]


def node_hash(left: Hash, right: Hash) -> Hash:
    """Return the hash of two subtrees."""
    return _sha256(b"\1" + left + right).digest()


@dataclass(slots=True)
class Frontier:
    """A tree that can only grow, in at most 64 hashes.

    `peaks` are the roots of the largest full subtrees from left to right, one for each bit that is set in `size`.
    """

    size: int = 0
    peaks: list[Hash] = field(default_factory=list)

    @classmethod
    def unpacked(cls, size: int, packed: bytes) -> Frontier:
        """Return the inverse of `packed`; raises `ValueError` if a tree of that size has other peaks."""
        if size < 0 or len(packed) != HASH_BYTES * size.bit_count():
            raise ValueError(f"a tree of {size} leaves does not have {len(packed)} bytes of peaks")
        return cls(size, [packed[start : start + HASH_BYTES] for start in range(0, len(packed), HASH_BYTES)])

    def packed(self) -> bytes:
        """Return the peaks, concatenated."""
        return b"".join(self.peaks)

    def copy(self) -> Frontier:
        """Return an independent copy."""
        return Frontier(self.size, [*self.peaks])

    def append(self, leaf: Hash) -> None:
        """Add one leaf."""
        self.extend((leaf,))

    def extend(self, leaves: Iterable[Hash]) -> None:
        """Add leaves in order: on average this hashes one node for each."""
        size, peaks = self.size, self.peaks
        for leaf in leaves:
            node, count = leaf, size
            while count & 1:
                node = _sha256(b"\1" + peaks.pop() + node).digest()
                count >>= 1
            peaks.append(node)
            size += 1
        self.size = size

    def root(self) -> Hash:
        """Return the tree's root; that of no leaves is the hash of nothing."""
        if not self.peaks:
            return EMPTY_ROOT
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root


def root(leaves: Iterable[Hash]) -> Hash:
    """Return the root of a tree with these leaves.

    >>> root([]) == EMPTY_ROOT, root([leaf_hash(b"a")]) == leaf_hash(b"a")
    (True, True)
    """
    tree = Frontier()
    tree.extend(leaves)
    return tree.root()


def inclusion_proof(leaves: Sequence[Hash], index: int) -> list[Hash]:
    """Return the audit path of leaf `index`, from the leaf upwards (RFC 6962 §2.1.1); raises `IndexError`."""
    if not 0 <= index < len(leaves):
        raise IndexError(f"there is no leaf {index} among {len(leaves)}")
    if len(leaves) == 1:
        return []
    split = _split(len(leaves))
    if index < split:
        return [*inclusion_proof(leaves[:split], index), root(leaves[split:])]
    return [*inclusion_proof(leaves[split:], index - split), root(leaves[:split])]


def consistency_proof(leaves: Sequence[Hash], old_size: int) -> list[Hash]:
    """Return a proof that the tree of the first `old_size` leaves is a prefix of this one (§2.1.2).

    Empty if `old_size` is 0 or the whole tree; raises `IndexError` if it is larger.
    """
    if not 0 <= old_size <= len(leaves):
        raise IndexError(f"a tree of {len(leaves)} leaves has no prefix of {old_size}")
    return _subproof(leaves, old_size, is_known=True) if old_size else []


def _subproof(leaves: Sequence[Hash], old_size: int, *, is_known: bool) -> list[Hash]:
    if old_size == len(leaves):
        return [] if is_known else [root(leaves)]
    split = _split(len(leaves))
    if old_size <= split:
        return [*_subproof(leaves[:split], old_size, is_known=is_known), root(leaves[split:])]
    return [*_subproof(leaves[split:], old_size - split, is_known=False), root(leaves[:split])]


def is_included(leaf: Hash, index: int, size: int, proof: Sequence[Hash], tree_root: Hash) -> bool:
    """Return whether `proof` shows that `leaf` is number `index` of the tree (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        return False
    node, last, result = index, size - 1, leaf
    for step in proof:
        if not last:
            return False
        if node & 1 or node == last:
            result = node_hash(step, result)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            result = node_hash(result, step)
        node, last = node >> 1, last >> 1
    return last == 0 and result == tree_root


def is_consistent(old_size: int, old_root: Hash, size: int, tree_root: Hash, proof: Sequence[Hash]) -> bool:
    """Return whether `proof` shows that the old tree is a prefix of the new one (RFC 9162 §2.1.4.2)."""
    if not 0 <= old_size <= size:
        return False
    if old_size == size:
        return not proof and old_root == tree_root
    if old_size == 0:
        return not proof and old_root == EMPTY_ROOT
    # A full old tree is itself the first step, so the proof omits it.
    steps = [old_root, *proof] if old_size & (old_size - 1) == 0 else [*proof]
    node, last = old_size - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    if not steps:
        return False
    old, new = steps[0], steps[0]
    for step in steps[1:]:
        if not last:
            return False
        if node & 1 or node == last:
            old, new = node_hash(step, old), node_hash(step, new)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, step)
        node, last = node >> 1, last >> 1
    return last == 0 and (old, new) == (old_root, tree_root)


def _split(size: int) -> int:
    """Return the largest power of two below `size`, which is at least 2."""
    return int(1 << ((size - 1).bit_length() - 1))
