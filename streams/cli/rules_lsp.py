"""Implements `betrace rules lsp`: a language server for editors."""

from __future__ import annotations

from pathlib import Path

import click

from streams.cli import commands
from streams.errors import ConfigError


@commands.command(
    "lsp",
    short_help="Serve an editor in which rules are written.",
    epilog="\b\nExample:\n  betrace rules lsp rules/",
)
@click.argument("rules", nargs=-1, metavar="[RULES]...", type=click.Path(path_type=Path))
def command(rules: tuple[Path, ...]) -> None:
    """Serve an editor on stdin and stdout by the Language Server Protocol, while rules are written.

    It reports what betrace check reports, completes keywords and names, explains the rule under the cursor, and finds
    where a name such as @risky_tools is defined. RULES, files or directories in the editor's workspace, are one rule
    set. Without them, and for other files, the set is the directory of the file.
    """
    try:
        from streams.cli.language_server import serve  # noqa: PLC0415, an extra
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed: pip install 'betrace[lsp]'") from error
    serve(rules)
