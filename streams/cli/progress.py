"""A progress bar on stderr, where stderr is a terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


class Bar:
    """A context manager: how many of `expected` offsets are read, how many spans a second, and how long it takes."""

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
        """So much more was read."""
        self._spans += spans
        elapsed_s = self._progress.tasks[0].elapsed or 0
        rate = f"{self._spans / elapsed_s:,.0f} spans/s" if elapsed_s else ""
        self._progress.update(self._task, advance=offsets, rate=rate)
