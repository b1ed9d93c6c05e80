"""Tests the options that commands share."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner, Result

from streams.cli import options
from topics.spec import Layout


def call(*arguments: str, **environment: str) -> Result:
    """A command that prints its layout."""

    @click.command
    @options.layout
    def command(layout: Layout) -> None:
        click.echo(repr(layout))

    return CliRunner(env=environment).invoke(command, arguments)


def test_layout_without_options_is_the_default() -> None:
    """Without options a command uses the documented layout."""
    assert call().stdout == f"{Layout()!r}\n"


def test_layout_is_read_from_the_environment() -> None:
    """Each option is also a variable."""
    result = call(
        BETRACE_PREFIX="eu.", BETRACE_SOURCE_TOPICS="a, b", BETRACE_FACTS_PARTITIONS="3", BETRACE_REPLICATION="2"
    )

    assert result.stdout == f"{Layout('eu.', ('a', 'b'), 3, 2)!r}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source-topics", " , "], "no topic is named"),
        (["--source-topics", "a b"], "'a b' is not a topic name"),
        (["--prefix", "ü."], "'ü.facts' is not a topic name"),
        (["--facts-partitions", "0"], "0 is not in the range x>=1"),
    ],
)
def test_invalid_layout_is_a_usage_error(arguments: list[str], message: str) -> None:
    """A value that Kafka would refuse is refused before connecting."""
    result = call(*arguments)

    assert (result.exit_code, message in result.stderr) == (2, True)
