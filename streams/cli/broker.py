"""Implements `betrace broker`: a real Kafka on this machine, to try things out.

In: a directory for its data. Out: the broker's address on stdout.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from streams.cli import commands, options
from streams.errors import ConfigError
from topics.embedded import broker

_MAX_PORT = 65_535


def _default_data_dir() -> Path:
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "betrace" / "broker"


_data_dir = options.setting(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=_default_data_dir,
    show_default="~/.local/state/betrace/broker",
    help="Directory of its data.",
)


@commands.group("broker", epilog='\b\nExample:\n  export BETRACE_BOOTSTRAP="$(betrace broker start)"')
def command() -> None:
    """Start or stop a single-node Kafka on this machine, for demos and tests."""


@command.command(
    short_help="Start the broker and print its address.",
    epilog="\b\nExample:\n  betrace broker start --data-dir /tmp/kafka --port 9092",
)
@_data_dir
@click.option("--port", type=click.IntRange(1, _MAX_PORT), help="Port to listen on; a free one if omitted.")
def start(data_dir: Path, port: int | None) -> None:
    """Start the broker and print its address; it runs until `betrace broker stop`.

    If it is already running, only prints its address.
    """
    started = broker.find(data_dir)
    if started is None:
        click.echo(f"starting Kafka on {data_dir}; the first start downloads it", err=True)
        started = broker.start(data_dir, port=port)
    elif port is not None and not started.bootstrap.endswith(f":{port}"):
        raise ConfigError(
            f"the broker on {data_dir} is running at {started.bootstrap}, not on port {port}; stop it first"
        )
    click.echo(started.bootstrap)


@command.command(epilog="\b\nExample:\n  betrace broker stop --data-dir /tmp/kafka")
@_data_dir
def stop(data_dir: Path) -> None:
    """Stop the broker; its topics remain for the next start."""
    started = broker.find(data_dir)
    if started is None:
        click.echo(f"no broker is running on {data_dir}", err=True)
        return
    started.stop()
    click.echo(f"stopped {started.bootstrap}", err=True)
