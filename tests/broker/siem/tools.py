"""Runs what reads signals, with the configuration that the package ships.

In: a shipped configuration and what is another here: addresses, topics, directories. Out: a running program, and the
lines it writes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

from tests.support import paths

SHIPPED = paths.ROOT / "topics"
STOP_S = 30
WAIT_S = 60
LOOK_EVERY_S = 0.1

RSYSLOG_MODULES = ("/usr/lib/*/rsyslog/imkafka.so", "/usr/lib64/rsyslog/imkafka.so")

_Found = TypeVar("_Found")


def configured(shipped: str, directory: Path, here: Mapping[str, str]) -> Path:
    """A copy of a shipped configuration in which each text of `here` is replaced; each must occur."""
    text = (SHIPPED / shipped).read_text()
    for there, instead in here.items():
        assert there in text, f"{shipped} does not say {there}"
        text = text.replace(there, instead)
    path = directory / Path(shipped).name
    path.write_text(text)
    return path


def rsyslogd() -> str | None:
    """The path of rsyslogd; None when it, or its Kafka module, is not installed."""
    has_module = any(list(Path("/").glob(pattern.lstrip("/"))) for pattern in RSYSLOG_MODULES)
    return shutil.which("rsyslogd", path="/usr/sbin:/usr/bin:/sbin") if has_module else None


@contextmanager
def started(command: Sequence[str | Path]) -> Iterator[Callable[[], str]]:
    """The command for the length of a with-block, then told to stop; yields a function that tells what it said.

    Raises `RuntimeError` with that when it ends by itself, or badly.
    """
    with tempfile.TemporaryFile("w+") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield lambda: _text(log)
            if child.poll() is not None:
                raise RuntimeError(f"{command[0]} ended with {child.returncode}: {_text(log)}")
            child.terminate()
            if child.wait(STOP_S):
                raise RuntimeError(f"{command[0]} ended with {child.returncode}: {_text(log)}")
        finally:
            child.kill()
            child.wait()


def wait_for(look: Callable[[], list[_Found]], count: int, said: Callable[[], str]) -> list[_Found]:
    """What `look` finds once it is at least `count`; fails with what the program said when that takes too long."""
    deadline_s = time.monotonic() + WAIT_S
    while len(found := look()) < count:
        assert time.monotonic() < deadline_s, f"{len(found)} of {count} came in {WAIT_S} s: {said()}"
        time.sleep(LOOK_EVERY_S)
    return found


def lines(path: Path) -> list[bytes]:
    """The whole lines of a file that is being written; none when it is not there yet."""
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def bodies(path: Path) -> list[bytes]:
    """The bodies of the log records in a file of OTLP/JSON requests."""
    return [
        record["body"]["stringValue"].encode()
        for line in lines(path)
        for resource in json.loads(line)["resourceLogs"]
        for scope in resource["scopeLogs"]
        for record in scope["logRecords"]
    ]


def _text(log: IO[str]) -> str:
    log.seek(0)
    return log.read()[-4000:]
