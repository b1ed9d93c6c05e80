"""The image, as far as it can be tried without Docker: what is copied, who runs, what is started."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.helm.chart import CHART, loaded

ROOT = CHART.parent
TEXT = (CHART / "Dockerfile").read_text()
IGNORED = (CHART / "Dockerfile.dockerignore").read_text().split()
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
COPIED = [source for line in re.findall(r"^COPY (?!--from)(.+)$", TEXT, re.MULTILINE) for source in line.split()[:-1]]
"""What comes out of the tree."""


def test_build_context_is_what_is_copied() -> None:
    """Docker sees only the files of the tree that are copied."""
    assert {source for source in COPIED if not (ROOT / source).exists()} == set()
    assert sorted(COPIED) == sorted(line.removeprefix("!") for line in IGNORED if line.startswith("!"))


def test_user_and_python_match_the_chart() -> None:
    """User and group are those of the chart, and the package supports the Python version."""
    [user] = re.findall(r"^USER (\d+):(\d+)$", TEXT, re.MULTILINE)
    [version] = re.findall(r"^ARG PYTHON=(.+)$", TEXT, re.MULTILINE)

    context = loaded(CHART / "values.yaml")["podSecurityContext"]
    assert user == (str(context["runAsUser"]), str(context["runAsGroup"]))
    assert f"Python :: {version}" in (ROOT / "pyproject.toml").read_text()


def test_entry_point() -> None:
    """The container's command is the one that the package installs."""
    [words] = re.findall(r"^ENTRYPOINT (.+)$", TEXT, re.MULTILINE)
    [given] = re.findall(r"^CMD (.+)$", TEXT, re.MULTILINE)
    command = [Path(sys.executable).parent / json.loads(words)[-1], *json.loads(given)]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout.startswith("Usage: betrace")


def test_installed_extras_exist() -> None:
    """Each extra that the image installs is one of the package."""
    [extras] = re.findall(r"'\.\[(.+)\]'", TEXT)
    declared = PYPROJECT["project"]["optional-dependencies"]

    assert set(extras.split(",")) <= declared.keys()


def test_every_source_of_the_package_is_copied() -> None:
    """The image gets each package, each file that pyproject.toml names, and the lock."""
    project = PYPROJECT["project"]
    packages = [name.rstrip("*") for name in PYPROJECT["tool"]["setuptools"]["packages"]["find"]["include"]]

    named = [project["readme"], *project["license-files"], *packages]
    assert sorted(["pyproject.toml", "requirements.lock", *named]) == sorted(COPIED)


def test_the_scanner_must_be_compiled() -> None:
    """The build requires the extension modules, which are optional in other installations."""
    extensions = PYPROJECT["tool"]["setuptools"]["ext-modules"]

    names = ", ".join(extension["name"] for extension in extensions)
    assert f"RUN /opt/betrace/bin/python -c 'import {names}'\n" in TEXT
    assert all(extension["optional"] is True for extension in extensions)
