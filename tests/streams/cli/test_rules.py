"""Tests `betrace rules`."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from dsl import compile_texts
from dsl.files.schema import rule_file_schema
from streams.cli import main
from streams.cli.rules_diff import differences
from streams.config.settings import Settings, moment_ms
from streams.rules import registry
from tests.support.waiting import wait_until
from topics.cluster import admin
from topics.spec import Layout

GOOD = '// "Access is audited"\npii.access and audit.log\n'


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A file of one rule."""
    path = tmp_path / "a.rules"
    path.write_text(GOOD)
    return path


def push(rules: Path, bootstrap: str, prefix: str) -> Result:
    """Runs `betrace rules push`."""
    return CliRunner(env={"BETRACE_PREFIX": prefix}).invoke(
        main, ["rules", "push", str(rules), "--bootstrap", bootstrap]
    )


def test_schema_is_what_editors_read() -> None:
    """The schema of rule files is printed as one JSON document."""
    result = CliRunner().invoke(main, ["rules", "schema"])

    assert (0, "") == (result.exit_code, result.stderr)
    assert rule_file_schema() == json.loads(result.stdout)


@pytest.mark.broker
def test_pushed_rules_are_active(rules: Path, kafka: str, fresh_prefix: str) -> None:
    """On a new cluster the topics are created, the set is written, and its fingerprint is printed."""
    result = push(rules, kafka, fresh_prefix)

    active = registry.read_active(Settings(bootstrap=kafka, prefix=fresh_prefix, state_dir=Path()))
    assert (0, f"{active.fingerprint}\n") == (result.exit_code, result.stdout)
    assert {str(rules): GOOD} == dict(active.texts)


@pytest.mark.broker
def test_list_files_are_pushed(tmp_path: Path, kafka: str, fresh_prefix: str) -> None:
    """A list file is pushed with the rules that name it; a worker compiles the same set without the file."""
    (tmp_path / "names.yaml").write_text("lists: {tools: {file: tools.txt}}")
    (tmp_path / "tools.txt").write_text("send_email\n")
    (tmp_path / "a.rules").write_text("// id: a\n// kind: pattern\n// attack: T1059\ntool.where(type in @tools)\n")

    result = push(tmp_path, kafka, fresh_prefix)

    (tmp_path / "tools.txt").unlink()
    active = registry.read_active(Settings(bootstrap=kafka, prefix=fresh_prefix, state_dir=Path()))
    assert (0, f"{active.fingerprint}\n") == (result.exit_code, result.stdout)
    assert active.texts[str(tmp_path / "tools.txt")] == "send_email\n"
    assert active.rules[0].definitions == ("@tools = [send_email]",)


def test_differences_expand_names() -> None:
    """A changed list is a difference of the rules that use it."""
    rule = "// id: a\n// kind: pattern\n// risk_score: 7\ntool.where(type in @tools)"
    old, new = (
        compile_texts({"n.yaml": f"lists: {{tools: [{tools}]}}", "a.rules": rule})[0] for tools in ("a", "a, b")
    )

    assert ["-@tools = [a]", "+@tools = [a, b]"] == [
        line for line in differences(old, new) if line[:1] in "+-" and line[:3] not in ("---", "+++")
    ]


def test_differences_show_the_dedup() -> None:
    """A changed dedup is a difference of the rule."""
    old, new = (
        compile_texts({"a.rules": f"// id: a\n// kind: pattern\n// dedup: user.id for {period}\na"})[0]
        for period in ("60m", "1d")
    )

    assert ["-dedup: user.id for 1h", "+dedup: user.id for 1d"] == [
        line for line in differences(old, new) if line[:1] in "+-" and line[:3] not in ("---", "+++")
    ]


@pytest.mark.broker
def test_set_with_an_error_is_refused(rules: Path, kafka: str, fresh_prefix: str) -> None:
    """One bad rule among good ones: nothing is written, and the active set stays."""
    push(rules, kafka, fresh_prefix)
    rules.write_text(GOOD + "\n// id: bad\n// kind: pattern\na matches '('\n")

    result = push(rules, kafka, fresh_prefix)

    active = registry.read_active(Settings(bootstrap=kafka, prefix=fresh_prefix, state_dir=Path()))
    assert (2, "") == (result.exit_code, result.stdout)
    assert "the rules have errors" in result.stderr
    assert GOOD == active.texts[str(rules)]


