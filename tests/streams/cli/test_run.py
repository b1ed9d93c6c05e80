"""Tests the settings of `betrace run`; what it does is tested in tests/broker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from confluent_kafka.admin import AdminClient, NewTopic

from streams.cli import main, run, run_stages
from streams.config.settings import Settings
from streams.sessions.worker import End
from streams.supervisor import supervise
from tests.support.installation import installed
from tests.support.waiting import next_line
from topics.cluster import admin

GOOD = '// "Access is audited"\npii.access and audit.log\n'
RUN_S = 120
SETTINGS = Settings(bootstrap="", state_dir=Path("state"))


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A file of one rule."""
    path = tmp_path / "a.rules"
    path.write_text(GOOD)
    return path


def call(*arguments: str | Path, **environment: str) -> Result:
    """Runs `betrace run` with `arguments`, without a Kafka."""
    words = map(str, arguments)
    return CliRunner(env=environment).invoke(main, ["run", "--bootstrap", "127.0.0.1:1", *words])


def value(words: list[str], option: str) -> str:
    """Returns the arguments of an option."""
    return words[words.index(option) + 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no rules are given: give --rules FILE or --rules DIR"),
        (["--gap", "30"], "'30' is not a duration"),
        (["--gap", "10ms"], "gap is 10ms, must be at least 100ms"),
        (["--gap", "2h"], "max-duration is 3600000ms, must be at least 7200100ms"),
        (["--lateness", "-1s"], "'-1s' is not a duration"),
        (["--start", "now"], "'now' is not one of 'earliest', 'latest'"),
        (["--encoding", "xml"], "'xml' is not one of"),
        (["--facts-partitions", "0"], "0 is not in the range x>=1"),
        (["--source-topics", ","], "no topic is named"),
        (["--role", "ledger"], "'ledger' is not one of"),
        (["--role", "ingest", "--rules", "a.rules"], "--role excludes --rules"),
        (["--role", "ingest", "--until-idle"], "--role excludes --rules, --until-idle and --workers"),
        (["--role", "sessions", "--workers", "2"], "start one process per worker"),
        (["--workers", "0"], "0 is not in the range x>=1"),
        (["--role", "sessions", "--ends", "{"], "Invalid value for '--ends'"),
        (["--rules", "does-not-exist"], "the rules have errors"),
    ],
)
def test_invalid_setting_is_refused(arguments: list[str], message: str) -> None:
    """An invalid setting exits with 2 and a message, before connecting to Kafka."""
    result = call(*arguments)

    assert (2, "") == (result.exit_code, result.stdout)
    assert message in result.stderr.replace("\n", " ")


