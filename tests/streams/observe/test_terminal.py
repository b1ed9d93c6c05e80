"""Tests that printed text cannot control a terminal."""

from __future__ import annotations

import sys

import pytest

from streams.observe.terminal import printable, printable_lines
from tests.support.terminal import on_terminal

HOSTILE = "a\x1b[2Jb\x9b31mc\x07\u202ed\x7f"

PRINTS = """
import sys
import click
import structlog
from rich.console import Console
from streams.observe import logs, terminal
text = sys.argv[1].encode().decode("unicode_escape")
with terminal.guarded():
    logs.configure()
    click.echo(text)
    click.echo(text.encode())
    click.echo(text, err=True)
    sys.stdout.write(text + "\\r\\n")
    sys.stdout.writelines([text, "\\n"])
    sys.stdout.buffer.write(text.encode())
    print(text)
    structlog.get_logger().warning("event", value=text)
    Console(force_terminal=True).print("[bold]drawn[/]")
    click.echo("the end")
"""


@pytest.mark.parametrize(("text", "expected"), [("plain", "plain"), (HOSTILE, "a [2Jb 31mc  d "), ("a\nb\tc", "a b c")])
def test_one_line_is_printable(text: str, expected: str) -> None:
    """Characters that are not printable become spaces."""
    assert expected == printable(text)


def test_lines_and_tabs_stay() -> None:
    """A lone carriage return would overwrite the line, one before a line feed does nothing."""
    assert "a\tb\nc d\n" == printable_lines("a\tb\r\nc\rd\n")


def test_only_rich_controls_the_terminal() -> None:
    """In text and bytes, stdout, stderr and log lines, only rich writes escape sequences."""
    shown = on_terminal(sys.executable, "-c", PRINTS, HOSTILE.encode("unicode_escape").decode())

    assert 8 == shown.count("a [2Jb 31mc  d ")
    assert "\x1b[1mdrawn\x1b[0m" in shown
    assert "\x1b[2J" not in shown
    assert not {"\x9b", "\x07", "\u202e", "\x7f"} & {*shown}
    assert shown.endswith("the end\r\n")
