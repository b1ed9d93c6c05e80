"""The options of `betrace run`."""

from __future__ import annotations

import click

from streams.cli import run


def options() -> list[click.Option]:
    """Returns the options of `betrace run` that an operator may see."""
    return [each for each in run.command.params if isinstance(each, click.Option) and not each.hidden]
