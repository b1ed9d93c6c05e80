r"""Keeps data from controlling a terminal: what a program prints there has no control characters.

In: text for stdout or stderr, some of it from spans, rules and servers. Out: the same text; if the stream is a
terminal, every character that is not printable (escape sequences, C1 controls, bidirectional marks) becomes a space.
Line endings and tabs stay. Text for a file or a pipe is unchanged.

Rich draws with escape sequences of its own: it takes the stream underneath (`rich_proxied_file`), and its users call
`printable` on data.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

_KEPT = frozenset("\n\t")
_LINE_END = re.compile(r"\r+\n")


def printable(text: str) -> str:
    r"""Return one line of text that cannot control a terminal: what is not printable becomes a space.

    >>> printable("a\x1b[2Jb\n")
    'a [2Jb '
    """
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def printable_lines(text: str) -> str:
    r"""Return text as `printable` does, but keep line endings and tabs.

    >>> printable_lines("a\x9b2J\tb\r\n")
    'a 2J\tb\n'
    """
    return "".join(char if char.isprintable() or char in _KEPT else " " for char in _LINE_END.sub("\n", text))


class TerminalText:
    """A text stream to a terminal that cleans what is written; everything else is that of the stream underneath."""

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file = stream
        self.buffer = TerminalBytes(stream)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401, as the stream has it
        return getattr(self.rich_proxied_file, name)

    def write(self, text: str) -> int:
        """Write text without control characters; return the length of the original."""
        if not isinstance(text, str):
            raise TypeError(f"write() takes a str, not {type(text).__name__}")
        self.rich_proxied_file.write(printable_lines(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write texts without control characters, one after the other."""
        for line in lines:
            self.write(line)


class TerminalBytes:
    """The bytes of a text stream to a terminal: click writes bytes to it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, content: bytes) -> int:
        """Write bytes as text without control characters; return the length of the original."""
        self._stream.write(printable_lines(content.decode(errors="replace")))
        return len(content)

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()


def unguarded(stream: TextIO) -> TextIO:
    """Return the stream underneath, for a writer that cleans and colours its text itself."""
    underneath: TextIO = getattr(stream, "rich_proxied_file", stream)
    return underneath


@contextmanager
def guarded() -> Iterator[None]:
    """Guard stdout and stderr, each if it is a terminal, within this context."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _guarded(sys.stdout), _guarded(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _guarded(stream: Any) -> Any:  # noqa: ANN401, a `TextIO` by its behaviour
    is_terminal = stream is not None and not isinstance(stream, TerminalText) and stream.isatty()
    return TerminalText(stream) if is_terminal else stream
