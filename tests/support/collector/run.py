"""Runs a real OpenTelemetry Collector for the length of a with-block.

In: a Kafka address and how the Collector shall write. Out: its OTLP/gRPC endpoint. When the block ends the Collector is
told to stop and drains its queue, so whatever it accepted is on Kafka afterwards.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.support.collector.build import binary
from tests.support.ports import free_port

CONFIG = Path(__file__).with_name("collector.yaml")
START_S = 120
STOP_S = 60


@dataclass(frozen=True)
class Settings:
    """How the Collector writes: keyed by trace id or not, in which encoding, to which topics."""

    keyed: bool
    encoding: str = "otlp_proto"
    spans_topic: str = "otlp_spans"
    logs_topic: str = "otlp_logs"

    def environment(self, bootstrap: str, port: int) -> dict[str, str]:
        """What collector.yaml reads."""
        return {
            "OTLP_PORT": str(port),
            "KAFKA_BOOTSTRAP": bootstrap,
            "KEYED": str(self.keyed).lower(),
            "ENCODING": self.encoding,
            "SPANS_TOPIC": self.spans_topic,
            "LOGS_TOPIC": self.logs_topic,
        }


@contextmanager
def running(bootstrap: str, settings: Settings) -> Iterator[str]:
    """A Collector that writes to the Kafka at `bootstrap`; yields its endpoint, `127.0.0.1:PORT`.

    Raises `GoMissingError` when there is none, `RuntimeError` with its log when it does not start or stop cleanly.
    """
    port = free_port()
    environment = {**os.environ, **settings.environment(bootstrap, port)}
    with tempfile.TemporaryFile("w+") as log:
        child = subprocess.Popen([binary(), "--config", CONFIG], env=environment, stdout=log, stderr=log)
        try:
            await_start(port, lambda: _text(log), lambda: child.poll() is None)
            yield f"127.0.0.1:{port}"
            child.terminate()
            if child.wait(STOP_S):
                raise RuntimeError(f"the Collector ended with {child.returncode}: {_text(log)}")
        finally:
            child.kill()
            child.wait()


def await_start(port: int, said: Callable[[], str], is_running: Callable[[], bool] = lambda: True) -> None:
    """Waits until somebody listens on `port`; raises `RuntimeError` with what the Collector said when nobody does."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and is_running():
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"the Collector did not listen on port {port} within {START_S} s: {said()}")


def _text(log: IO[str]) -> str:
    log.seek(0)
    return log.read()[-4000:]
