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
from streams.cli.commands import HEADINGS
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


ASKED = {
    "--show-settings",
    "--from",
    "--to",
    "--format",
    "--html",
    "--rule",
    "--once",
    "--trace",
    "--severity",
    "--copy",
    "--force",
}
"""Options that say what one call asks for; a variable would make every call ask for it."""


@pytest.mark.parametrize("name", ["run", "ledger", "archive"])
def test_every_option_of_a_service_is_in_the_environment(name: str) -> None:
    """A setting `--some-name` of a service is also BETRACE_SOME_NAME: containers need no arguments."""
    options = [option for option in _all_options(name) if not option.hidden and option.opts[0] not in ASKED]

    assert {option.envvar for option in options} == {_variable(option) for option in options}


def test_an_option_has_its_own_variable_or_none() -> None:
    """No variable has another name than its option, and none says what a single call asks for."""
    options = [option for name in COMMANDS for option in _all_options(name)]

    assert [] == [option.opts for option in options if option.envvar not in {None, _variable(option)}]
    assert [] == [option.opts for option in options if option.opts[0] in ASKED and option.envvar is not None]


def test_an_option_is_the_same_in_every_command() -> None:
    """An option of one convention has one form: a time, a format, a file, a connection."""
    forms: dict[str, set[tuple[object, ...]]] = {}
    for name in COMMANDS:
        for option in _all_options(name):
            if option.opts[0] in {"--from", "--to", "--html", *HEADINGS["Connection to Kafka"]}:
                form = (option.metavar, option.is_flag, option.multiple, str(option.type), option.envvar)
                forms.setdefault(option.opts[0], set()).add(form)

    assert {} == {name: form for name, form in forms.items() if len(form) > 1}


def test_a_command_that_connects_has_every_option_of_the_connection() -> None:
    """Whatever reaches a cluster with authentication with one command reaches it with all."""
    asked = [
        {option.opts[0] for option in command.params if isinstance(option, click.Option)}
        for name in COMMANDS
        for command in _all_commands(name)
    ]

    connecting = [names for names in asked if "--bootstrap" in names]
    assert len(connecting) > 10
    assert [] == [names for names in connecting if not {*HEADINGS["Connection to Kafka"]} <= names]


def test_output_options_are_the_common_ones() -> None:
    """No command has an option of its own for a format or a page."""
    names = {option.opts[0] for name in COMMANDS for option in _all_options(name)}

    assert set() == names & {"--json", "--csv", "--oscal", "--table", "--out", "--until"}


def test_short_helps_fit_on_one_line() -> None:
    """At 80 columns every short help is whole, and on one line."""
    for path in [(), *((name,) for name in COMMANDS)]:
        lines = CliRunner().invoke(main, [*path, "--help"], terminal_width=80).output.split("\n\n")
        [listed] = [lines_of for lines_of in lines if lines_of.startswith("Commands:")] or ["Commands:"]

        rows = listed.splitlines()[1:]
        assert [] == [row for row in rows if row.endswith("...") or not row.startswith("  ") or row[2] == " "], path


def test_every_option_of_run_has_a_heading() -> None:
    """The longest help has no option outside of a heading but what ends the program at once."""
    listed = {name for names in HEADINGS.values() for name in names}

    ours = {option.opts[0] for option in _all_options("run") if not option.hidden}
    everybodys = {option.opts[0] for name in COMMANDS for option in _all_options(name)}

    assert {"--show-settings"} == ours - listed
    assert set() == listed - everybodys


def _variable(option: click.Option) -> str:
    return "BETRACE_" + option.opts[0].removeprefix("--").replace("-", "_").upper()


def _all_commands(name: str) -> Iterator[click.Command]:
    found = main.get_command(click.Context(main), name)
    assert found is not None
    waiting = [found]
    while waiting:
        command = waiting.pop()
        waiting += command.commands.values() if isinstance(command, click.Group) else []
        yield command


def _all_options(name: str) -> Iterator[click.Option]:
    for command in _all_commands(name):
        yield from (parameter for parameter in command.params if isinstance(parameter, click.Option))


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


def test_unexpected_error_exits_with_70(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_interrupt_in_a_c_function_is_one_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python turns Ctrl-C into a SystemError where a C function returns a result nevertheless."""

    @click.command("topics")
    def fail() -> None:
        raise SystemError("returned a result with an exception set") from KeyboardInterrupt()

    monkeypatch.setattr("streams.cli.topics.command", fail)

    result = CliRunner().invoke(main, ["topics"])

    assert (130, "", "interrupted\n") == (result.exit_code, result.stdout, result.stderr)


def test_version_is_the_packages() -> None:
    """`--version` prints the installed version."""
    try:
        installed = version("betrace")
    except PackageNotFoundError:
        pytest.skip("the package is not installed")

    result = CliRunner().invoke(main, ["--version"])

    assert result.stdout == f"{installed}\n"


SLOW = {"aiokafka", "confluent_kafka", "duckdb", "faust", "jinja2", "pyarrow", "rocksdict"}
IMPORTED = """
import json, sys
from streams.cli import main
main(sys.argv[1:], standalone_mode=False)
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize("words", [["--help"], ["check", "RULES"], ["eval", "RULES", "--spans", "SPANS"]])
def test_commands_without_kafka_start_without_its_packages(tmp_path: Path, words: list[str]) -> None:
    """Help, checking and judging a file import no Kafka client, no database and no templates."""
    files = {"RULES": tmp_path / "a.rules", "SPANS": tmp_path / "spans.jsonl"}
    files["RULES"].write_text('// "Access is audited"\npii.access and audit.log\n')
    files["SPANS"].write_text('{"name": "pii.access"}\n{"name": "audit.log"}\n')
    command = [sys.executable, "-c", IMPORTED, *(str(files.get(word, word)) for word in words)]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert set() == SLOW & set(json.loads(done.stderr.splitlines()[-1]))
