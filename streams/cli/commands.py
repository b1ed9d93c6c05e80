"""Formats the helps of commands: options are listed under headings, the same in every command.

In: the options of a command. Out: the text of `--help`. `command` and `group` take the place of click's own decorators.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

HEADINGS = {
    "Rules": ("--rules", "--rule", "--push", "--revision", "--pushed-by"),
    "Period": ("--from", "--to"),
    "Output": ("--format", "--html", "--as-test", "--limit", "--summary", "--compare", "--who", "--publish"),
    "Connection to Kafka": (
        "--bootstrap",
        "--security-protocol",
        "--sasl-mechanism",
        "--sasl-username",
        "--sasl-password-file",
        "--sasl-token-url",
        "--ssl-ca-file",
        "--ssl-cert-file",
        "--ssl-key-file",
    ),
    "Topics": ("--prefix", "--source-topics", "--facts-partitions", "--replication", "--start", "--encoding"),
    "Windows and time": (
        "--gap",
        "--lateness",
        "--max-duration",
        "--out-of-order",
        "--idle-lag",
        "--allow-create-time",
        "--max-clock-skew",
    ),
    "Signals and their data": (
        "--signal-format",
        "--signals-per-hour",
        "--record-budget",
        "--identity",
        "--redact",
        "--redact-key-file",
        "--dead-letter-key",
    ),
    "Evidence": ("--evidence", "--ledger-key", "--key", "--head"),
    "State and processes": (
        "--role",
        "--workers",
        "--processes",
        "--until-idle",
        "--state-dir",
        "--window-memory",
        "--window-disk",
        "--flush",
        "--step",
    ),
    "Metrics": ("--metrics-port", "--metrics-address"),
}
"""The options under each heading; what is under none belongs to a single command and is listed first."""

NOTES = {"Period": "TIME is 2026-01-05, 2026-01-05T12:00:00Z, a duration ago such as 30d, earliest or now."}
"""What applies to all options under a heading."""

_OWN = "Options"
_HEADING_OF = {name: heading for heading, listed in HEADINGS.items() for name in listed}


class Command(click.Command):
    """A command whose help lists its options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, those of this command alone first."""
        sections: dict[str, list[tuple[str, str]]] = {heading: [] for heading in (_OWN, *HEADINGS)}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None:
                sections[_HEADING_OF.get(parameter.opts[0], _OWN)].append(record)
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)
                    if (note := NOTES.get(heading)) is not None:
                        formatter.write_paragraph()
                        formatter.write_text(note)


class Group(click.Group):
    """A group whose commands list their options under headings."""

    command_class = Command


def command(name: str | None = None, **attributes: Any) -> Callable[[Callable[..., Any]], Command]:  # noqa: ANN401, click's
    """Return the decorator of a command, like `click.command`."""
    return click.command(name, cls=Command, **attributes)


def group(name: str, **attributes: Any) -> Callable[[Callable[..., Any]], Group]:  # noqa: ANN401, as above
    """Return the decorator of a group, like `click.group`."""
    return click.group(name, cls=Group, **attributes)
