"""Commands in Markdown: what a reader would copy, and what the page says comes of it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

_BIN = Path(sys.executable).parent


def blocks(text: str, language: str) -> list[str]:
    """Returns the fenced blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def dialogues(text: str) -> list[tuple[str, str]]:
    """Returns the commands of the `console` blocks, each with its output; lines with `> ` continue a command."""
    found: list[tuple[str, str]] = []
    for line in "".join(blocks(text, "console")).splitlines():
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), ""))
        elif line.startswith("> "):
            found[-1] = (found[-1][0] + "\n" + line.removeprefix("> "), "")
        else:
            found[-1] = (found[-1][0], found[-1][1] + line + "\n")
    return found


def shell_commands(text: str) -> list[str]:
    """Returns the commands of the `sh` blocks, without comments."""
    return [line.split("#")[0].strip() for block in blocks(text, "sh") for line in block.splitlines()]


def environment() -> dict[str, str]:
    """Returns the environment of a user who activated the virtual environment."""
    return os.environ | {"PATH": f"{_BIN}:{os.environ['PATH']}"}
