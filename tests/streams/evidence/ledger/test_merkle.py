"""Tests Merkle trees with the vectors of RFC 6962's reference implementation, and proofs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.evidence.ledger.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    is_consistent,
    is_included,
    leaf_hash,
    root,
)

ENTRIES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
LEAVES = [leaf_hash(bytes.fromhex(entry)) for entry in ENTRIES]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
}


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_rfc_6962(size: int) -> None:
    """Trees of 0 to 8 known entries have the known roots."""
    tree_root = root(LEAVES[:size])

    assert ROOTS[size] == tree_root.hex()


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_inclusion_proofs_are_those_of_rfc_6962(index: int, size: int) -> None:
    """Known audit paths are computed."""
    proof = inclusion_proof(LEAVES[:size], index)

    assert INCLUSION[index, size] == [step.hex() for step in proof]


@pytest.mark.parametrize(("old_size", "size"), CONSISTENCY)
def test_consistency_proofs_are_those_of_rfc_6962(old_size: int, size: int) -> None:
    """Known consistency proofs are computed."""
    proof = consistency_proof(LEAVES[:size], old_size)

    assert CONSISTENCY[old_size, size] == [step.hex() for step in proof]


sizes = st.integers(0, 70)


def leaves(size: int) -> list[bytes]:
    """Distinct leaves."""
    return [leaf_hash(str(number).encode()) for number in range(size)]


@given(sizes, sizes)
def test_inclusion_is_proved_for_the_leaf_alone(index: int, size: int) -> None:
    """A proof is valid for its leaf and index, and for no other."""
    there = leaves(size + 1)
    index %= size + 1
    proof = inclusion_proof(there, index)

    said = [is_included(leaf, index, size + 1, proof, root(there)) for leaf in there]

    assert [number == index for number in range(size + 1)] == said
    assert not is_included(there[index], index + 1, size + 1, proof, root(there))
    assert not is_included(there[index], index, size + 1, [*proof, bytes(32)], root(there))


@given(sizes, sizes)
def test_consistency_is_proved_for_a_beginning_alone(old_size: int, size: int) -> None:
    """A proof is valid for the prefix of the tree, and for no other old tree."""
    old_size, size = sorted((old_size, size))
    there = leaves(size)
    old_root = root(there[:old_size])
    proof = consistency_proof(there, old_size)

    assert is_consistent(old_size, old_root, size, root(there), proof)
    assert not is_consistent(old_size, bytes(32), size, root(there), proof)
    # The empty tree is a prefix of every tree.
    assert (old_size == 0 < size) == is_consistent(old_size, old_root, size, bytes(32), proof)
    assert not is_consistent(old_size, old_root, size, root(there), [*proof, bytes(32)])


@given(sizes)
def test_unpacked_frontier_grows_alike(size: int) -> None:
    """An unpacked frontier grows like the tree it was packed from."""
    tree = Frontier()
    tree.extend(leaves(size))

    back = Frontier.unpacked(size, tree.packed())
    back.append(leaf_hash(b"more"))

    assert root([*leaves(size), leaf_hash(b"more")]) == back.root()
    assert root(leaves(size)) == tree.root()


def test_copy_is_independent() -> None:
    """Leaves appended to a copy are not in the original."""
    tree = Frontier()

    tree.copy().append(LEAVES[0])

    assert EMPTY_ROOT == tree.root()


@pytest.mark.parametrize(("size", "packed"), [(1, b""), (3, bytes(32)), (0, bytes(32)), (-1, b""), (1, bytes(33))])
def test_peaks_of_another_size_are_refused(size: int, packed: bytes) -> None:
    """The number of peaks follows from the size."""
    with pytest.raises(ValueError, match="does not have"):
        Frontier.unpacked(size, packed)


@pytest.mark.parametrize("index", [-1, 3])
def test_no_proof_outside_the_tree(index: int) -> None:
    """A leaf outside the tree and an old tree larger than it have no proof."""
    with pytest.raises(IndexError):
        inclusion_proof(LEAVES[:3], index)
    with pytest.raises(IndexError):
        consistency_proof(LEAVES[:3], index if index < 0 else index + 1)
