"""What the chart starts, started: its Job and its stages as processes with their variables, on a real Kafka."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.error import URLError

import pytest

from tests.helm.chart import VALUES, Object, containers, environment, of_kind, rendered
from tests.support.ports import free_port

pytestmark = [pytest.mark.broker, pytest.mark.timeout(1800)]

BETRACE = Path(sys.executable).with_name("betrace")
[MINIMAL] = [path for path in VALUES if path.stem == "minimal"]
READY_S = 120
STOP_S = 60
ASK_EVERY_S = 0.2


def mounted(rules: dict[str, str], directory: Path) -> Path:
    """The files of a ConfigMap as a pod sees them: links to links."""
    data = directory / "..2026_11_21"
    data.mkdir(parents=True)
    (directory / "..data").symlink_to(data.name)
    for name, text in rules.items():
        (data / name).write_text(text)
        (directory / name).symlink_to(f"..data/{name}")
    return directory


def test_stages_become_ready(helm_path: Path, kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """The Job creates topics and pushes rules; then each stage is alive, ready, and writes only to its volume."""
    ports = {"ingest": free_port(), "sessions": free_port()}
    given = {
        "settings.bootstrap": kafka,
        "settings.prefix": fresh_prefix,
        "settings.factsPartitions": "2",
        "settings.stateDir": str(tmp_path / "no-volume"),
        "sessions.settings.stateDir": str(tmp_path / "state"),
        **{f"{role}.settings.metricsPort": str(port) for role, port in ports.items()},
    }
    objects = rendered(helm_path, MINIMAL, *(f"--set={name}={value}" for name, value in given.items()))
    [rules] = [each["data"] for each in of_kind(objects, "ConfigMap") if each["metadata"]["name"] == "betrace-rules"]
    place = mounted(rules, tmp_path / "rules")
    steps = {container["name"]: container for _, container in containers(objects)}

    for step in ("topics", "rules"):
        words = [word.replace("/etc/betrace/rules", str(place)) for word in steps[step]["args"]]
        subprocess.run([BETRACE, *words], env=alone(objects, steps[step], tmp_path), check=True)
    with ExitStack() as stack:
        stages = [stack.enter_context(started(objects, steps[role], tmp_path)) for role in ports]
        for role, port in ports.items():
            await_answer(steps[role]["livenessProbe"]["httpGet"]["path"], port)
            await_answer(steps[role]["readinessProbe"]["httpGet"]["path"], port)

    assert [0, 0] == [stage.returncode for stage in stages]
    assert {"rules", "state"} == {path.name for path in tmp_path.iterdir()}


def alone(objects: list[Object], container: Object, home: Path) -> dict[str, str]:
    """A container's environment, and nothing of this machine's."""
    return environment(objects, container) | {"HOME": str(home / "home"), "PATH": "/usr/bin:/bin"}


@contextmanager
def started(objects: list[Object], container: Object, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A container's process for the length of a with-block, then told to stop as Kubernetes does."""
    child = subprocess.Popen([BETRACE, *container["args"]], env=alone(objects, container, home))
    try:
        yield child
        child.terminate()
        child.wait(STOP_S)
    finally:
        child.kill()
        child.wait()


def await_answer(path: str, port: int) -> None:
    """Asks as a probe does until the answer is 200; fails when that takes too long."""
    deadline_s = time.monotonic() + READY_S
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5):
                return
        except URLError:
            if time.monotonic() > deadline_s:
                raise
        time.sleep(ASK_EVERY_S)
