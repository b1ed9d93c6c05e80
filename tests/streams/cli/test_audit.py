"""Tests `betrace audit` from the command line."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import msgspec
import psutil
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from streams.cli import main
from streams.evidence.audit import archive, trail
from streams.evidence.ledger.log import Ledger
from streams.evidence.ledger.storage import Directory
from tests.support import evidence, trails
from tests.support.evidence import ORIGIN, SIGNER, START_MS
from tests.support.quarter import Quarter
from tests.support.terminal import on_terminal
from tests.support.waiting import WAIT_S, wait_until
from topics.records import audit

ENDLESS = "SELECT count(*) FROM range(100000000000) a, range(100000000000) b WHERE a.range % 7 = b.range % 11"
FORMULAS = ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\t=1", "\uff1d1+1"]


def call(*words: object) -> Result:
    """Runs a command."""
    return CliRunner().invoke(main, ["audit", *map(str, words)])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trail with a part in Parquet, of events one day ago."""
    root = tmp_path_factory.mktemp("evidence")
    archive.advance(trails.make(root, 70, int(time.time() * 1000) - 86_400_000), 70)
    return root


def test_who_changed_roles(root: Path) -> None:
    """An auditor's query runs unchanged over files and over what is only sealed."""
    done = call("query", root, trails.ROLES)

    assert done.exit_code == 0, done.output
    rows = [*csv.DictReader(done.stdout.splitlines())]
    numbers = [number for number in range(70) if number % 2 and number % 10 != 3]
    assert sorted(f"t-{number}" for number in numbers) == sorted(row["target"] for row in rows)
    assert {"u-1": "viewer"}.items() <= {row["actor"]: row["previous_role"] for row in rows}.items()
    assert '["admin",1]' in [row["new_role"] for row in rows]


def test_rows_as_json(root: Path) -> None:
    """JSON output has an object per row, with maps as objects."""
    done = call("query", root, "FROM audit_spans ORDER BY seal LIMIT 1", "--format", "json")

    [row] = map(json.loads, done.stdout.splitlines())
    assert ("login", "otlp_spans/0/1/0/0") == (row["attributes"]["audit.action"], row["source"])


def test_unreadable_entries_are_in_the_trail(root: Path) -> None:
    """A query returns every sealed record."""
    done = call("query", root, "SELECT unreadable FROM audit_spans WHERE unreadable IS NOT NULL")

    assert ["unreadable", "no record"] == done.stdout.splitlines()


@pytest.mark.parametrize("sql", ["SELECT", "SELECT nothing FROM audit_spans", ""])
def test_invalid_sql_is_reported(root: Path, sql: str) -> None:
    """An invalid query shows DuckDB's message and exits with 2."""
    assert 2 == call("query", root, sql).exit_code


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT content FROM read_text('{secret}')",
        "SELECT * FROM '{secret}'",
        "SELECT * FROM glob('{directory}/*')",
        "SELECT * FROM read_text('{seal}')",
        "SELECT * FROM parquet_metadata('{other}')",
        "SELECT * FROM query($$COPY (SELECT 1) TO '{new}'$$)",
        "COPY (SELECT 1) TO '{new}'",
        "COPY (SELECT 1) TO '{seal}'",
        "ATTACH '{new}' AS other",
        "INSTALL httpfs",
        "LOAD httpfs",
        "PRAGMA enable_external_access",
        "SET enable_external_access = true",
        "CREATE TABLE t AS SELECT 1",
        "SELECT 1; COPY (SELECT 1) TO '{new}'",
        "SELECT 1; SELECT 2",
        "SELECT * FROM tail",
    ],
)
def test_query_reads_only_the_trail(root: Path, tmp_path: Path, sql: str) -> None:
    """Other files, extensions, variables and second statements are refused: exit 2, nothing is written."""
    secret, other = tmp_path / "secret.csv", tmp_path / "other.parquet"
    secret.write_text("hidden,1\n")
    shutil.copy(next(root.rglob("*.parquet")), other)
    seal = root / "seals/000/000/000.tlog"
    before = seal.read_bytes()
    names = {"secret": secret, "directory": tmp_path, "seal": seal, "other": other, "new": tmp_path / "new"}

    done = call("query", root, sql.format(**names))

    assert 2 == done.exit_code, done.output
    assert "hidden" not in done.output
    assert {"secret.csv", "other.parquet"} == {path.name for path in tmp_path.iterdir()}
    assert before == seal.read_bytes()


