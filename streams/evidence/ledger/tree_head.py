"""Encodes tree heads as C2SP `tlog-checkpoint` defines them: the text of a signed note with the size and root of a log.

<origin>                       the log's name, and the name of its key
<size>                         decimal, no leading zero
<base64 of the root>           RFC 6962
seal leaf:<hex>                our extension line: the log's last leaf, which is the hash of the seal that this
                               tree head came with (`streams.evidence.ledger.seal`), after RFC 6962 too
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from streams.evidence.ledger.merkle import HASH_BYTES, Hash
from streams.evidence.ledger.notes import NoteError

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_SEAL = "seal leaf:"


@dataclass(frozen=True, slots=True)
class TreeHead:
    """A log's tree head: `seal_leaf` is the hash of the last entry, `size` counts entries, which are seals."""

    origin: str
    size: int
    root: Hash
    seal_leaf: Hash

    def text(self) -> str:
        """Return the text that is signed.

        >>> print(TreeHead("example.com/log", 1, bytes(32), bytes(32)).text()[:24])
        example.com/log
        1
        AAAAAA
        """
        root = base64.b64encode(self.root).decode()
        return f"{self.origin}\n{self.size}\n{root}\n{_SEAL}{self.seal_leaf.hex()}\n"


def decode(text: str) -> TreeHead:
    """Return the tree head in a note's text; raises `NoteError` if it is not exactly one of BeTrace's."""
    try:
        origin, size, root, seal, _ = text.split("\n")
        head = TreeHead(
            origin,
            int(size if _SIZE.fullmatch(size) else "not a size"),
            base64.b64decode(root, validate=True),
            bytes.fromhex(seal.removeprefix(_SEAL)),
        )
    except (ValueError, binascii.Error) as error:
        raise NoteError(f"not a tree head of this program: {error}") from error
    if len(head.root) != HASH_BYTES or head.text() != text:
        raise NoteError("the tree head is not in canonical form")
    return head
