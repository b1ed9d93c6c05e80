"""Runs the embedded broker in a container, as a fallback where Java or the jars are missing.

In: nothing. Out: the address of a broker that runs for the duration of the context. It needs a Docker engine.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

IMAGE = "confluentinc/cp-kafka:8.1.0"

_ENVIRONMENT = {
    "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    "KAFKA_DEFAULT_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
}


def is_docker_available() -> bool:
    """Return whether testcontainers is installed and a Docker engine answers."""
    try:
        client = importlib.import_module("testcontainers.core.docker_client").DockerClient()
        return bool(client.client.ping())
    except ImportError:
        return False
    except _docker_errors():
        return False


@contextmanager
def running() -> Iterator[str]:
    """Run a broker for the duration of the context; yield its `host:port`."""
    container: Any = importlib.import_module("testcontainers.community.kafka").KafkaContainer(IMAGE).with_kraft()
    for name, value in _ENVIRONMENT.items():
        container = container.with_env(name, value)
    with container:
        yield container.get_bootstrap_server()


def _docker_errors() -> tuple[type[BaseException], ...]:
    return (OSError, importlib.import_module("docker.errors").DockerException)
