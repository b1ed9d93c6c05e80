"""Implements the command line: `betrace COMMAND`, one module of this package per command.

stdout carries data, stderr messages. Exit codes: 0 fine, 1 a rule was broken, 2 invalid rules or usage, 3 Kafka or
state, 70 a bug in this program, 130 interrupted, 137 not ended in order within the time limit.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from typing import Any

import click

from streams.errors import BetraceError, ConfigError
from streams.observe import terminal
from topics.errors import TopicsError

FAULT = 70
"""EX_SOFTWARE of sysexits.h; Python's own 1 would mean that a rule was broken."""

INTERRUPTED = 130

COMMANDS = {
    "check": "Report all problems of rule files.",
    "eval": "Judge rules on the traces in a file.",
    "run": "Judge the traces in Kafka and publish signals.",
    "replay": "Judge traces of the past.",
    "find": "Find traces of the past by an expression.",
    "attributes": "List the names that rules can use.",
    "status": "Show the clock, the lag and the open windows.",
    "doctor": "Find records that cannot be read, and repair them.",
    "explain": "Show what each rule sees of one trace.",
    "signals": "Show signals as they come, or one with its trace.",
    "archive": "Copy the source topics to files.",
    "ledger": "Seal what was judged as evidence.",
    "evidence": "Verify evidence and report on it.",
    "audit": "Query, export and verify the audit trail.",
    "dead-letters": "List or decrypt the records that could not be read.",
    "rules": "Push, list and compare rule sets.",
    "topics": "Create or describe the topics of BeTrace.",
    "broker": "Start or stop a Kafka of one node.",
    "demo": "Play a recorded day and show its signals.",
}
"""Each command and its line in the list, in the order in which a newcomer meets them; listing imports no command."""

EXTRA = frozenset({"duckdb", "pyarrow"})
"""The packages of the extra `archive`."""


class Commands(click.Group):
    """Imports the module of a command only when it is called, and maps every error to its exit code."""

    def main(self, *args: Any, **extra: Any) -> Any:  # noqa: ANN401, as click has it
        """Run the program; nothing that it prints can control the terminal."""
        with terminal.guarded():
            return super().main(*args, **extra)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order in which a newcomer meets them."""
        return [*super().list_commands(ctx), *COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the attribute `command` of the module `cmd_name`; None if there is no such command."""
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        try:
            command = importlib.import_module(f"{__name__}.{cmd_name.replace('-', '_')}").command
        except ModuleNotFoundError as error:
            package = (error.name or "").split(".")[0]
            if package not in EXTRA:
                raise
            return _without(cmd_name, package)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002, as in click
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; turn an error of BeTrace into a line on stderr and its exit code."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # click handles a closed pipe itself
        except (BetraceError, TopicsError, OSError) as error:
            raise _failure(error) from error
        except KeyboardInterrupt:
            raise _interrupted() from None
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if _is_kafka_exception(error):
                raise _failure(error) from error
            if isinstance(error, SystemError) and isinstance(error.__cause__, KeyboardInterrupt):
                # Python makes this of Ctrl-C in a C function that does not check for it, as in the Kafka client.
                raise _interrupted() from None
            click.echo(f"{traceback.format_exc()}this is a bug in betrace: please report it", err=True)
            raise click.exceptions.Exit(FAULT) from error


def _failure(error: Exception) -> click.ClickException:
    """Return a click exception with the error's message and the exit code of its kind."""
    failure = click.ClickException(str(error))
    failure.exit_code = error.exit_code if isinstance(error, BetraceError) else BetraceError.exit_code
    return failure


def _interrupted() -> click.exceptions.Exit:
    click.echo("interrupted", err=True)
    return click.exceptions.Exit(INTERRUPTED)


def _is_kafka_exception(error: Exception) -> bool:
    """Return whether the Kafka client raised this, without importing the client, which takes a tenth of a second."""
    client = sys.modules.get("confluent_kafka")
    return client is not None and isinstance(error, client.KafkaException)


def _without(name: str, package: str) -> click.Command:
    """Return a command that says which extra installs the packages it lacks."""
    install = "pip install 'betrace[archive]'"

    def refuse() -> None:
        raise ConfigError(f"{package} is not installed: {install}")

    ignored = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(name, callback=refuse, help=f"Requires {install}.", context_settings=ignored)


@click.group(cls=Commands, epilog="\b\nExample:\n  betrace demo")
@click.version_option(package_name="betrace", message="%(version)s")
def main() -> None:
    """Judge rules on OpenTelemetry traces from Kafka, and publish a signal for each broken rule."""
