"""Shows a progress bar on stderr, if stderr is a terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


class Bar:
    """A context manager that shows how many of `expected` offsets were read, spans per second, and the time left."""

    def __init__(self, expected: int) -> None:
        console = Console(stderr=True)
        columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
        self._task = self._progress.add_task("", total=max(1, expected), rate="")
        self._spans = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def advance(self, offsets: int, spans: int) -> None:
        """Add the offsets and spans read since the last call."""
        self._spans += spans
        elapsed_s = self._progress.tasks[0].elapsed or 0
        rate = f"{self._spans / elapsed_s:,.0f} spans/s" if elapsed_s else ""
        self._progress.update(self._task, advance=offsets, rate=rate)
