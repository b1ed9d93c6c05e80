"""Builds the commands of the stages of `betrace run`: this program again, with the options of one role of a worker.

In: the options in click's context. Out: command lines, with ports and state directories.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import click
import msgspec

from streams.cli import ledger
from streams.cli.run_settings import as_text
from streams.config.settings import Settings
from streams.sessions.worker import Ends

ROLES = ("ingest", "sessions")
PORTS = (*ROLES, "ledger")
"""The order of the stages' metrics ports, counted from --metrics-port; the next worker's follow."""


def commands(settings: Settings, workers: int, ends: Ends | None) -> dict[str, list[str]]:
    """Return the commands of the stages of all workers, by name."""
    return {
        f"{role}-{number}": stage_command(role, settings, number, ends)
        for number in range(1, workers + 1)
        for role in ROLES
    }


def stage_command(role: str, settings: Settings, number: int, ends: Ends | None) -> list[str]:
    """Return this command for one role of a worker, with the options in click's context."""
    until = ["--ends", msgspec.json.encode(ends).decode()] if ends is not None and role == "sessions" else []
    words = _words(click.get_current_context().params.keys() - NOT_PASSED - _OF_EACH - _NOT_OF.get(role, frozenset()))
    own = ["--state-dir", str(state_dir(settings, number)), *_metrics_port(role, number)]
    return [sys.executable, "-m", "streams.cli", "run", "--role", role, *words, *own, *until]


def state_dir(settings: Settings, number: int) -> Path:
    """Return a worker's state directory; the first has that of a single worker, so adding workers keeps windows."""
    return settings.state_dir if number == 1 else settings.state_dir / f"worker-{number}"


def ledger_command(evidence: str, ledger_keys: tuple[Path, ...]) -> list[str]:
    """Return the command of the ledger, with the options that it shares with this command."""
    taken = {name for option in ledger.command.params if (name := option.name) is not None}
    words = _words(click.get_current_context().params.keys() & taken - NOT_PASSED - _OF_EACH)
    keys = [text for key in ledger_keys for text in ("--ledger-key", str(key))]
    return [
        sys.executable,
        "-m",
        "streams.cli",
        "ledger",
        "--evidence",
        evidence,
        *words,
        *_metrics_port("ledger"),
        *keys,
    ]


def _words(names: Iterable[str]) -> list[str]:
    """Return the arguments for these options in click's context, without those that are not set."""
    values = click.get_current_context().params
    set_names = sorted(name for name in names if values[name] is not None)
    return [text for name in set_names for text in _option("--" + name.replace("_", "-"), name, values[name])]


def _option(option: str, name: str, value: object) -> list[str]:
    """Return the arguments of one option; a flag is present or absent."""
    if isinstance(value, bool):
        return [option] if value else []
    return [option, as_text(name, value)]


def _metrics_port(role: str, number: int = 1) -> list[str]:
    """Return the arguments for the metrics port: each stage is a process and has its own."""
    port = _port(role, number)
    return [] if port is None else ["--metrics-port", str(port)]


def _port(role: str, number: int) -> int | None:
    first: int = click.get_current_context().params["metrics_port"]
    return first + PORTS.index(role) + len(PORTS) * (number - 1) if first else None


def ports(workers: int, *, has_ledger: bool) -> list[int]:
    """Return the ports that the stages are given."""
    stages = [(role, number) for number in range(1, workers + 1) for role in ROLES]
    stages += [("ledger", 1)] if has_ledger else []
    return [port for role, number in stages if (port := _port(role, number)) is not None]


NOT_PASSED = frozenset(
    {"rules", "insists", "revision", "by", "role", "workers", "evidence", "ledger_keys", "until_idle", "ends"}
)
_OF_EACH = frozenset({"metrics_port", "state_dir"})
_NOT_OF = {"sessions": frozenset({"redact", "redact_key_file", "dead_letter_key"})}
"""Options that only another role uses, and that need keys."""
