"""What is released: an sdist that anyone can build from, and wheels with the compiled scanner or without."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.support import paths

ROOT = paths.ROOT
SOURCES = {
    f"streams/decode/{path.name}"
    for end in ("pyx", "pxd", "pyi")
    for path in (ROOT / "streams" / "decode").glob(f"*.{end}")
}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTENSIONS = [extension["name"] for extension in PYPROJECT["tool"]["setuptools"]["ext-modules"]]
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
SAYS = "from streams.decode import backend; print(backend.selected_backend().value)"


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with what pyproject.toml asks for to build with, and nothing else."""
    place = tmp_path_factory.mktemp("builder")
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    tools = ["cython>=3.1", "setuptools>=77"]
    subprocess.run([place / "bin" / "python", "-m", "pip", "install", "--quiet", *tools], check=True)
    return place / "bin" / "python"


@pytest.fixture(scope="module")
def sdist(builder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, built from a clean copy of the packages."""
    place = tmp_path_factory.mktemp("sdist")
    for name in ("dsl", "topics", "streams"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("*.so", "*.c", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, place)
    return place / build(builder, place, "build_sdist")[0]


def build(builder: Path, source: Path, kind: str, **environment: str) -> tuple[str, str]:
    """Builds in `source`; returns the name of what was built there, and all that was said."""
    done = subprocess.run(
        [builder, "-c", BUILD, kind, "."],
        cwd=source,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1], done.stdout + done.stderr


def wheel(builder: Path, sdist: Path, place: Path, **environment: str) -> tuple[set[str], str, str]:
    """A wheel built from the sdist: its files, which path decodes where it is unpacked, what was said meanwhile."""
    with tarfile.open(sdist) as archive:
        archive.extractall(place, filter="data")
    source = place / sdist.name.removesuffix(".tar.gz")
    name, said = build(builder, source, "build_wheel", **environment)
    with zipfile.ZipFile(source / name) as archive:
        archive.extractall(place / "unpacked")  # noqa: S202, it was built here
        files = set(archive.namelist())
    # `-P` and no PYTHONPATH but this: the tree that the tests are in must not be what is imported.
    path = {"PYTHONPATH": str(place / "unpacked")}
    chosen = subprocess.run(
        [sys.executable, "-P", "-c", SAYS], cwd=place, env=os.environ | path, capture_output=True, text=True, check=True
    )
    return files, chosen.stdout.strip(), said


def test_sdist_has_the_scanners_sources(sdist: Path) -> None:
    """The sdist has the sources that Cython needs, and nothing that was compiled here."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert SOURCES <= names
    assert [] == [name for name in names if name.endswith((".so", ".c"))]


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler here")
def test_wheel_has_the_compiled_scanner(builder: Path, sdist: Path, tmp_path: Path) -> None:
    """With a C compiler a wheel has the scanner, and uses it."""
    files, chosen, _ = wheel(builder, sdist, tmp_path)

    compiled = [name.partition(".")[0].replace("/", ".") for name in files if name.endswith(".so")]
    assert sorted(EXTENSIONS) == sorted(compiled)
    assert chosen == "cython"


def test_without_a_compiler_python_alone_decodes(builder: Path, sdist: Path, tmp_path: Path) -> None:
    """Without a C compiler the installation succeeds, reports that the scanner is missing, and decodes with Python."""
    files, chosen, said = wheel(builder, sdist, tmp_path, CC=str(tmp_path / "no-compiler"))

    assert [] == [name for name in files if name.endswith(".so")]
    assert [] == [name for name in EXTENSIONS if f'building extension "{name}" failed' not in said]
    assert chosen == "pure"
