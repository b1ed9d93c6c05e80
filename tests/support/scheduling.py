"""Distributes test files over processes, as `--dist loadfile` of pytest-xdist does, and goes on when a process dies.

xdist 3.8 hands out the files of a dead process again, those that were finished too. A process that gets a finished file
never reports, so it gets nothing else, and the run hangs without a report. The test that was running when the process
died is run again as well, and kills the next process.

xdist begins with the files of the most tests. Those that start programs have few tests that take long: the last of them
would be waited for alone. As they mostly wait, one process begins with the others, which compute.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController


LONG = ("tests/broker/", "tests/properties/", "tests/differential/", "tests/streams/sessions/")
"""Where files take long though they have few tests."""


class CrashTolerantScheduling(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Hands out long files first, and of a dead process only what it left undone, without the test it was running."""

    def remove_node(self, node: WorkerController) -> str | None:
        """Take a process out; return the test it was running, or None if it had nothing left to do."""
        work = self.assigned_work.pop(node)
        undone = {file: {test: False for test, is_done in tests.items() if not is_done} for file, tests in work.items()}
        crashed: str | None = next((test for tests in undone.values() for test in tests), None)
        if crashed is None:
            return None
        del undone[self._split_scope(crashed)][crashed]
        self.workqueue.update((file, tests) for file, tests in undone.items() if tests)
        for other in self.assigned_work:
            self._reschedule(other)
        return crashed

    def _assign_work_unit(self, node: WorkerController) -> None:
        """Give a process the next file."""
        computes = len(self.nodes) > 1 and node is self.nodes[0]
        file = next((file for file in self.workqueue if file.startswith(LONG) is not computes), None)
        if file is not None:
            self.workqueue.move_to_end(file, last=False)
        # To a process that has just died nothing can be sent; `remove_node` then hands out what it was to do.
        with suppress(OSError):
            super()._assign_work_unit(node)

    def _reschedule(self, node: WorkerController) -> None:
        """Give a process more work; one that is still collecting gets it when it has collected."""
        if node in self.registered_collections:
            super()._reschedule(node)