def test_no_kafka_is_exit_3(rules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Kafka nothing is started, and the address is named."""
    monkeypatch.setattr(admin, "TIMEOUT_S", 1)

    result = call("--rules", rules)

    assert 3 == result.exit_code
    assert "no Kafka answers at 127.0.0.1:1" in result.stderr


def test_stage_gets_every_setting(rules: Path, tmp_path: Path) -> None:
    """A stage is started with every option of the run except those of the supervisor."""
    arguments = [
        *("--rules", str(rules), "--until-idle", "--bootstrap", "a:1,b:2", "--source-topics", "spans,logs"),
        *("--prefix", "eu.", "--start", "latest", "--encoding", "otlp_json", "--gap", "1500ms", "--lateness", "2m"),
        *("--max-duration", "1d", "--out-of-order", "0s", "--state-dir", str(tmp_path), "--facts-partitions", "7"),
        *("--replication", "3", "--idle-lag", "1s", "--max-clock-skew", "2h", "--flush", "20ms", "--step", "300ms"),
        *("--allow-create-time", "--window-memory", "64MiB", "--signals-per-hour", "100", "--metrics-address", "::1"),
        *("--record-budget", "20"),
        *("--security-protocol", "SASL_SSL", "--sasl-username", "u", "--sasl-mechanism", "PLAIN", "--workers", "3"),
    ]
    context = run.command.make_context("run", list(arguments))
    with context:
        words = run_stages.stage_command(
            "sessions", Settings(bootstrap="", state_dir=tmp_path), 1, {"spans": {0: End(5, 1)}}
        )

    stage = run.command.make_context("run", words[words.index("run") + 1 :])

    passed = {name: value for name, value in context.params.items() if name not in run_stages.NOT_PASSED}
    own = {
        "rules": (),
        "insists": False,
        "revision": None,
        "by": None,
        "role": "sessions",
        "workers": 1,
        "until_idle": False,
        "evidence": None,
        "ledger_keys": (),
    }
    assert passed | own | {"ends": {"spans": {0: End(5, 1)}}} == stage.params


def test_each_stage_has_a_port_of_its_own(rules: Path) -> None:
    """Ingest uses the given port, sessions the next, then the ledger, then another worker's two."""
    arguments = ["--rules", str(rules), "--metrics-port", "9100", "--sasl-username", "u"]
    with run.command.make_context("run", arguments):
        commands = run_stages.commands(SETTINGS, 2, None) | {"ledger": run_stages.ledger_command("evidence/", ())}

    ports = {"ingest-1": "9100", "sessions-1": "9101", "ledger": "9102", "ingest-2": "9103", "sessions-2": "9104"}
    assert ports == {name: value(words, "--metrics-port") for name, words in commands.items()}
    assert {"u"} == {value(words, "--sasl-username") for words in commands.values()}


def test_each_worker_has_a_state_directory_of_its_own(rules: Path) -> None:
    """The first worker uses the given directory, as a single one does, and the others directories below it."""
    with run.command.make_context("run", ["--rules", str(rules)]):
        commands = run_stages.commands(SETTINGS, 3, None)

    found = [value(commands[f"sessions-{number}"], "--state-dir") for number in (1, 2, 3)]
    assert ["state", "state/worker-2", "state/worker-3"] == found


def test_ends_are_for_sessions_alone(rules: Path) -> None:
    """Ingest keeps reading until sessions has reached the ends."""
    with run.command.make_context("run", ["--rules", str(rules)]):
        ingest, sessions = (
            run_stages.stage_command(role, SETTINGS, 1, {"spans": {0: End(5, 1)}}) for role in run_stages.ROLES
        )

    assert (False, True) == ("--ends" in ingest, "--ends" in sessions)


def test_stages_do_not_inherit_settings_of_the_supervisor() -> None:
    """A stage's environment lacks what its command line does not pass on."""
    context = run.command.make_context("run", ["--rules", "a"])

    variables = {option.envvar for option in context.command.params if option.name in run_stages.NOT_PASSED}

    assert supervise.NOT_INHERITED | {None} == variables


@pytest.mark.broker
def test_environment_alone_is_enough(rules: Path, kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """A container needs no arguments: every setting is a variable, and the stages are not confused by them."""
    settings = installed(kafka, fresh_prefix, tmp_path)
    environment = {
        "BETRACE_RULES": str(rules),
        "BETRACE_BOOTSTRAP": kafka,
        "BETRACE_PREFIX": fresh_prefix,
        "BETRACE_SOURCE_TOPICS": ",".join(settings.source_topics),
        "BETRACE_STATE_DIR": str(tmp_path / "state"),
        "BETRACE_UNTIL_IDLE": "1",
    }
    command = [sys.executable, "-m", "streams.cli", "run"]

    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=RUN_S, check=False
    )

    assert (0, "") == (done.returncode, done.stdout), done.stderr


@pytest.mark.broker
def test_ready_is_in_the_log(rules: Path, kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """When every stage is ready, one line names the topics that are read and the rules that judge."""
    settings = installed(kafka, fresh_prefix, tmp_path)
    where = ["--bootstrap", kafka, "--prefix", fresh_prefix, "--source-topics", ",".join(settings.source_topics)]
    command = [sys.executable, "-m", "streams.cli", "run", "--rules", str(rules), "--state-dir", str(tmp_path), *where]

    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        ready = None
        while ready is None:
            line = json.loads(next_line(run.stderr, "the line that says that the run is ready"))
            ready = line if line["event"] == "ready" else None
        run.terminate()
        run.communicate(timeout=RUN_S)

    assert list(settings.source_topics) == ready["reads"]
    assert (1, ["access-is-audited"]) == (ready["rules"], ready["rule_ids"])
    assert 0 == run.returncode


@pytest.fixture
def stamped_by_producers(kafka: str, fresh_prefix: str) -> str:
    """A source topic as a Collector creates it: producers stamp its records."""
    topic = f"{fresh_prefix}spans"
    client = AdminClient({"bootstrap.servers": kafka})
    client.create_topics([NewTopic(topic, 1)])[topic].result()
    admin.wait_until_available(client, [topic])
    return topic


def words(kafka: str, prefix: str, *arguments: str) -> list[str]:
    """A command line with one source topic."""
    return [*arguments, "--bootstrap", kafka, "--prefix", prefix, "--source-topics", f"{prefix}spans"]


@pytest.mark.broker
def test_create_time_is_refused(
    rules: Path, kafka: str, fresh_prefix: str, tmp_path: Path, stamped_by_producers: str
) -> None:
    """A run then changes nothing, and names the topics and how to change them; a single stage refuses as well."""
    started = ["--rules", str(rules), "--state-dir", str(tmp_path)]
    run_all = CliRunner().invoke(main, words(kafka, fresh_prefix, "run", *started))
    made = admin.partition_counts(AdminClient({"bootstrap.servers": kafka}), [f"{fresh_prefix}facts"])
    CliRunner().invoke(main, words(kafka, fresh_prefix, "topics", "create"))
    run_ingest = CliRunner().invoke(main, words(kafka, fresh_prefix, "run", "--role", "ingest"))

    assert ([2, 2], {}) == ([run_all.exit_code, run_ingest.exit_code], made)
    for result in (run_all, run_ingest):
        assert f"message.timestamp.type of {stamped_by_producers} is CreateTime: " in result.stderr
        assert f"betrace topics create --log-append-time --source-topics {stamped_by_producers}; " in result.stderr
        assert "--allow-create-time" in result.stderr


@pytest.mark.broker
@pytest.mark.usefixtures("stamped_by_producers")
@pytest.mark.parametrize("changed", [True, False])
def test_create_time_is_allowed_or_changed(
    rules: Path, kafka: str, fresh_prefix: str, tmp_path: Path, *, changed: bool
) -> None:
    """If it is allowed, or the command in the refusal was run, a run starts and ends."""
    if changed:
        change = CliRunner().invoke(main, words(kafka, fresh_prefix, "topics", "create", "--log-append-time"))
        assert (0, "") == (change.exit_code, change.stderr)
    allowed = [] if changed else ["--allow-create-time"]
    command = words(kafka, fresh_prefix, "run", "--rules", str(rules), "--state-dir", str(tmp_path), "--until-idle")

    done = subprocess.run(
        [sys.executable, "-m", "streams.cli", *command, *allowed],
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )

    assert 0 == done.returncode, done.stderr
    assert changed == ("records are stamped by their producers" not in done.stderr)


@pytest.mark.broker
@pytest.mark.parametrize("role", run_stages.ROLES)
def test_role_without_topics_is_refused(role: str, kafka: str, fresh_prefix: str) -> None:
    """A single stage creates no topics: it names the command that does."""
    result = CliRunner().invoke(main, ["run", "--role", role, "--bootstrap", kafka, "--prefix", fresh_prefix])

    assert 2 == result.exit_code
    assert f"topic {fresh_prefix}facts does not exist: run betrace topics create" in result.stderr


@pytest.mark.broker
def test_ingest_without_rules_is_refused(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """A single stage uses the active rules; without any it says how to push some."""
    installed(kafka, fresh_prefix, tmp_path)

    result = CliRunner().invoke(main, ["run", "--role", "ingest", "--bootstrap", kafka, "--prefix", fresh_prefix])

    assert 2 == result.exit_code
    assert f"no rules are active on {fresh_prefix}rules: push some with betrace rules push" in result.stderr
