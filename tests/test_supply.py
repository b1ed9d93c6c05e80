"""What BeTrace is made of: the list of it, and the look for known vulnerabilities."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

from tests.support import paths

ROOT = paths.ROOT


def make(*words: str) -> str:
    """What a target prints."""
    command = ["make", "--no-print-directory", "-o", ".venv/ready", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_sbom_lists_each_dependency(tmp_path: Path) -> None:
    """`make sbom` describes the packages of these tests as CycloneDX: BeTrace with all its dependencies."""
    written = tmp_path / "sbom.json"

    make("sbom", f"PRODUCT={sys.prefix}", f"SBOM={written}", "-o", f"{sys.prefix}/ready")

    found = json.loads(written.read_text())
    parts = {part["name"].lower().replace("_", "-"): part.get("version") for part in found["components"]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {text.split(">")[0].split("[")[0] for text in project["dependencies"]}
    assert ("CycloneDX", "betrace", "application") == (
        found["bomFormat"],
        found["metadata"]["component"]["name"],
        found["metadata"]["component"]["type"],
    )
    assert {name: version(name) for name in names} == {name: parts.get(name) for name in names}


def test_git_ignores_the_sbom() -> None:
    """Git ignores the file that `make sbom` writes."""
    done = subprocess.run(["git", "check-ignore", "build/sbom.json"], cwd=ROOT, capture_output=True, check=False)

    assert done.returncode == 0 or not os.path.lexists(ROOT / ".git")


def test_audit_fails_without_an_answer(tmp_path: Path) -> None:
    """`make audit` fails if it gets no answer about a package of the product."""
    uv = tmp_path / "uv"
    uv.write_text("#!/bin/sh\necho click==8.2.0\n")
    uv.chmod(0o755)
    nobody = {"HTTPS_PROXY": "http://127.0.0.1:1", "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = ["make", "-o", ".venv/ready", "-o", f"{tmp_path}/ready", "audit", f"PRODUCT={tmp_path}", f"UV={uv}"]

    done = subprocess.run(command, cwd=ROOT, env=os.environ | nobody, capture_output=True, text=True, check=False)

    assert 0 != done.returncode
    assert "127.0.0.1" in done.stderr
