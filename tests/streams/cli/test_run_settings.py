"""Tests that the help, the settings page and the settings class agree."""

from __future__ import annotations

import dataclasses
import re

import click
import pytest
from click.testing import CliRunner

from streams.cli import main
from streams.config.settings import Settings
from tests.support import paths
from tests.support.run_options import options

PAGE = paths.ROOT / "streams" / "config" / "README.md"

SHORT_NAMES = {"format": "--encoding", "redaction": "--redact", "security": "--security-protocol"}
"""Fields whose option has another name."""


def row(option: click.Option) -> str:
    """Returns the row of the page's table for an option."""
    shown = option.show_default if isinstance(option.show_default, str) else option.default
    is_absent = option.is_flag or shown == "" or not isinstance(shown, str | int)
    default = "" if is_absent else f"`{shown}`".replace(",", ", ")
    meaning = (option.help or "").replace("|", "\\|")
    return f"| `{option.opts[0]}` | `{option.envvar}` | {default} | {meaning} |"


def test_page_has_a_row_for_each_setting() -> None:
    """The page's table lists the options in order, with their help."""
    table = re.findall(r"^\| `--.*$", PAGE.read_text(), re.MULTILINE)

    assert [row(option) for option in options()] == table


def test_help_shows_each_setting_with_its_variable() -> None:
    """`betrace run --help` names every option and its variable."""
    shown = "".join(CliRunner().invoke(main, ["run", "--help"], terminal_width=200).stdout.split())

    assert [] == [option.opts[0] for option in options() if option.opts[0] not in shown]
    assert [] == [option.envvar for option in options() if f"envvar:{option.envvar}" not in shown]


def test_each_field_of_the_settings_has_an_option() -> None:
    """Every field of the settings has an option."""
    named = {option.opts[0] for option in options()}

    fields = {field.name: re.sub(r"_(ms|bytes)$", "", field.name) for field in dataclasses.fields(Settings)}

    wanted = {SHORT_NAMES.get(name, "--" + short.replace("_", "-")) for name, short in fields.items()}
    assert set() == wanted - named


@pytest.mark.parametrize("text", ["2", "2GB", "1.5GiB", "-1B", "GiB", ""])
def test_invalid_size(text: str) -> None:
    """A size with an unknown unit is refused, with a valid example."""
    result = CliRunner().invoke(main, ["run", "--window-memory", text])

    assert 2 == result.exit_code
    assert "is not a size: write a whole number with a unit (B, KiB, MiB, GiB)" in " ".join(result.stderr.split())