def test_no_broker_is_exit_3(rules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Kafka the command says which broker does not answer."""
    monkeypatch.setattr(admin, "TIMEOUT_S", 1)

    result = push(rules, "127.0.0.1:1", "betrace.")

    assert 3 == result.exit_code
    assert "no Kafka answers at 127.0.0.1:1" in result.stderr


OTHER = GOOD + '\n// "Exports are approved"\nexport and approval\n'


def invoke(kafka: str, prefix: str, *arguments: str) -> Result:
    """Runs `betrace rules` with these arguments."""
    return CliRunner(env={"BETRACE_PREFIX": prefix, "BETRACE_BOOTSTRAP": kafka}).invoke(main, ["rules", *arguments])


def push_text(rules: Path, text: str, kafka: str, prefix: str) -> str:
    """Pushes a text and returns the fingerprint of the set."""
    rules.write_text(text)
    return push(rules, kafka, prefix).stdout.strip()


@pytest.mark.broker
def test_sets_are_listed(rules: Path, kafka: str, fresh_prefix: str) -> None:
    """Sets are listed latest first, with the active one marked."""
    first, second = (push_text(rules, text, kafka, fresh_prefix) for text in (GOOD, OTHER))

    listed = invoke(kafka, fresh_prefix, "list", "--format", "json")

    rows = json.loads(listed.stdout)
    assert [(second, True, 2), (first, False, 1)] == [(row["fingerprint"], row["active"], row["rules"]) for row in rows]
    ids = ["access-is-audited", "exports-are-approved"]
    assert [[(each, None) for each in ids], None] == [
        row["judging"] and [(each["rule"], each["from_ms"]) for each in row["judging"]] for row in rows
    ]
    waiting = f"2 rules ({', '.join(ids)}) judge nothing yet: they wait for every source partition"
    assert ["", "active:", f"  {waiting}"] == invoke(kafka, fresh_prefix, "list").stdout.splitlines()[3:]
    assert "active" in invoke(kafka, fresh_prefix, "list").stdout.splitlines()[1]


@pytest.mark.broker
def test_list_without_facts(rules: Path, kafka: str, fresh_prefix: str) -> None:
    """If only the rules topic can be read, the sets are listed nevertheless, and a message says what is unknown."""
    fingerprint = push_text(rules, GOOD, kafka, fresh_prefix)
    client = AdminClient({"bootstrap.servers": kafka})
    client.delete_topics([f"{fresh_prefix}facts"])[f"{fresh_prefix}facts"].result()
    wait_until(lambda: not admin.partition_counts(client, [f"{fresh_prefix}facts"]), "the facts topic is gone")

    result = invoke(kafka, fresh_prefix, "list", "--format", "json")

    assert [(fingerprint, None)] == [(row["fingerprint"], row["judging"]) for row in json.loads(result.stdout)]
    assert f"from when rules judge is unknown: there is no topic {fresh_prefix}facts" in result.stderr


@pytest.mark.broker
def test_push_says_from_when_a_new_rule_judges(rules: Path, kafka: str, fresh_prefix: str) -> None:
    """A new rule judges only later traces; unchanged rules, and those of a first push, are not new."""
    rules.write_text(GOOD)
    first = invoke(kafka, fresh_prefix, "push", str(rules))
    rules.write_text(OTHER)
    before_ms = time.time_ns() // 1_000_000

    second = invoke(kafka, fresh_prefix, "push", str(rules), "--gap", "10s", "--lateness", "1m")

    assert "1 rule is active\n" == first.stderr
    found = re.fullmatch(
        r"2 rules are active; new: exports-are-approved, which judges traces that begin after about (\S+), "
        r"when workers run\n",
        second.stderr,
    )
    assert found is not None, second.stderr
    assert before_ms + 70_000 <= moment_ms(found[1], 0) < before_ms + 70_000 + 60_000


@pytest.mark.broker
def test_history_names_every_push(rules: Path, kafka: str, fresh_prefix: str) -> None:
    """The pusher is who the option or the environment names; a later push does not remove a revision."""
    rules.write_text(GOOD)
    invoke(kafka, fresh_prefix, "push", str(rules), "--by", "ann", "--revision", "v1")
    environment = {"BETRACE_PREFIX": fresh_prefix, "BETRACE_BOOTSTRAP": kafka, "BETRACE_PUSHED_BY": "ci"}
    again = CliRunner(env=environment).invoke(main, ["rules", "push", str(rules)])

    rows = json.loads(invoke(kafka, fresh_prefix, "history", "--format", "json").stdout)

    fingerprint = again.stdout.strip()
    assert [(fingerprint, "push", "ci", None), (fingerprint, "push", "ann", "v1")] == [
        (row["fingerprint"], row["how"], row["pushed_by"], row["revision"]) for row in rows
    ]
    [listed] = json.loads(invoke(kafka, fresh_prefix, "list", "--format", "json").stdout)
    assert ("ci", "v1") == (listed["pushed_by"], listed["revision"])
    assert 3 == len(invoke(kafka, fresh_prefix, "history").stdout.splitlines())


@pytest.mark.broker
def test_set_is_shown(rules: Path, kafka: str, fresh_prefix: str) -> None:
    """Prints the files as they were pushed, of the active set by default."""
    first, _ = (push_text(rules, text, kafka, fresh_prefix) for text in (GOOD, OTHER))

    active, named = invoke(kafka, fresh_prefix, "show"), invoke(kafka, fresh_prefix, "show", first[:8])

    assert OTHER in active.stdout
    assert f"// {rules}\n\n{GOOD}\n" == named.stdout


@pytest.mark.broker
def test_rollback_makes_the_set_before_active(rules: Path, kafka: str, fresh_prefix: str) -> None:
    """Without a name, rollback uses the set pushed before; after the first push there is none."""
    first, second = (push_text(rules, text, kafka, fresh_prefix) for text in (GOOD, OTHER))
    settings = Settings(bootstrap=kafka, prefix=fresh_prefix, state_dir=Path())

    back = invoke(kafka, fresh_prefix, "rollback")

    assert (0, first) == (back.exit_code, back.stdout.strip())
    assert first == registry.read_active(settings).fingerprint
    further = invoke(kafka, fresh_prefix, "rollback")
    assert 2 == further.exit_code
    assert "no rule set was pushed before the active one" in further.stderr
    assert 0 == invoke(kafka, fresh_prefix, "rollback", second[:10]).exit_code
    assert second == registry.read_active(settings).fingerprint


@pytest.mark.broker
def test_unknown_set(rules: Path, kafka: str, fresh_prefix: str) -> None:
    """A name that matches no set is an error, and nothing changes."""
    fingerprint = push_text(rules, GOOD, kafka, fresh_prefix)

    result = invoke(kafka, fresh_prefix, "rollback", "nothing")

    active = registry.read_active(Settings(bootstrap=kafka, prefix=fresh_prefix, state_dir=Path()))
    assert 2 == result.exit_code
    assert "there is no rule set nothing on Kafka" in result.stderr
    assert fingerprint == active.fingerprint


@pytest.mark.broker
def test_diff_says_what_a_push_would_change(rules: Path, kafka: str, fresh_prefix: str) -> None:
    """Compares files with the active set, rule by rule, wherever a rule is."""
    push_text(rules, OTHER, kafka, fresh_prefix)
    rules.write_text("\n".join(reversed(OTHER.split("\n\n"))).replace("pii.access and audit.log", "pii.access and log"))

    result = invoke(kafka, fresh_prefix, "diff", str(rules))

    assert 0 == result.exit_code
    lines = result.stdout.splitlines()
    assert ["-pii.access and audit.log", "+pii.access and log"] == [
        line for line in lines if line[:1] in "+-" and line[:3] not in ("---", "+++")
    ]


def test_nothing_differs() -> None:
    """Two equal sets have no differences."""
    same, _ = compile_texts({"a.rules": GOOD})

    assert [] == differences(same, same)


def backfill(bootstrap: str, prefix: str, *options: str) -> Result:
    """`betrace rules backfill`."""
    where = ["--bootstrap", bootstrap, "--prefix", prefix, "--source-topics", f"{prefix}spans"]
    return CliRunner().invoke(main, ["rules", "backfill", *where, *options])


@pytest.mark.broker
def test_backfill_of_no_active_rule_is_exit_2(rules: Path, kafka: str, fresh_prefix: str) -> None:
    """A rule that was never pushed is named; so is that no set is active."""
    admin.create(admin.connect({"bootstrap.servers": kafka}), Layout(fresh_prefix, (f"{fresh_prefix}spans",), 2))
    nothing = backfill(kafka, fresh_prefix)
    push(rules, kafka, fresh_prefix)

    unknown = backfill(kafka, fresh_prefix, "--rule", "nobody")

    assert (2, 2) == (nothing.exit_code, unknown.exit_code)
    assert "no rule set is active" in nothing.stderr
    assert "no active rule has the id nobody" in unknown.stderr


@pytest.mark.broker
def test_backfill_of_empty_topics_has_nothing_to_do(rules: Path, kafka: str, fresh_prefix: str) -> None:
    """Without records nothing began before the push."""
    admin.create(admin.connect({"bootstrap.servers": kafka}), Layout(fresh_prefix, (f"{fresh_prefix}spans",), 2))
    push(rules, kafka, fresh_prefix)

    result = backfill(kafka, fresh_prefix)

    assert (0, "") == (result.exit_code, result.stdout)
    assert "nothing to backfill" in result.stderr


@pytest.mark.broker
def test_backfill_without_workers_says_who_lacks_the_rule(rules: Path, kafka: str, fresh_prefix: str) -> None:
    """It waits for workers no longer than its timeout, and the push stays in force."""
    admin.create(admin.connect({"bootstrap.servers": kafka}), Layout(fresh_prefix, (f"{fresh_prefix}spans",), 2))
    producer = Producer({"bootstrap.servers": kafka})
    producer.produce(f"{fresh_prefix}spans", b"{}")
    producer.flush()
    where = ["--bootstrap", kafka, "--prefix", fresh_prefix, "--source-topics", f"{fresh_prefix}spans"]

    result = CliRunner().invoke(main, ["rules", "push", str(rules), "--backfill", "--timeout", "1ms", *where])

    active = registry.read_active(Settings(bootstrap=kafka, prefix=fresh_prefix, state_dir=Path()))
    assert (3, f"{active.fingerprint}\n") == (result.exit_code, result.stdout)
    assert "no worker judges with" in result.stderr
    assert "in facts partitions 0, 1" in result.stderr
