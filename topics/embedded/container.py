"""The embedded broker's fall-back: the same Kafka in a container, where a Docker engine answers.

In: nothing. Out: the address of a broker that ends with the context. It is used only where Java or jars lack.
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
    """Whether testcontainers is installed and a Docker engine answers it."""
    try:
        client = importlib.import_module("testcontainers.core.docker_client").DockerClient()
        return bool(client.client.ping())
    except ImportError:
        return False
    except _docker_errors():
        return False


@contextmanager
def running() -> Iterator[str]:
    """A broker's `host:port`, as long as the context lasts."""
    container: Any = importlib.import_module("testcontainers.community.kafka").KafkaContainer(IMAGE).with_kraft()
    for name, value in _ENVIRONMENT.items():
        container = container.with_env(name, value)
    with container:
        yield container.get_bootstrap_server()


def _docker_errors() -> tuple[type[BaseException], ...]:
    return (OSError, importlib.import_module("docker.errors").DockerException)
