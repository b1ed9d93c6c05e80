"""Builds the OpenTelemetry Collector that the tests run.

In: a recipe, builder.yaml beside this file or another, and a Go toolchain. Out: the path of a binary in a cache outside
the tree, named after the hash of its recipe, so that one build serves until that changes.

    python -m tests.support.collector.build
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from tests.support.builds import build_once, cache

RECIPE = Path(__file__).with_name("builder.yaml")
STEP_S = 1800
"""So long may a step of a build take where the machine has other work."""

BUILDER = "go.opentelemetry.io/collector/cmd/builder@v0.155.0"


class GoMissingError(Exception):
    """There is no Collector in the cache and no Go to build one with."""


def binary(recipe: Path = RECIPE) -> Path:
    """The Collector's path, built first (about three minutes) when the cache has none.

    Raises `GoMissingError` when it must be built and there is no Go, `RuntimeError` when the build fails.
    """
    recipe_hash = hashlib.sha256(recipe.read_bytes()).hexdigest()[:12]

    def build(directory: Path) -> Path:
        go = shutil.which("go")
        if go is None:
            raise GoMissingError("no Go toolchain on the PATH to build the OpenTelemetry Collector with")
        _compile(go, recipe, directory)
        return directory / "out" / "otelcol"

    return build_once(cache("collector") / f"otelcol-{recipe_hash}", build)


def _compile(go: str, recipe: Path, directory: Path) -> None:
    """Runs the builder in three steps.

    Its own `go mod tidy` also wants modules that only the components' tests need, some of which cannot be had
    everywhere. So: 1 generate the sources, whose tidy may fail; 2 tidy with `-e`, which skips such modules;
    3 compile.
    """
    generate = [go, "run", BUILDER, "--config", str(recipe)]
    _run([*generate, "--skip-compilation"], directory, may_fail=True)
    if not (directory / "out" / "go.mod").exists():
        raise RuntimeError("the Collector builder wrote no sources: can Go modules be downloaded here?")
    _run([go, "mod", "tidy", "-e"], directory / "out")
    _run([*generate, "--skip-generate", "--skip-get-modules"], directory)


def _run(command: list[str], directory: Path, *, may_fail: bool = False) -> None:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=STEP_S, check=False
    )
    if done.returncode and not may_fail:
        raise RuntimeError(f"`{' '.join(command)}` failed: {done.stderr[-2000:]}")


if __name__ == "__main__":
    print(binary())  # noqa: T201 the path is this command's output
