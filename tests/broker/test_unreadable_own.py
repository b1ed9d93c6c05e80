"""Records of our own topics that no client can read, on a real Kafka: nothing stops at them, and nobody is silent."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from streams.config.settings import Settings
from streams.inspect import doctor, status
from streams.rules import registry
from tests.support import bombs
from tests.support.driven import AUDITED, FAR_MS, Driven, compiled
from tests.support.ingesting import rules
from tests.support.installation import installed
from tests.support.program import RUN_S, Program
from topics.cluster import admin
from topics.records import checkpoints, verdicts
from topics.records.verdicts import Coverage

pytestmark = pytest.mark.broker


def test_rules_commands_report_unreadable_records(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """The last readable set is shown as possibly replaced, until rules are pushed after the unreadable records."""
    settings = installed(kafka, fresh_prefix, tmp_path)
    topic = settings.topic("rules")
    first, second = compiled(AUDITED), rules()
    registry.push(settings, first, now_ms=1)
    registry.push(settings, second, now_ms=2)
    bombs.send(kafka, topic, count=3, key=b"active")
    lost = (topic, 0, 6, 9)

    listed = command(settings, "rules", "list", "--format", "json")
    rows = {row["fingerprint"]: (row["active"], row["active_is_certain"]) for row in json.loads(listed.stdout)}
    assert ({first.fingerprint: (False, True), second.fingerprint: (True, False)}, {lost}) == (rows, skipped(listed))
    shown = command(settings, "status", "--source-topics", settings.source_topics[0])
    assert f"{topic}[0] cannot be read from offset 6 to 9" in shown.stdout
    assert "another rule set may be active: see betrace doctor" in shown.stdout
    examined = command(settings, "doctor")
    assert f"{topic}[0] offsets 6 to 8: " in examined.stdout
    assert "push the rules that should be active with betrace rules push DIR" in examined.stdout
    refused = command(settings, "rules", "rollback", code=2)
    assert "name the set to return to" in refused.stderr

    registry.push(settings, first, now_ms=3)

    [lost_row] = status.read_status(settings).lost
    [finding] = doctor.find_damage(settings)
    _, active = registry.read(settings)
    assert (None, False, first.fingerprint) == (lost_row.doubt, finding.stops, active)
    assert "nothing depends on it" in finding.follows
    assert second.fingerprint in command(settings, "rules", "rollback", second.fingerprint[:8]).stdout


def test_possibly_lost_checkpoint_is_reported(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """Status shows that the facts partition may be further than shown, and doctor names what may be lost."""
    settings = installed(kafka, fresh_prefix, tmp_path)
    registry.push(settings, compiled(AUDITED), now_ms=1)
    topic = settings.topic("checkpoints")
    driven = Driven(settings)
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.apply(FAR_MS)
    driven.step()
    [earlier] = admin.end_offsets(admin.connect(settings.client()), [TopicPartition(topic, 0)]).values()
    bombs.send(kafka, topic, key=checkpoints.key(0))

    state = status.read_status(settings)
    [finding] = doctor.find_damage(settings)

    [row] = state.lost
    assert (topic, 0, earlier, earlier + 1) == (row.topic, row.partition, row.from_offset, row.to_offset)
    assert ("facts partition 0 may be further than shown", False) == (row.doubt, state.is_idle)
    assert f"{topic}[0] offsets {earlier} to {earlier}" == finding.where
    assert "it may have held the last checkpoint" in finding.follows

    driven.apply(2 * FAR_MS, driven.entry(2 * FAR_MS // 100, "pii.access"))
    driven.apply(3 * FAR_MS)
    driven.step()

    [row] = status.read_status(settings).lost
    assert row.doubt is None


def test_stages_continue_past_unreadable_ends(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """A run continues although the ends of rules, checkpoints and facts cannot be read, and reports what it lost."""
    program = Program(kafka, fresh_prefix, tmp_path / "state")
    program.make_sources()
    program.play("keyed_spans")
    program.run_until_idle()
    bombs.send(kafka, f"{fresh_prefix}rules", key=b"active")
    bombs.send(kafka, f"{fresh_prefix}checkpoints", key=checkpoints.key(0))
    bombs.send(kafka, f"{fresh_prefix}facts", count=2)
    program.play("keyed_spans", "keyed_logs")

    ended = program.run_until_idle()

    assert 2 == ended.totals()["facts_lost"]
    assert "another rule set may be active" in ended.log
    records = [verdicts.decode(frame.value) for frame in program.records("verdicts")]
    assert {0} == {
        each.partition for each in records if isinstance(each, Coverage) for source in each.sources if source.lost
    }
    assert {0} == {each.generation for each in records}
    assert {} == program.uncommitted()


def command(settings: Settings, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Runs a command, which ends with this exit code."""
    where = ["--bootstrap", settings.bootstrap, "--prefix", settings.prefix]
    done = subprocess.run(
        [sys.executable, "-m", "streams.cli", *words, *where],
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


def skipped(done: subprocess.CompletedProcess[str]) -> set[tuple[str, int, int, int]]:
    """Topic, partition and offsets of the ranges that a command warned it skipped."""
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    return {
        (line["topic"], line["partition"], line["offset"], line["to_offset"])
        for line in lines
        if line["event"] == "records cannot be read, skipped"
    }
