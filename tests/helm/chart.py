"""The chart as Helm renders it.

In: a file of values. Out: the objects, and of each container the environment that it starts with.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from ruamel.yaml import YAML

from tests.support import paths

CHART = paths.ROOT / "helm"
VALUES = sorted(Path(__file__).with_name("values").glob("*.yaml"))

Object: TypeAlias = dict[str, Any]


def loaded(path: Path) -> Any:  # noqa: ANN401, whatever YAML holds
    """A YAML file."""
    return YAML(typ="safe").load(path.read_text())


def run(helm: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Helm's answer about the chart."""
    return subprocess.run([helm, *words, "--namespace", "security"], capture_output=True, text=True, check=False)


@cache
def rendered(helm: Path, values: Path, *words: str) -> list[Object]:
    """The objects of a release named `betrace`; fails with what Helm said when it renders none.

    They are the same ones for the same values, and nobody changes them.
    """
    done = run(helm, "template", "betrace", CHART, "--values", values, *words)
    assert not done.returncode, done.stderr
    return [each for each in YAML(typ="safe").load_all(done.stdout) if each is not None]


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    """Those of these kinds, in their order."""
    return [each for each in objects if each["kind"] in kinds]


def pods(objects: list[Object]) -> Iterator[Object]:
    """The pod template of each object that has one."""
    for each in of_kind(objects, "Deployment", "StatefulSet", "Job"):
        yield each["spec"]["template"]


def containers(objects: list[Object]) -> Iterator[tuple[Object, Object]]:
    """Each container with the spec of its pod."""
    for pod in pods(objects):
        for container in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]:
            yield pod["spec"], container


def environment(objects: list[Object], container: Mapping[str, Any]) -> dict[str, str]:
    """The variables of a container: those of its ConfigMaps, then its own."""
    maps = {each["metadata"]["name"]: each["data"] for each in of_kind(objects, "ConfigMap")}
    found: dict[str, str] = {}
    for source in container["envFrom"]:
        found |= maps[source["configMapRef"]["name"]] if "configMapRef" in source else {}
    return found | {each["name"]: each["value"] for each in container.get("env", [])}
