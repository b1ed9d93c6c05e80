"""Skips that are allowed: where `CI` is set, a test that is skipped and not on the list fails the run."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase

import pytest

from tests.support import paths

LIST = paths.ROOT / "tests" / "skips.txt"


def allowed() -> list[str]:
    """The ids on the list, as globs."""
    lines = (line.partition("#")[0].split(maxsplit=1) for line in LIST.read_text().splitlines())
    return [words[0] for words in lines if words]


class SkipCheck:
    """A plugin that notes every skip that is not on the list, and fails the run at its end."""

    def __init__(self) -> None:
        self._allowed = allowed()
        self._unexpected: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a skip; an expected failure is none."""
        if report.skipped and not hasattr(report, "wasxfail"):
            self._note(report.nodeid, report.longrepr)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a module that skips itself."""
        if report.skipped:
            self._note(report.nodeid, report.longrepr)

    def _note(self, test_id: str, reason: object) -> None:
        if not any(fnmatchcase(test_id, glob) for glob in self._allowed):
            self._unexpected[test_id] = reason[2] if isinstance(reason, tuple) else str(reason)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run that would have passed."""
        if self._unexpected and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name the skips that failed the run."""
        if self._unexpected:
            terminalreporter.section("skips that tests/skips.txt does not allow")
            for test_id, reason in sorted(self._unexpected.items()):
                terminalreporter.line(f"{test_id}: {reason}")


def register(config: pytest.Config) -> None:
    """Check skips in CI; workers of xdist leave it to their controller."""
    if os.environ.get("CI") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(SkipCheck(), "betrace-skips")