@pytest.mark.parametrize("statement", ["SET enable_external_access = true", "SET allowed_paths = ['/']", "LOAD httpfs"])
def test_restrictions_of_the_database_are_locked(root: Path, statement: str) -> None:
    """A statement that got past the check of its kind is refused, too."""
    with trail.opened(Directory(root)) as database, pytest.raises(duckdb.Error):
        database.execute(statement)


def test_the_trails_own_files_may_be_read(root: Path) -> None:
    """The trail's files may be named directly because the view reads them."""
    [file] = root.rglob("*.parquet")

    done = call("query", root, f"SELECT count(*) FROM read_parquet('{file}')")  # noqa: S608, the test's own file

    assert (0, "55") == (done.exit_code, done.stdout.splitlines()[-1]), done.output


def test_query_beyond_its_time_limit(root: Path) -> None:
    """A query that exceeds its time limit is interrupted, with exit 2."""
    done = call("query", root, ENDLESS, "--timeout", "500ms")

    assert 2 == done.exit_code
    assert "longer than 0.5s" in done.stderr


def test_query_beyond_its_memory_limit(root: Path) -> None:
    """A query that exceeds its memory limit fails with DuckDB's message."""
    wide = "SELECT list(a.range), list(b.range) FROM range(100000) a, range(10000) b"

    done = call("query", root, wide, "--memory", "64MiB")

    assert 2 == done.exit_code, done.output
    assert "memory" in done.stderr.lower()


def test_ctrl_c_interrupts_a_query(root: Path) -> None:
    """Ctrl-C ends the program with exit 130, whatever the database is doing."""
    command = [sys.executable, "-m", "streams.cli", "audit", "query", root, ENDLESS, "--timeout", "1h"]
    with subprocess.Popen([*map(str, command)]) as asking:
        try:
            threads = psutil.Process(asking.pid).threads
            wait_until(lambda: any(one.user_time > 1 for one in threads()[1:]), "the question is being answered")
            asking.send_signal(signal.SIGINT)
            code = asking.wait(WAIT_S)
        finally:
            asking.kill()

    assert 130 == code


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trail with texts that would control a spreadsheet or a terminal."""
    root = tmp_path_factory.mktemp("hostile")
    store, ledger = Directory(root), Ledger(ORIGIN)
    evidence.follow(ledger)
    for number, name in enumerate([*FORMULAS, "plain", "\x1b[2J\x9b31m\x07\u202e"]):
        record = msgspec.structs.replace(trails.record(number), name=name)
        trails.take(ledger, number, audit.encode(record))
    evidence.store_seal(ledger, store, START_MS)
    return root


def test_cells_are_never_formulas(hostile: Path, tmp_path: Path) -> None:
    """A text that a spreadsheet would compute gets a quote, printed and exported; numbers stay unchanged."""
    file = tmp_path / "trail.csv"
    done = call("query", hostile, "SELECT name, -1 AS n FROM audit_spans ORDER BY start_ns LIMIT 7")
    call("export", hostile, file)

    rows = [*csv.DictReader(done.stdout.splitlines())]
    with file.open() as text:
        exported = [row["name"] for row in csv.DictReader(text)]
    assert [*(f"'{formula}" for formula in FORMULAS), "plain"] == [row["name"] for row in rows]
    assert {"-1"} == {row["n"] for row in rows}
    assert {row["name"] for row in rows} <= {*exported}


@pytest.mark.parametrize("form", ["csv", "json"])
def test_control_characters_do_not_reach_the_terminal(hostile: Path, form: str) -> None:
    """No control character in a span's name reaches the terminal."""
    sql = "SELECT name FROM audit_spans"

    shown = on_terminal(sys.executable, "-m", "streams.cli", "audit", "query", str(hostile), sql, "--format", form)

    assert "plain" in shown
    assert not {"\x1b", "\x9b", "\x07", "\u202e"} & {*shown}


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_each_export_has_every_record(root: Path, tmp_path: Path, suffix: str) -> None:
    """Each output format has a row per record."""
    file = tmp_path / f"trail.{suffix}"

    done = call("export", root, file)

    assert 0 == done.exit_code, done.output
    assert [(64,)] == duckdb.execute(f"SELECT count(*) FROM '{file}'").fetchall()  # noqa: S608, as above


def test_export(root: Path, tmp_path: Path) -> None:
    """The whole trail is written to one file, which must not exist."""
    file = tmp_path / "it's.parquet"

    done = call("export", root, file)

    assert done.exit_code == 0, done.output
    assert 64 == pq.read_metadata(file).num_rows
    assert 2 == call("export", root, file).exit_code


