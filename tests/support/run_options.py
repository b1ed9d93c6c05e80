"""The options of `betrace run`."""

from __future__ import annotations

import click

from streams.cli import run


def options() -> list[click.Option]:
    """Returns the settings of `betrace run`: the options that an operator may see, and that have a variable."""
    return [each for each in run.command.params if isinstance(each, click.Option) and each.envvar and not each.hidden]
