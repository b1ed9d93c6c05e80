"""Ports of this machine that nobody listens on."""

from __future__ import annotations

import socket
from contextlib import ExitStack


def free_port(count: int = 1) -> int:
    """The first of so many ports in a row that are free, as a stage's metrics and the next stage's need them."""
    while True:
        with ExitStack() as held:
            first = int(held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1])
            try:
                for port in range(first + 1, first + count):
                    held.enter_context(socket.create_server(("127.0.0.1", port)))
            except (OSError, OverflowError):
                continue
            return first
