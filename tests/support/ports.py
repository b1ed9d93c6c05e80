"""Ports of this machine that nobody listens on."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

PORTS = range(20_000, 32_000)
"""Below those that the kernel gives to connections, any of which may take a port between its choice and its use."""


def free_port(count: int = 1) -> int:
    """The first of so many ports in a row that are free, as a stage's metrics and the next stage's need them."""
    while True:
        with ExitStack() as held:
            first = random.choice(PORTS)
            try:
                for port in range(first, first + count):
                    held.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            return first
