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
from streams.cli.options import duration
from streams.config.security import Security
from streams.config.settings import Settings
from streams.decode.decoder import Format
from streams.errors import ConfigError
from streams.projection.redact import Redaction, read_key, treatments
from topics.records import sealed_box
from topics.records.sealed_box import BoxError
from topics.records.signals import SignalFormat
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
        default="earliest",
        help="Where the first start begins reading.",
    ),
    options.encoding,
    options.gap,
    options.lateness,
    options.max_duration,
    options.out_of_order,
    duration(
        "--idle-lag", "2s", "How far the clock of a source partition without records stays behind this machine's clock."
    ),
    options.setting(
        "--allow-create-time",
        is_flag=True,
        help="Accept source topics whose records are stamped by producers, within bounds; otherwise they are refused.",
    ),
    options.max_clock_skew,
    duration("--flush", "50ms", "How often ingest writes facts."),
    duration("--step", "500ms", "How often sessions publishes signals and writes its state."),
    options.setting(
        "--window-memory",
        default="2GiB",
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
        help="Limit of new signals per rule and hour of record time, then a summary follows; verdicts count all. "
        "Unlimited if omitted.",
    ),
    options.record_budget,
    options.identity,
    options.redact,
    options.redact_key_file,
    options.dead_letter_key,
)


def _public_key(path: Path | None) -> bytes | None:
    try:
        return None if path is None else sealed_box.read_public_key(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"--dead-letter-key {path} cannot be read: {error.strerror}") from error
    except BoxError as error:
        raise ConfigError(f"--dead-letter-key {path}: {error}") from error


def run_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Return the options that make `Settings` and a `Layout`, given to the command as `settings` and `layout`."""

    @wraps(command)
    def with_settings(
        *,
        bootstrap: str,
        security: Security,
        layout: Layout,
        start: str,
        encoding: str,
        gap: int,
        lateness: int,
        max_duration: int,
        out_of_order: int,
        idle_lag: int,
        allow_create_time: bool,
        max_clock_skew: int,
        flush: int,
        step: int,
        window_memory: int,
        window_disk: int | None,
        state_dir: Path,
        signal_format: str,
        signals_per_hour: int | None,
        record_budget: int,
        identity: tuple[str, ...],
        redact: str,
        redact_key_file: Path | None,
        dead_letter_key: Path | None,
        **others: object,
    ) -> None:
        settings = Settings(
            bootstrap=bootstrap,
            security=security,
            state_dir=state_dir,
            source_topics=layout.source_topics,
            prefix=layout.prefix,
            facts_partitions=layout.facts_partitions,
            start=start,
            format=Format(encoding),
            gap_ms=gap,
            lateness_ms=lateness,
            max_duration_ms=max_duration,
            out_of_order_ms=out_of_order,
            idle_lag_ms=idle_lag,
            max_clock_skew_ms=max_clock_skew,
            allow_create_time=allow_create_time,
            flush_ms=flush,
            step_ms=step,
            window_memory_bytes=window_memory,
            window_disk_bytes=window_disk,
            identity=identity,
            redaction=Redaction(treatments(redact), read_key(redact_key_file)),
            signal_format=SignalFormat(signal_format),
            signals_per_hour=signals_per_hour,
            dead_letter_key=_public_key(dead_letter_key),
            record_budget=record_budget,
        )
        command(settings=settings, layout=layout, **others)

    decorated: Callable[..., None] = with_settings
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return options.cluster(options.layout(decorated))
