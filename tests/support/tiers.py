"""Which tests `make check` leaves to `make test`, and which `make test` leaves to `make test-all`.

`make check` leaves out what takes seconds, `make test` what takes minutes or builds what few contributors need. What
they are about has a shorter test in the quicker tier wherever there is one; the tables say what is left.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import pytest

from tests.support import paths

MEDIUM = {
    "dsl/compile/test_write_tests.py::test_every_test_of_the_library_is_read_back": "all tests of the library",
    "dsl/judge/test_pairs.py::test_what_is_remembered_decides_where_it_can": "many traces, told and remembered",
    "dsl/test_limits.py": "files that double in size",
    "dsl/test_readme.py::test_console_blocks_print_what_they_show": "programs",
    "streams/cli/test_archive.py::test_without_the_extra": "a program that imports everything",
    "streams/cli/test_audit.py::test_control_characters_do_not_reach_the_terminal": "programs",
    "streams/cli/test_audit.py::test_ctrl_c_interrupts_a_query": "a program that is interrupted",
    "streams/cli/test_replay.py": "replays of recorded traffic",
    "streams/cli/test_rules_lsp.py": "programs",
    "streams/decode/test_batches.py::test_batches_change_nothing": "a property of many records",
    "streams/decode/test_batches.py::test_batches_follow_producers_timestamps": "a property of many records",
    "streams/evidence/audit/test_archive.py::test_each_byte_of_the_trail_counts": "each byte of a file is changed",
    "streams/evidence/audit/test_retention.py::test_each_byte_of_an_act_counts": "each byte of a file is changed",
    "streams/evidence/ledger/test_parallel.py::test_many_seals_are_divided_in_order": "processes",
    "streams/evidence/ledger/test_verify.py::test_every_flipped_byte_is_found": "each byte of a file is changed",
    "streams/evidence/ledger/test_verify.py::test_every_inserted_or_removed_byte_is_found": "the same",
    "streams/backfill/test_verdict_log.py::test_unreadable_batches_are_skipped": "batches of 130 MB",
    "streams/ingest/test_rules.py::test_activation_that_no_client_can_read_leaves_the_set_in_use": "the same",
    "streams/projection/test_budget.py::test_no_record_makes_more_than_its_budget": "the largest records there can be",
    "streams/sessions/test_app.py::test_unreadable_batch_is_lost": "batches of 130 MB",
    "streams/sessions/test_worker.py::test_checkpoint_before_unreadable_records_is_the_last_one": "the same",
    "streams/sessions/test_worker.py::test_facts_that_no_client_can_read_are_lost_input": "the same",
    "streams/sessions/test_worker.py::test_lost_checkpoint_is_restored_from_the_store": "the same",
    "streams/windows/test_growth.py": "inputs that double in size",
    "topics/records/test_signals.py::test_huge_witnesses_stay_within_the_limit": "the largest signals there can be",
    "topics/records/test_signals.py::test_the_worst_finding_fits_every_format": "the largest signals there can be",
    "topics/signals/test_truncate.py::test_the_worst_finding_fits": "the largest signals there can be",
}
"""Directories, files and tests, and what takes the seconds there."""

SLOW = {
    "bench": "short forms of the benches",
    "broker/test_archive.py": "an archive is killed and continued, as a program",
    "broker/test_backfill.py": "a backfill is killed and continued, as programs",
    "broker/test_collector.py": "a Collector is built",
    "broker/test_collector_configs.py": "a Collector is built",
    "broker/test_create_time.py": "windows of 15 s open and close while records lie about their time",
    "broker/test_deleted.py": "groups, checkpoints and facts are deleted between runs, as programs",
    "broker/test_evidence.py": "a day is judged, sealed, verified and reported by programs",
    "broker/test_first_signals.py": "a Collector is built",
    "broker/test_half_seen.py": "rules are pushed and input is lost while long traces are in flight, as programs",
    "broker/test_ingest_away.py": "brokers go away and come back",
    "broker/test_ingest_time.py::test_partition_far_ahead_is_paused": "a clock that is waited for",
    "broker/test_ingest_stopped.py": "ingest stands still for longer than its session",
    "broker/test_poison.py": "the largest records there can be, through programs",
    "broker/test_replay.py": "replays beside live processing, as programs",
    "broker/test_rules.py::test_pushed_rule_judges_no_trace_in_flight": "programs; of a worker alone it is tested too",
    "broker/test_rules.py::test_operator_sees_from_when_a_push_judges": "a program; of a worker alone it is tested too",
    "broker/test_run.py::test_a_lost_state_directory_is_rebuilt_from_the_facts": "two programs",
    "broker/test_run.py::test_restart_continues_without_duplicates": "two programs",
    "broker/test_run.py::test_a_second_run_on_one_state_directory_is_refused": "two programs",
    "broker/test_run.py::test_duplicates_and_mixed_kinds_change_nothing": "programs",
    "broker/test_run.py::test_state_is_for_its_owner_and_group": "a program",
    "broker/test_run.py::test_the_corpus_is_judged_as_without_kafka": "a program for each way to export",
    "broker/test_run.py::test_verdict_counts_match_the_expectation": "a program; of a worker alone it is tested too",
    "broker/test_security.py": "a cluster of its own with TLS, SCRAM and ACLs",
    "broker/test_sessions.py": "programs are stopped, killed and paused",
    "broker/test_stopping.py": "brokers go away, disks fill up and stores are damaged, before programs are stopped",
    "broker/test_siem.py": "rsyslog and a Collector read signals",
    "broker/test_unreadable.py::test_run_and_replay_skip_unreadable_batches": "a run and a replay, as programs",
    "broker/test_unreadable.py::test_questions_about_the_past_skip_unreadable_batches": "batches of 130 MB",
    "broker/test_unreadable.py::test_tools_skip_unreadable_batches": "batches of 130 MB, and commands that read them",
    "broker/test_unreadable_own.py": "batches of 130 MB, and commands that read them",
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
    "differential/test_s3.py": "a server that behaves like S3",
    "streams/cli/test_run.py::test_create_time_is_allowed_or_changed": "programs",
    "streams/kafka/test_reader.py::test_damaged_batches_are_lost_ranges": "two brokers",
    "streams/evidence/ledger/test_s3.py": "a server that behaves like S3",
    "streams/cli/test_demo.py": "the demo",
    "streams/evidence/ledger/test_worker.py::test_foreign_tree_heads_are_skipped": "long topics",
    "test_lock.py::test_demo_needs_no_compiler_and_development_has_the_extension": "the extension is compiled",
    "test_lock.py::test_lock_is_complete_for_every_supported_python": "the dependencies are resolved for each Python",
    "test_lock.py::test_package_with_another_hash_is_refused": "packages are installed",
    "test_readme.py": "the READMEs' commands, an installation and the demo among them",
    "test_supply.py": "a list of all packages is made",
    "test_wheel.py": "wheels are built",
    "topics/embedded/test_broker.py::test_broker_does_not_outlive_the_program_that_runs_it": "programs with brokers",
    "topics/embedded/test_broker.py::test_brokers_started_at_once_are_two": "two brokers",
    "topics/embedded/test_broker.py::test_broker_that_does_not_end_is_killed": "the wait for its end",
    "topics/embedded/test_broker.py::test_packaged_java_runs_it": "a Java is unpacked",
    "topics/embedded/test_broker.py::test_started_broker_is_found_and_not_started_twice": "brokers",
    "topics/embedded/test_broker.py::test_taken_port_is_an_error_with_the_log": "brokers",
    "topics/embedded/test_jvm.py::test_pinned_jars_are_what_maven_resolves": "the jars are resolved anew",
}
"""Directories, files and tests, and what takes the minutes there."""

SLOW_MARKERS = ("collector", "go")
"""Tests that build a program first."""

_TESTS = paths.ROOT / "tests"


def mark(items: Iterable[pytest.Item]) -> None:
    """Mark what is medium and what is slow."""
    for item in items:
        if is_in(SLOW, item) or any(map(item.get_closest_marker, SLOW_MARKERS)):
            item.add_marker("slow")
        elif is_in(MEDIUM, item):
            item.add_marker("medium")


def is_in(table: Collection[str], item: pytest.Item) -> bool:
    """Whether a table names a test, its file or a directory that it is in."""
    if not item.path.is_relative_to(_TESTS):
        return False
    file = item.path.relative_to(_TESTS)
    name = item.name.partition("[")[0]
    return f"{file}::{name}" in table or any(str(each) in table for each in (file, *file.parents))
