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
    """Returns the lines of the `sh` blocks, without comments."""
    lines = (line.split("#")[0].strip() for block in blocks(text, "sh") for line in block.splitlines())
    return [line for line in lines if line]


def examples(text: str) -> list[tuple[str, str]]:
    """Returns each `sh` block that a `json` block follows, and that block: what the commands print."""
    lines = r"((?:(?!```).*\n)*)"
    return re.findall(rf"^```sh\n{lines}```\n\n```json\n{lines}```$", text, re.MULTILINE)


def inline_code(text: str) -> list[str]:
    """Returns what stands between backquotes in the prose, each on one line."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]


def links(text: str) -> list[str]:
    """Returns the targets of links and images."""
    return re.findall(r"\]\(([^)\s]+)\)", text)


def headings(text: str, level: int | None = None) -> list[str]:
    """Returns the headings, or those of one level."""
    marks = "#+" if level is None else "#" * level
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(rf"^{marks} (.+)$", prose, re.MULTILINE)


def anchor(heading: str) -> str:
    """Returns the name under which a heading can be linked to, as GitHub makes it.

    >>> anchor("`betrace run` and BeTrace's own spans")
    'betrace-run-and-betraces-own-spans'
    """
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def environment() -> dict[str, str]:
    """Returns the environment of a user who activated the virtual environment."""
    return os.environ | {"PATH": f"{_BIN}:{os.environ['PATH']}"}
