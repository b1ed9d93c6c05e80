"""Builds the programs in Go that tests run: Helm, Prometheus' engine for the alert rules, and Go's own signed notes.

In: a Go toolchain. Out: the path of a binary in a cache outside the tree, named after its version or the hash of its
sources, so that one build serves until these change.

    python -m tests.support.gotools
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support import paths
from tests.support.builds import build_once, cache

HELM_VERSION = "v3.21.4"
KUBERNETES = "1.33"
"""The version that Helm renders for; without being told it would be a very old one."""
ALERTS = paths.ROOT / "tests" / "helm" / "alerts"
NOTES = Path(__file__).with_name("gonote")
BUILD_S = 1800
"""So long may a build take where the machine has other work; by itself it takes a minute or two."""


RUN_S = 60


class GoMissingError(Exception):
    """There is no such program in the cache and no Go to build it with."""


def helm() -> Path:
    """Helm's path, built first when the cache has none.

    Raises `GoMissingError` when it must be built and there is no Go, `RuntimeError` when the build fails.
    """
    where, (major, minor) = "helm.sh/helm/v3/pkg/chartutil.k8sVersion", KUBERNETES.split(".")
    flags = f"-ldflags=-s -w -X {where}Major={major} -X {where}Minor={minor}"
    command = ["install", flags, f"helm.sh/helm/v3/cmd/helm@{HELM_VERSION}"]
    return _built(f"helm-{HELM_VERSION}-{KUBERNETES}", command, "helm", Path.cwd())


def fired() -> Path:
    """The path of the program in `alerts/`, as `helm`."""
    return _installed("fired", ALERTS)


def gonote(command: str, *keys: str, text: bytes) -> subprocess.CompletedProcess[bytes]:
    """Runs the program in `gonote/`, built first as `helm`, so that all it prints is its own."""
    words = [str(_installed("gonote", NOTES)), command, *keys]
    return subprocess.run(words, input=text, capture_output=True, timeout=RUN_S, check=False)


def _installed(binary: str, directory: Path) -> Path:
    sources = b"".join(path.read_bytes() for path in sorted(directory.iterdir()))
    return _built(f"{binary}-{hashlib.sha256(sources).hexdigest()[:12]}", ["install", "."], binary, directory)


def _built(name: str, arguments: Sequence[str], binary: str, directory: Path) -> Path:
    def build(made: Path) -> Path:
        go = shutil.which("go")
        if go is None:
            raise GoMissingError(f"no Go toolchain on the PATH to build {binary} with")
        _run([go, *arguments], directory, made)
        return made / binary

    return build_once(cache("helm") / name, build)


def _run(command: Sequence[str], directory: Path, made: Path) -> None:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOBIN": str(made)}
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=BUILD_S, check=False
    )
    if done.returncode:
        raise RuntimeError(f"`{' '.join(command)}` failed: {done.stderr[-2000:]}")


if __name__ == "__main__":
    print(helm(), fired())  # noqa: T201, the paths are this command's output
