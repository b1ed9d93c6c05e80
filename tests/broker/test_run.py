"""`betrace run` on a real Kafka: right signals from real Collector bytes, whatever else is on the topic."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import signal
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from streams.cli import main
from tests.support import paths
from tests.support.load import CORPUS
from tests.support.ocsf_schema import problems
from tests.support.program import CAPTURES, STOP_S, Program, expected
from topics.embedded import capture
from topics.records import verdicts
from topics.records.verdicts import VerdictCounts

pytestmark = pytest.mark.broker

BIG_BYTES = 900_000
CORPUS_RULES = paths.RULES / "corpus.rules"


@pytest.fixture
def program(kafka: str, fresh_prefix: str, tmp_path: Path) -> Program:
    """An installation with source topics of its own."""
    program = Program(kafka, fresh_prefix, tmp_path)
    program.make_sources()
    return program


def write(bootstrap: str, topic: str, values: Iterable[bytes | None]) -> None:
    """Writes records without keys."""
    producer = Producer({"bootstrap.servers": bootstrap})
    for value in values:
        producer.produce(topic, value)
    producer.flush()


def hostile_records() -> list[bytes | None]:
    """Records that are no OTLP."""
    truncated = next(capture.read(CAPTURES / "keyed_spans.bin.gz")).value[:-7]
    return [
        random.Random(7).randbytes(200),
        truncated,
        b'{"resourceSpans": 5}',
        b'{"hello": "world"}',
        b"[]",
        b"{",
        b"",
        None,
        b"\n" + struct.pack(">Q", 1 << 62),
        random.Random(8).randbytes(BIG_BYTES),
    ]


@pytest.mark.parametrize("kind", ["keyed", "unkeyed"])
def test_every_broken_rule_is_signalled_once_and_no_other(program: Program, kind: str) -> None:
    """The signals are exactly those of the traces that the applications broke, each once, and each is valid OCSF."""
    program.play(f"{kind}_spans", f"{kind}_logs")

    program.run_until_idle()

    assert expected() == program.broken()
    assert len(expected()) == len(program.signals())
    assert [] == [problem for frame in program.records("signals") for problem in problems(frame.value)]


def test_duplicates_and_mixed_kinds_change_nothing(program: Program) -> None:
    """Every span twice, keyed and in batches, spans and logs alternating on one topic: the same signals."""
    program.play("keyed_spans", "unkeyed_logs", "unkeyed_spans", "keyed_logs")

    program.run_until_idle()

    assert expected() == program.broken()


@pytest.mark.parametrize("corpus", ["partitioned_proto", "unkeyed_proto", "unkeyed_json"])
def test_the_corpus_is_judged_as_without_kafka(program: Program, corpus: str) -> None:
    """Keyed, in batches, in JSON: a real Collector's spans and logs give the verdicts that `betrace eval` gives."""
    program = dataclasses.replace(program, rules=CORPUS_RULES)
    for topic, name in ((program.spans_topic, corpus), (program.logs_topic, f"{corpus}_logs")):
        write(program.bootstrap, topic, [frame.value for frame in capture.read(CORPUS / f"{name}.bin.gz")])

    program.run_until_idle()

    assert program.truth()
    assert program.truth() == program.broken()


def test_garbage_becomes_dead_letters_and_nothing_else_is_lost(program: Program) -> None:
    """Undecodable records are dead letters with their reason, and records in = projected + dead letters."""
    hostile = hostile_records()
    write(program.bootstrap, program.spans_topic, hostile)
    count = program.play("keyed_spans", "keyed_logs")

    totals = program.run_until_idle().totals()

    letters = program.records("dead_letters")
    assert len(hostile) == len(letters) == totals["dead_letters"]
    assert not any(letter.value for letter in letters)
    assert count + len(hostile) == totals["records"] == totals["records_projected"] + totals["dead_letters"]
    assert expected() == program.broken()


