"""The command line: `betrace COMMAND`, one module of this package per command.

stdout is data, stderr is talk. Exit: 0 fine, 1 a rule was broken, 2 rules or usage, 3 Kafka or state, 70 a fault of
this program, 130 interrupted.
"""

from __future__ import annotations

import importlib
import traceback

import click
from confluent_kafka import KafkaException

from streams.errors import BetraceError, ConfigError
from topics.errors import TopicsError

FAULT = 70
"""EX_SOFTWARE of sysexits.h; Python's own 1 would say that a rule was broken."""

INTERRUPTED = 130

COMMANDS = (
    "check",
    "eval",
    "run",
    "replay",
    "status",
    "explain",
    "signals",
    "archive",
    "ledger",
    "evidence",
    "audit",
    "rules",
    "topics",
    "broker",
    "demo",
)

EXTRA = frozenset({"duckdb", "pyarrow"})
"""Packages of the extra `archive`."""


class Commands(click.Group):
    """Imports the module of a command only when it is asked for, and gives every error its exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, in the order in which a newcomer meets them."""
        return [*super().list_commands(ctx), *COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The attribute `command` of the module `cmd_name`, None when there is no such command."""
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        try:
            command = importlib.import_module(f"{__name__}.{cmd_name}").command
        except ModuleNotFoundError as error:
            package = (error.name or "").split(".")[0]
            if package not in EXTRA:
                raise
            return _without(cmd_name, package)
        return command if isinstance(command, click.Command) else None

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; an error of ours becomes a line on stderr and its exit code."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # click knows that nobody reads on
        except (BetraceError, TopicsError, KafkaException, OSError) as error:
            failure = click.ClickException(str(error))
            failure.exit_code = error.exit_code if isinstance(error, BetraceError) else BetraceError.exit_code
            raise failure from error
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            click.echo(f"{traceback.format_exc()}this is a fault of betrace: report it as a bug", err=True)
            raise click.exceptions.Exit(FAULT) from error


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
