"""Log lines of several processes on one stderr stay lines."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

LOG = """import structlog
from streams.observe import logs
logs.configure()
structlog.get_logger().info("it began", count=1)"""
LONGEST_BYTES = 4096


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_line_is_written_at_once(unbuffered: str) -> None:
    """A line and its end are one write, so that no other process writes between them."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    with ours, theirs:
        environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
        subprocess.run([sys.executable, "-c", LOG], stderr=theirs.fileno(), env=environment, check=True)
        written = ours.recv(LONGEST_BYTES)

    assert written.endswith(b"}\n")
    assert {"event": "it began", "count": 1}.items() <= json.loads(written).items()
