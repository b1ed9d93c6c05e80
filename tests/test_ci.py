"""What CI runs."""

from __future__ import annotations

import re
import tomllib

from ruamel.yaml import YAML

from tests.support import paths

PYTHON = "Programming Language :: Python :: 3."


def test_every_python_that_is_promised_is_tried() -> None:
    """The workflow's interpreters are those of the package's classifiers."""
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
    workflow = YAML(typ="safe").load(paths.ROOT / ".github" / "workflows" / "ci.yml")

    promised = [text.rpartition(" ")[2] for text in project["classifiers"] if text.startswith(PYTHON)]
    assert promised == workflow["jobs"]["check"]["strategy"]["matrix"]["python"]


def test_ci_runs_every_tier() -> None:
    """The tiers that CI runs are targets of the Makefile: every test, and those of `make test` under measurement."""
    [tiers] = re.findall(r"for tier in (.*); do", (paths.ROOT / ".ci" / "run").read_text())
    targets = re.findall(r"^([a-z-]+):", (paths.ROOT / "Makefile").read_text(), re.MULTILINE)

    assert {"coverage", "test-all"} <= set(tiers.split()) <= set(targets)
