"""Kafka's own tool for consumer groups, `kafka-consumer-groups`, as an operator has it.

In: options. Out: moved offsets. The embedded broker's jars lack it: its one jar is downloaded beside them.
"""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

import pytest
from jgo import maven, parse

from topics.embedded import jvm

JAR = f"org.apache.kafka:kafka-tools:{jvm.KAFKA_VERSION}"
MAIN = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"


@cache
def classpath() -> str:
    """The broker's jars and the tool's; skips the test where it cannot be downloaded."""
    jars = jvm.jars(Path())
    try:
        dependency = maven.MavenContext(repo_cache=jars.parent / "tools").create_dependency(parse.Coordinate.parse(JAR))
        tool = Path(dependency.artifact.resolve())
    except (OSError, RuntimeError, AssertionError) as error:
        pytest.skip(f"{JAR} cannot be downloaded: {error}")
    return f"{tool}:{jars}/*"


def reset(bootstrap: str, group: str, *options: str) -> None:
    """Moves the offsets of a group; fails when the tool refuses."""
    java = [str(jvm.java()), "-cp", classpath(), MAIN]
    where = ["--bootstrap-server", bootstrap, "--group", group, "--reset-offsets", "--execute"]
    said = subprocess.run([*java, *where, *options], capture_output=True, text=True, check=False)
    assert (0, False) == (said.returncode, "Error" in said.stdout), said.stdout + said.stderr