def test_dead_letters_are_listed_and_decrypted(program: Program, tmp_path: Path) -> None:
    """Everybody sees position, reason, length and hash; only the owner of the key can decrypt the bytes."""
    hostile = hostile_records()
    write(program.bootstrap, program.spans_topic, hostile)
    where = ["--bootstrap", program.bootstrap, "--prefix", program.prefix]
    key, public, opened = tmp_path / "letters.key", tmp_path / "letters.pub", tmp_path / "opened"

    def letters(*words: str | Path) -> Result:
        return CliRunner().invoke(main, ["dead-letters", *map(str, words)])

    made = letters("keygen", "--key", key, "--pub", public)
    again = letters("keygen", "--key", key, "--pub", tmp_path / "other.pub")
    dataclasses.replace(program, options=(*program.options, "--dead-letter-key", str(public))).run_until_idle()
    listed = letters("list", *where)
    decrypted = letters("decrypt", opened, "--key", key, *where)
    letters("keygen", "--key", tmp_path / "other.key", "--pub", tmp_path / "other.pub")
    refused = letters("decrypt", tmp_path / "none", "--key", tmp_path / "other.key", *where)

    assert [0, 2, 0, 0, 1] == [done.exit_code for done in (made, again, listed, decrypted, refused)], refused.output
    lines = [json.loads(line) for line in listed.stdout.splitlines()]
    values = [value for value in hostile if value is not None]
    assert sorted(hashlib.sha256(value).hexdigest() for value in values) == sorted(
        line["sha256"] for line in lines if line["sha256"] is not None
    )
    assert {program.spans_topic} == {line["topic"] for line in lines}
    assert sorted(values) == sorted(path.read_bytes() for path in opened.iterdir())
    assert {0o600} == {path.stat().st_mode & 0o777 for path in (key, *opened.iterdir())}
    assert [] == [*(tmp_path / "none").iterdir()]


def test_state_is_for_its_owner_and_group(program: Program) -> None:
    """Windows contain values of spans, so other users may not read their files, whichever library created them."""
    program.play("keyed_spans", "keyed_logs")

    program.run_until_idle()

    made = [*program.state_dir.rglob("*")]
    assert [] == [path for path in made if path.stat().st_mode & 0o027]
    assert [path for path in made if path.suffix == ".sst" or path.name == "CURRENT"]


def test_last_line_has_the_totals_of_the_run(program: Program) -> None:
    """It has the totals of every stage, each from the stage that counts it, and no zeros in their place."""
    count = program.play("keyed_spans", "keyed_logs")

    totals = program.run_until_idle().totals()

    signals = len(program.signals())
    assert (0, count, signals) == (totals["exit_code"], totals["records"], totals["signals"])
    assert totals["windows_closed"] > 0
    assert totals["verdicts"] >= signals > 0
    assert "ledger_seals" not in totals


def test_a_second_run_on_one_state_directory_is_refused(program: Program) -> None:
    """It ends before it joins a group or pushes a rule, and does not affect the first one."""
    program.play("keyed_spans", "keyed_logs")
    with program.running() as run:
        program.wait_for_signals()
        pushes = len(program.records("rules"))

        second = subprocess.run(program.command(), capture_output=True, text=True, timeout=STOP_S, check=False)

        assert 2 == second.returncode
        assert f"is in use by process {run.pid}: stop that process" in second.stderr
        assert run.poll() is None
        assert pushes == len(program.records("rules"))
    # Killed, it has left the directory to whoever comes.
    program.run_until_idle()
    assert expected() == program.broken()


def test_restart_continues_without_duplicates(program: Program) -> None:
    """A restart reads only new records: with half of the input before and half after it, each signal exists once."""
    program.play("keyed_logs", "keyed_spans")
    program.run_until_idle()
    before = len(program.signals())

    program.run_until_idle()

    assert before == len(program.signals())
    assert expected() == program.broken()


def test_a_lost_state_directory_is_rebuilt_from_the_facts(program: Program, tmp_path: Path) -> None:
    """On another disk the state is rebuilt from the facts log, and no signal is missing."""
    program.play("keyed_logs", "keyed_spans")
    program.run_until_idle()
    moved = Program(program.bootstrap, program.prefix, tmp_path / "elsewhere")

    moved.run_until_idle()

    assert expected() == moved.broken()


def test_sigterm_ends_in_order(program: Program) -> None:
    """On SIGTERM a run exits with 0 within ten seconds, and what was read is committed."""
    program.play("keyed_spans", "keyed_logs")
    with program.running() as run:
        program.wait_for_signals()
        run.send_signal(signal.SIGTERM)

        code = run.wait(STOP_S)

    assert code == 0
    assert {} == program.uncommitted()


def test_verdict_counts_match_the_expectation(program: Program) -> None:
    """The counts of broken verdicts are the expected ones, and rules that held are counted too."""
    program.play("keyed_spans", "keyed_logs")

    program.run_until_idle()

    counted: dict[str, int] = {}
    held = 0
    for record in program.records("verdicts"):
        said = verdicts.decode(record.value)
        if isinstance(said, VerdictCounts):
            counted[said.rule] = counted.get(said.rule, 0) + said.added.broken - said.taken_back.broken
            held += said.added.held - said.taken_back.held
    truth = [rule for rule, _ in expected()]
    assert {rule: truth.count(rule) for rule in truth} == counted
    assert held > 0
