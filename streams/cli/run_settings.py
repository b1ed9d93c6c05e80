"""Defines the options that make the `Settings` of `betrace run`, each with its environment variable.

In: what a person typed. Out: validated settings, or an error.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path

import click

from streams.cli import options
from streams.cli.made_settings import made_settings
from streams.cli.options import duration_setting
from streams.config.units import duration_text, size_text
from topics.spec import Layout

DURATIONS = frozenset(
    {"gap", "lateness", "max_duration", "out_of_order", "idle_lag", "max_clock_skew", "flush", "step"}
)
SIZES = frozenset({"window_memory", "window_disk"})


def default_state_dir() -> Path:
    """Return the default state directory, following the XDG base directory specification."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "betrace"


_OPTIONS = (
    options.setting(
        "--start",
        type=click.Choice(["earliest", "latest"]),
        default=options.default_of("start"),
        help="Where the first start begins reading.",
    ),
    options.encoding,
    options.gap,
    options.lateness,
    options.max_duration,
    options.out_of_order,
    duration_setting(
        "--idle-lag",
        "How far the clock of a source partition without records stays behind this machine's clock.",
    ),
    options.setting(
        "--allow-create-time",
        is_flag=True,
        help="Accept source topics whose records are stamped by producers, within bounds; otherwise they are refused.",
    ),
    options.max_clock_skew,
    duration_setting("--flush", "How often ingest writes facts."),
    duration_setting("--step", "How often sessions publishes signals and writes its state."),
    options.setting(
        "--window-memory",
        default=size_text(options.default_of("window_memory_bytes")),
        callback=options.as_size,
        metavar="SIZE",
        help="Memory for the windows of all facts partitions of a worker; windows beyond it are on disk.",
    ),
    options.setting(
        "--window-disk",
        callback=options.as_optional_size,
        metavar="SIZE",
        help="Disk for the windows of all facts partitions of a worker; windows beyond it are closed early. "
        "Unlimited if omitted.",
    ),
    options.setting(
        "--state-dir",
        type=click.Path(file_okay=False, path_type=Path),
        default=default_state_dir,
        show_default="$XDG_STATE_HOME/betrace",
        help="Directory of the windows.",
    ),
    options.signal_format,
    options.setting(
        "--signals-per-hour",
        type=click.IntRange(min=1),
        help="Limit of new signals per rule and hour of record time; one summary replaces the others, and verdicts "
        "count all. Unlimited if omitted.",
    ),
    options.record_budget,
    options.identity,
    options.redact,
    options.redact_key_file,
    options.dead_letter_key,
)


def as_text(name: str, value: object) -> str:
    """Return the value of an option as one would type it."""
    if isinstance(value, int) and name in DURATIONS:
        return duration_text(value)
    if isinstance(value, int) and name in SIZES:
        return size_text(value)
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def run_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Return the options that make `Settings` and a `Layout`, given to the command as `settings` and `layout`."""

    @wraps(command)
    def with_layout(layout: Layout, **given: object) -> None:
        names = {"prefix": layout.prefix, "source_topics": layout.source_topics}
        made_settings(command)(layout=layout, **given, **names, facts_partitions=layout.facts_partitions)

    decorated: Callable[..., None] = with_layout
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return options.cluster(options.layout(decorated))
