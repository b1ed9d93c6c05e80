"""Tests the command line as a whole."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from streams.cli import COMMANDS, main
from streams.errors import BetraceError, ConfigError, StateError
from topics.errors import BrokerError, TopicsError


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of `command` and of all commands below it."""
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            if below := command.get_command(context, name):
                yield from commands(below, (*path, name))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_ends_in_an_example(name: str) -> None:
    """Every help ends with an example."""
    found = main.get_command(click.Context(main), name)
    assert found is not None

    unshown = [
        path
        for path in commands(found, (name,))
        if f"betrace {path[0]}" not in CliRunner().invoke(main, [*path, "--help"]).output.splitlines()[-1]
    ]

    assert unshown == []


@pytest.mark.parametrize("name", ["run", "signals", "archive", "rules", "topics", "broker"])
def test_every_option_of_a_service_is_in_the_environment(name: str) -> None:
    """For commands that use Kafka, an option `--some-name` is also BETRACE_SOME_NAME: containers need no arguments."""
    found = main.get_command(click.Context(main), name)
    assert found is not None

    options = [option for option in _all_options(found) if not option.hidden]

    assert {option.envvar for option in options} == {
        "BETRACE_" + option.opts[0].removeprefix("--").replace("-", "_").upper() for option in options
    }


def _all_options(command: click.Command) -> Iterator[click.Option]:
    yield from (parameter for parameter in command.params if isinstance(parameter, click.Option))
    if isinstance(command, click.Group):
        for below in command.commands.values():
            yield from _all_options(below)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("gap is 0s, must be at least 1ms"), 2),
        (StateError("the log ends before the checkpoint", action="restore betrace.facts"), 3),
        (BetraceError("whatever else"), 3),
        (BrokerError("no Java 17 or newer"), 3),
        (OSError(28, "No space left on device"), 3),
    ],
)
def test_error_is_a_line_and_an_exit_code(
    error: BetraceError | TopicsError | OSError, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of BeTrace or the system is printed to stderr, and decides the exit code."""

    @click.command("topics")
    def fail() -> None:
        raise error

    monkeypatch.setattr("streams.cli.topics.command", fail)

    result = CliRunner().invoke(main, ["topics"])

    assert (result.exit_code, result.stdout, result.stderr) == (code, "", f"Error: {error}\n")


def test_fault_of_the_program_is_not_taken_for_a_broken_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error exits with 70 and its traceback on stderr; 1 would mean that a rule was broken."""

    @click.command("topics")
    def fail() -> None:
        raise ZeroDivisionError("unforeseen")

    monkeypatch.setattr("streams.cli.topics.command", fail)

    result = CliRunner().invoke(main, ["topics"])

    assert (result.exit_code, result.stdout, "ZeroDivisionError: unforeseen" in result.stderr) == (70, "", True)


def test_unknown_command_is_a_usage_error() -> None:
    """An unknown command exits with 2 without importing anything."""
    result = CliRunner().invoke(main, ["os.path"])

    assert (result.exit_code, "No such command 'os.path'" in result.stderr) == (2, True)


def test_interrupt_is_one_line() -> None:
    """Ctrl-C ends a command at once with exit 130 and one line, whatever it waits for."""
    with socket.socket() as kafka:
        kafka.bind(("127.0.0.1", 0))
        kafka.listen()
        address = f"127.0.0.1:{kafka.getsockname()[1]}"
        command = [sys.executable, "-m", "streams.cli", "topics", "describe", "--bootstrap", address]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
            kafka.accept()[0].recv(1)
            run.send_signal(signal.SIGINT)
            said = run.communicate(timeout=120)

    assert (run.returncode, said) == (130, ("", "interrupted\n"))


def test_version_is_the_packages() -> None:
    """`--version` prints the installed version."""
    try:
        installed = version("betrace")
    except PackageNotFoundError:
        pytest.skip("the package is not installed")

    result = CliRunner().invoke(main, ["--version"])

    assert result.stdout == f"{installed}\n"


SLOW = {"aiokafka", "confluent_kafka", "duckdb", "faust", "pyarrow", "rocksdict"}
IMPORTED = """
import json, sys
from streams.cli import main
main(sys.argv[1:], standalone_mode=False)
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize("words", [["--help"], ["check", "RULES"], ["eval", "RULES", "--spans", "SPANS"]])
def test_commands_without_kafka_start_without_its_packages(tmp_path: Path, words: list[str]) -> None:
    """Help, checking and judging a file import neither a Kafka client nor a database."""
    files = {"RULES": tmp_path / "a.rules", "SPANS": tmp_path / "spans.jsonl"}
    files["RULES"].write_text('// "Access is audited"\npii.access and audit.log\n')
    files["SPANS"].write_text('{"name": "pii.access"}\n{"name": "audit.log"}\n')
    command = [sys.executable, "-c", IMPORTED, *(str(files.get(word, word)) for word in words)]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert set() == SLOW & set(json.loads(done.stderr.splitlines()[-1]))
