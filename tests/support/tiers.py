"""Which tests `make test` leaves to `make test-all`: those that take minutes, or that build what few contributors need.

What they are about has a shorter test in `make test` wherever there is one; the table says what is left.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.support import paths

SLOW = {
    "bench": "short forms of the benches",
    "broker/test_archive.py": "an archive is killed and continued, as a program",
    "broker/test_backfill.py": "a backfill is killed and continued, as programs",
    "broker/test_collector.py": "a Collector is built",
    "broker/test_collector_configs.py": "a Collector is built",
    "broker/test_create_time.py": "windows of 15 s open and close while records lie about their time",
    "broker/test_evidence.py": "a day is judged, sealed, verified and reported by programs",
    "broker/test_first_signals.py": "a Collector is built",
    "broker/test_half_seen.py": "rules are pushed and input is lost while long traces are in flight, as programs",
    "broker/test_ingest_away.py": "brokers go away and come back",
    "broker/test_ingest_stopped.py": "ingest stands still for longer than its session",
    "broker/test_poison.py": "the largest records there can be, through programs",
    "broker/test_replay.py": "replays beside live processing, as programs",
    "broker/test_rules.py::test_operator_sees_from_when_a_push_judges": "a program; of a worker alone it is tested too",
    "broker/test_security.py": "a cluster of its own with TLS, SCRAM and ACLs",
    "broker/test_sessions.py": "programs are stopped, killed and paused",
    "broker/test_siem.py": "rsyslog and a Collector read signals",
    "broker/test_unreadable.py::test_run_and_replay_go_on": "a run and a replay, as programs",
    "broker/test_workers.py": "1, 2 and 4 workers, compiled and not",
    "crash": "kill -9",
    "helm/test_alerts.py": "Prometheus' engine is built",
    "helm/test_chart.py": "Helm is built",
    "helm/test_custom.py": "Helm is built",
    "helm/test_given.py": "Helm is built",
    "helm/test_running.py": "Helm is built",
    "properties/test_fuzz_rules.py": "`make fuzz-rules` in short",
    "properties/test_fuzz_scan.py": "`make fuzz-scan` in short",
    "properties/test_summaries.py": "workers of three facts partitions are killed over many hours",
    "streams/archive/test_s3.py": "a server that behaves like S3",
    "streams/evidence/ledger/test_s3.py": "a server that behaves like S3",
    "streams/cli/test_demo.py": "the demo",
    "test_lock.py::test_demo_needs_no_compiler_and_development_has_the_extension": "the extension is compiled",
    "test_lock.py::test_what_is_not_what_was_locked_is_not_installed": "packages are installed",
    "test_readme.py": "the README's commands, the demo among them",
    "test_supply.py": "a list of all packages is made",
    "test_wheel.py": "wheels are built",
    "topics/embedded/test_jvm.py::test_pinned_jars_are_what_maven_resolves": "the jars are resolved anew",
}
"""Directories, files and tests, and what takes the time there."""

SLOW_MARKERS = ("collector", "go")
"""Tests that build a program first."""

_TESTS = paths.ROOT / "tests"


def mark(items: Iterable[pytest.Item]) -> None:
    """Mark what is slow."""
    for item in items:
        if is_slow(item) or any(map(item.get_closest_marker, SLOW_MARKERS)):
            item.add_marker("slow")


def is_slow(item: pytest.Item) -> bool:
    """Whether the table leaves a test to `make test-all`."""
    if not item.path.is_relative_to(_TESTS):
        return False
    file = item.path.relative_to(_TESTS)
    name = item.name.partition("[")[0]
    return f"{file}::{name}" in SLOW or any(str(each) in SLOW for each in (file, *file.parents))
