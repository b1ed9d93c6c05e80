"""The image, as far as it can be tried without Docker: what is copied is enough to build BeTrace with its scanner."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.helm.chart import CHART, loaded

ROOT = CHART.parent
TEXT = (CHART / "Dockerfile").read_text()
IGNORED = (CHART / "Dockerfile.dockerignore").read_text().split()
COPIED = [source for line in re.findall(r"^COPY (?!--from)(.+)$", TEXT, re.MULTILINE) for source in line.split()[:-1]]
"""What comes out of the tree."""


def test_what_is_copied_is_not_ignored() -> None:
    """Docker sees of the tree what is copied, and nothing else."""
    assert {source for source in COPIED if not (ROOT / source).exists()} == set()
    assert sorted(COPIED) == sorted(line.removeprefix("!") for line in IGNORED if line.startswith("!"))


def test_it_runs_as_the_chart_says() -> None:
    """User and group are those of the chart, and the Python one that the package supports."""
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


def test_the_extras_are_there() -> None:
    """Each extra that the image installs is one of the package."""
    [extras] = re.findall(r"'\.\[(.+)\]'", TEXT)
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    assert set(extras.split(",")) <= declared.keys()


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler to build the scanner with")
def test_what_is_copied_builds_the_scanner(tmp_path: Path) -> None:
    """A wheel of the copied files alone has the compiled scanner, and every file of the packages."""
    (tmp_path / "source").mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "_scan*.c", "_scan*.so")
    for source in COPIED:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, tmp_path / "source" / source, ignore=ignored)
        else:
            shutil.copy(ROOT / source, tmp_path / "source")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        tmp_path,
        tmp_path / "source",
    ]

    subprocess.run(command, check=True)

    [wheel] = tmp_path.glob("*.whl")
    names = {*zipfile.ZipFile(wheel).namelist()}
    assert [name for name in names if re.fullmatch(r"streams/_scan\..*so", name)]
    wanted = {str(path.relative_to(ROOT)) for name in ("dsl", "topics") for path in (ROOT / name).rglob("*.*")}
    assert {name for name in wanted if "__pycache__" not in name} <= names
