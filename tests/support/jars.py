"""Kafka's jars as Maven resolves them: `make jars` writes them down, a test compares.

In: Maven Central. Out: the lines of topics/embedded/jars.txt.
"""

from __future__ import annotations

import hashlib
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jgo import maven, parse

from topics.embedded import jvm


def resolved(repository: Path) -> list[str]:
    """The coordinates of Kafka and of all that it needs to run, in order; what was read for it is in `repository`."""
    return sorted(str(artifact.component) for artifact in _artifacts(repository))


def pinned(repository: Path) -> list[str]:
    """Each of them with the SHA-256 of its jar."""
    artifacts = _artifacts(repository)
    with ThreadPoolExecutor() as pool:
        jars = pool.map(lambda artifact: Path(artifact.resolve()).read_bytes(), artifacts)
    return sorted(
        f"{artifact.component} {hashlib.sha256(jar).hexdigest()}" for artifact, jar in zip(artifacts, jars, strict=True)
    )


def _artifacts(repository: Path) -> list[maven.Artifact]:
    context = maven.MavenContext(repo_cache=repository)
    wanted = [context.create_dependency(parse.Coordinate.parse(coordinate)) for coordinate in jvm.COORDINATES]
    named, drawn_in = context.resolver.resolve(wanted)
    needed = [*named, *(dependency for dependency in drawn_in if dependency.scope in {"compile", "runtime"})]
    return [dependency.artifact for dependency in needed]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        jvm.PINS.write_text("".join(f"{line}\n" for line in pinned(Path(scratch))))
