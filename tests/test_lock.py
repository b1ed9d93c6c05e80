"""What is installed: the versions and hashes of requirements.lock, by Make and in the image."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support import paths

ROOT = paths.ROOT
LOCK = (ROOT / "requirements.lock").read_text()
LOCKED = re.findall(r"^([a-z0-9._-]+)==([^ ]+)", LOCK, re.MULTILINE)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = [
    requirement
    for texts in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for requirement in map(Requirement, texts)
    if requirement.name != "betrace"
]
BIN = Path(sys.executable).parent
UV = shutil.which("uv") or BIN / "uv"
BACKEND = "from streams.decode import backend; print(backend.selected_backend().value)"


def run(*words: str | Path, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command that has ended."""
    return subprocess.run(
        words, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=500
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The tree as a clone has it, with nothing installed or built."""
    place = tmp_path / "clone"
    for name in ("dsl", "topics", "streams"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("*.so", "*.c", "__pycache__"))
    for name in ("pyproject.toml", "requirements.lock", "Makefile", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, place)
    return place


def test_each_dependency_is_locked_at_an_allowed_version() -> None:
    """The lock has a version of every dependency of every extra, and pyproject.toml allows it."""
    wrong = [
        str(requirement)
        for requirement in DECLARED
        if [] == (versions := [version for name, version in LOCKED if name == canonicalize_name(requirement.name)])
        or not all(requirement.specifier.contains(version, prereleases=True) for version in versions)
    ]

    assert [] == wrong


def test_lock_has_a_hash_for_each_package_and_names_no_host() -> None:
    """Each package has hashes; the installer decides where to download it from."""
    hashed = re.findall(r"^([a-z0-9._-]+)==[^\n]*\\\n +--hash=sha256:[0-9a-f]{64}", LOCK, re.MULTILINE)

    assert [name for name, _ in LOCKED] == hashed
    assert [] == re.findall(r"://|^-[^\n]*", LOCK, re.MULTILINE)


def test_git_ignores_the_lock_that_names_its_registry() -> None:
    """`make lock` leaves uv.lock, which contains the registry's address."""
    done = run("git", "check-ignore", "uv.lock")

    assert done.returncode == 0 or not os.path.lexists(ROOT / ".git")


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_lock_is_complete_for_every_supported_python(version: str) -> None:
    """Every direct and indirect dependency of development has its version in the lock."""
    words = ["--quiet", "--all-extras", "--no-header", "--no-annotate", "--constraint", "requirements.lock"]

    done = run(UV, "pip", "compile", *words, "--python-version", version, "pyproject.toml")

    needed = {line.partition(" ")[0] for line in done.stdout.splitlines()}
    assert "" == done.stderr
    assert set() == needed - {f"{name}=={version}" for name, version in LOCKED}
    assert len(needed) > 100


def test_package_with_another_hash_is_refused(clone: Path, tmp_path: Path) -> None:
    """Make refuses a package whose hash differs from the one in the lock."""
    damaged = tmp_path / "damaged.lock"
    damaged.write_text(re.sub(r"sha256:.{8}", "sha256:00000000", LOCK))

    done = run(
        *("make", f"PYTHON={sys.executable}", f"UV={UV}", f"LOCK={damaged}", ".venv/demo-ready"),
        cwd=clone,
        UV_CACHE_DIR=str(tmp_path / "cache"),
    )

    assert 2 == done.returncode
    assert "Hash mismatch" in done.stderr


def test_image_installs_what_was_locked(tmp_path: Path) -> None:
    """Every package that the Dockerfile installs, except BeTrace, has its version from the lock."""
    text = (ROOT / "helm" / "Dockerfile").read_text().replace("\\\n", " ")
    [install] = re.findall(r"uv (pip install .+)$", text, re.MULTILINE)
    run(UV, "venv", "--python", sys.executable, tmp_path / "venv")
    command = install.replace("/opt/betrace", str(tmp_path / "venv"))

    done = run(UV, *shlex.split(command), "--dry-run")

    chosen = set(re.findall(r"^ \+ (\S+==\S+)$", done.stderr, re.MULTILINE))
    assert 0 == done.returncode, done.stderr
    assert set() == chosen - {f"{name}=={version}" for name, version in LOCKED} - {"betrace==0.1.0"}
    assert {"duckdb", "s3fs", "opentelemetry-sdk"} <= {each.partition("==")[0] for each in chosen}


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler here")
def test_demo_needs_no_compiler_and_development_has_the_extension(clone: Path) -> None:
    """An installation for the demo decodes with Python; one for development, made after it, uses the extension."""
    make = ("make", f"PYTHON={sys.executable}", f"UV={UV}")
    python = clone / ".venv" / "bin" / "python"

    demo = run(*make, ".venv/demo-ready", cwd=clone)
    asked = run(clone / ".venv" / "bin" / "betrace", "--version", cwd=clone)
    for_demo = run(python, "-c", BACKEND, cwd=clone)
    development = run(*make, ".venv/ready", cwd=clone)
    for_development = run(python, "-c", BACKEND, cwd=clone)

    assert (0, 0) == (demo.returncode, development.returncode), demo.stderr + development.stderr
    assert f"{PROJECT['version']}\n" == asked.stdout
    assert ("pure\n", "cython\n") == (for_demo.stdout, for_development.stdout)
