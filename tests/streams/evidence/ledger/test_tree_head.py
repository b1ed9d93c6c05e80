"""Tests the text of a tree head: one encoding, parsed strictly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.evidence.ledger import tree_head
from streams.evidence.ledger.notes import NoteError
from streams.evidence.ledger.tree_head import TreeHead

HEAD = TreeHead("example.com/log", 7, bytes(range(32)), bytes(32))
TEXT = f"example.com/log\n7\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\nseal leaf:{'00' * 32}\n"


def test_text_is_a_tree_head_of_c2sp() -> None:
    """Origin, size, root and one extension line."""
    assert TEXT == HEAD.text()


hashes = st.binary(min_size=32, max_size=32)


@given(st.builds(TreeHead, st.just("a.b/c"), st.integers(0, 10**18), hashes, hashes))
def test_tree_head_round_trip(head: TreeHead) -> None:
    """An encoded tree head decodes to the same."""
    assert head == tree_head.decode(head.text())


@pytest.mark.parametrize(
    "text",
    [
        "",
        TEXT[:-1],
        TEXT + "\n",
        TEXT.replace("\n7\n", "\n07\n"),
        TEXT.replace("\n7\n", "\n-7\n"),
        TEXT.replace("\n7\n", "\n\N{ARABIC-INDIC DIGIT SEVEN}\n"),
        TEXT.replace("Hh8=", "Hh9="),
        TEXT.replace("Hh8=", "Hg=="),
        TEXT.replace("leaf:00", "leaf:0"),
        TEXT.replace("leaf:", "leaves:"),
        TEXT.replace("seal leaf:00", "seal leaf:AA"),
    ],
)
def test_invalid_tree_head(text: str) -> None:
    """A tree head that is not in canonical form is refused."""
    with pytest.raises(NoteError):
        tree_head.decode(text)
