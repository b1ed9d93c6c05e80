"""The command line: `betrace COMMAND`, one module of this package per command.

stdout is data, stderr is talk. Exit: 0 fine, 1 a rule was broken, 2 rules or usage, 3 Kafka or state, 70 a fault of
this program, 130 interrupted, 137 not ended in order in the time that there was for it.
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
"""EX_SOFTWARE of sysexits.h; Python's own 1 would say that a rule was broken."""

INTERRUPTED = 130

COMMANDS = {
    "check": "Report all problems of rule files.",
    "eval": "Judge rules on the traces in a file.",
    "run": "Judge the traces in Kafka and publish signals.",
    "replay": "Judge traces of the past.",
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
"""Each command and its line in the list, in the order in which a newcomer meets them: the list imports no command."""

EXTRA = frozenset({"duckdb", "pyarrow"})
"""Packages of the extra `archive`."""


class Commands(click.Group):
    """Imports the module of a command only when it is asked for, and gives every error its exit code."""

    def main(self, *args: Any, **extra: Any) -> Any:  # noqa: ANN401, as click has it
        """Run the program; nothing that it prints steers a terminal."""
        with terminal.guarded():
            return super().main(*args, **extra)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, in the order in which a newcomer meets them."""
        return [*super().list_commands(ctx), *COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The attribute `command` of the module `cmd_name`, None when there is no such command."""
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
        """Run the command; an error of ours becomes a line on stderr and its exit code."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # click knows that nobody reads on
        except (BetraceError, TopicsError, OSError) as error:
            raise _failure(error) from error
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if _is_kafka_exception(error):
                raise _failure(error) from error
            click.echo(f"{traceback.format_exc()}this is a fault of betrace: report it as a bug", err=True)
            raise click.exceptions.Exit(FAULT) from error


def _failure(error: Exception) -> click.ClickException:
    """A line on stderr and the exit code of the error's kind."""
    failure = click.ClickException(str(error))
    failure.exit_code = error.exit_code if isinstance(error, BetraceError) else BetraceError.exit_code
    return failure


def _is_kafka_exception(error: Exception) -> bool:
    """Whether the client raised this; the client is not imported for it, which takes a tenth of a second."""
    client = sys.modules.get("confluent_kafka")
    return client is not None and isinstance(error, client.KafkaException)


def _without(name: str, package: str) -> click.Command:
    """Stands for a command whose packages are not installed, and says which extra brings them."""
    install = "pip install 'betrace[archive]'"

    def refuse() -> None:
        raise ConfigError(f"{package} is not installed: {install}")

    ignored = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(name, callback=refuse, help=f"Needs {install}.", context_settings=ignored)


@click.group(cls=Commands, epilog="\b\nExample:\n  betrace demo")
@click.version_option(package_name="betrace", message="%(version)s")
def main() -> None:
    """Judge rules on OpenTelemetry traces from Kafka, and publish a signal for each rule that is broken."""