def test_verify(root: Path, tmp_path: Path) -> None:
    """Verification exits with 0, and with 1 once anything was changed."""
    key = tmp_path / "ledger.pub"
    key.write_text(SIGNER.verifier().encode() + "\n")

    good = call("verify", root, "--key", key)
    (root / "audit" / "000" / "000" / "x.json").write_text("{}")
    bad = call("verify", root, "--key", key)
    (root / "audit" / "000" / "000" / "x.json").unlink()

    assert (0, "64 audit records, unchanged\n") == (good.exit_code, good.stdout)
    assert (1, True) == (bad.exit_code, "x.json: unknown file: no manifest names it" in bad.stdout)


def test_timeline_of_an_actor(root: Path, tmp_path: Path) -> None:
    """Audit records with the attribute appear in order, on the terminal and on a page."""
    page = tmp_path / "who.html"

    done = call("who", root, "enduser.id=u-1", "--from", "7d", "--html", page)

    assert done.exit_code == 0, done.output
    *rows, _ = done.stdout.splitlines()
    assert 14 == sum(" audit " in row for row in rows)
    assert 14 == page.read_text().count('<span class="kind">audit')
    assert "u-2" not in done.stdout


def test_signals_are_on_the_timeline(tmp_path: Path) -> None:
    """The timeline includes what a rule found about the actor."""
    Quarter(tmp_path, 2, broken={3, 30}).make()

    done = call("who", tmp_path, "user.id=u-7", "--from", "2026-01-01T00:00:00Z", "--to", "2026-02-01T00:00:00Z")

    assert done.exit_code == 0, done.output
    assert 1 == done.stdout.count("broken")
    assert f"{30:032x}" in done.stdout


def test_timeline_of_an_unknown_actor(root: Path) -> None:
    """An empty timeline says so, how far the evidence reaches, and how to verify it."""
    when = ("--from", "2026-01-01T00:00:00Z", "--to", "2026-02-01T00:00:00Z")

    done = call("who", root, "user.id=nobody", *when)

    first, _, complete, verify = done.stdout.splitlines()
    assert "nothing about user.id=nobody from 2026-01-01T00:00:00.000Z to 2026-02-01T00:00:00.000Z" == first
    assert "Sealed up to " in complete
    assert f"To verify it: betrace audit verify {root} --key ledger.pub" == verify


def test_retention_and_a_hold(root: Path, tmp_path: Path) -> None:
    """A held file stays and a released one is removed; verification lists the removed file and still succeeds."""
    copy, key, public = tmp_path / "copy", tmp_path / "ledger.key", tmp_path / "ledger.pub"
    shutil.copytree(root, copy)
    key.write_text(SIGNER.encode())
    public.write_text(SIGNER.verifier().encode() + "\n")
    signed = ("--ledger-key", key)
    [file] = [path.relative_to(copy).as_posix() for path in copy.rglob("*.parquet")]

    held = call("hold", copy, "--from", "2026-01-01T00:00:00Z", "--reason", "case 4711", *signed)
    listed = call("holds", copy)
    kept = call("retain", copy, "--older-than", "1s", *signed)
    released = call("release", copy, 0, "--reason", "closed", *signed)
    planned = call("retain", copy, "--older-than", "1s", "--dry-run", *signed)
    gone = call("retain", copy, "--older-than", "1s", *signed)
    verified = call("verify", copy, "--key", public)

    assert "0\n" == held.stdout
    assert listed.stdout.startswith("0\t2026-01-01 00:00 to ")
    assert f"{file}: kept by hold 0\n" == kept.stdout, kept.output
    assert 0 == released.exit_code
    assert planned.stdout.startswith(f"{file}: would be removed, 55 records of ")
    assert gone.stdout.startswith(f"{file}: removed, 55 records of ")
    assert not (copy / file).exists()
    assert 0 == verified.exit_code, verified.output
    assert f"{file}: removed by retention, 55 records of " in verified.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("release", 5, "--reason", "x"),
        ("hold", "--from", "2026-01-02T00:00:00Z", "--to", "2026-01-01T00:00:00Z", "--reason", "x"),
    ],
)
def test_invalid_act_is_refused(root: Path, tmp_path: Path, words: tuple[object, ...]) -> None:
    """An invalid act exits with 2 and is not recorded."""
    key = tmp_path / "ledger.key"
    key.write_text(SIGNER.encode())

    done = call(words[0], root, *words[1:], "--ledger-key", key)

    assert 2 == done.exit_code
    assert not (root / "retention").exists()
