"""Tests the trail's files beside the evidence."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.errors import StateError
from streams.evidence.audit import archive
from streams.evidence.ledger.storage import Directory
from streams.evidence.ledger.verify import Verification
from tests.support import threads, trails
from tests.support.evidence import SIGNER

SEALS = 150


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Evidence with two files of the trail, and seals after them."""
    root = tmp_path_factory.mktemp("evidence")
    archive.advance(trails.make(root, SEALS), SEALS)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    shutil.copytree(made, tmp_path / "copy")
    for path in (tmp_path / "copy").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return tmp_path / "copy"


def found(root: Path) -> list[str]:
    """Returns what verification finds."""
    return [finding.text() for finding in archive.findings(Directory(root), SEALS, {})]


def test_files_hold_what_was_sealed(made: Path) -> None:
    """Each file is named by its manifest, which follows the one before; the evidence itself is unchanged."""
    chained = [archive.read(Directory(made), number) for number in (0, 1)]

    assert [(0, 60, 55), (60, 120, 54)] == [
        (one.manifest.first_seal, one.manifest.end_seal, one.manifest.rows) for one in chained
    ]
    assert [None, chained[0].sha256] == [one.manifest.previous for one in chained]
    assert [] == found(made)
    assert [] == [*Verification(Directory(made), [SIGNER.verifier()]).findings()]


def test_no_thread_outlives_verification(made: Path) -> None:
    """Verification leaves no thread that could abort the process while it ends."""
    imports = (
        "from pathlib import Path\n"
        "from streams.evidence.audit import archive\n"
        "from streams.evidence.ledger.storage import Directory"
    )

    count = threads.started(imports, f"assert [] == [*archive.findings(Directory(Path({str(made)!r})), {SEALS}, {{}})]")

    assert 0 == count


def test_existing_files_are_not_created_again(root: Path) -> None:
    """Existing files are not created again."""
    assert 0 == archive.advance(Directory(root), SEALS)


@pytest.mark.parametrize("lost", [["007"], ["001.json"], ["001"]])
def test_killed_archiver_is_continued(made: Path, root: Path, lost: list[str]) -> None:
    """If killed between a file and its manifest, or before both, the next run creates the same files."""
    for name in lost:
        for path in (root / "audit").rglob(f"{name}*"):
            path.unlink()

    archive.advance(Directory(root), SEALS)

    names = sorted(path.relative_to(made) for path in (made / "audit").rglob("*.*"))
    assert [(made / name).read_bytes() for name in names] == [(root / name).read_bytes() for name in names]


def test_existing_file_with_other_content_is_an_error(root: Path) -> None:
    """An existing file with other content raises an error."""
    [first, second] = sorted((root / "audit").rglob("*.parquet"))
    shutil.copy(first, second)
    next((root / "audit").rglob("001.json")).unlink()

    with pytest.raises(StateError, match="already exists with other records"):
        archive.advance(Directory(root), SEALS)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def _swap(path: Path) -> None:
    [one, other] = sorted(path.parent.glob(f"*{path.suffix}"))
    first = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(first)


@pytest.mark.parametrize(
    "damage", [_flip, Path.unlink, _swap, lambda path: shutil.copy(path, path.with_name("x.parquet"))]
)
@pytest.mark.parametrize("suffix", [".json", ".parquet"])
def test_any_damage_is_found(root: Path, damage: Callable[[Path], object], suffix: str) -> None:
    """A file that is changed, missing, swapped, or without a manifest is found."""
    damage(min((root / "audit").rglob(f"*{suffix}")))

    assert [] != found(root)


def test_each_byte_of_the_trail_counts(tmp_path: Path) -> None:
    """A change of any byte of any manifest, even the last one, or of any file is found."""
    archive.advance(trails.make(tmp_path, 121, count=2), 121)
    unseen = []
    for path in sorted(path for path in (tmp_path / "audit").rglob("*") if path.is_file()):
        path.chmod(0o644)
        content = path.read_bytes()
        # Every byte of a file goes into one hash.
        for at in range(0, len(content), 1 if path.suffix == ".json" else 97):
            path.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
            if not [*archive.findings(Directory(tmp_path), 121, {})]:
                unseen.append((path.name, at))
        path.write_bytes(content)

    assert [] == unseen
    assert [] == [*archive.findings(Directory(tmp_path), 121, {})]


def test_missing_end_of_the_chain_is_found(root: Path) -> None:
    """Records that were sealed long ago and are in no file are reported."""
    for path in (root / "audit").rglob("001*"):
        path.unlink()

    assert any("records of seals from 60 on are in no file" in text for text in found(root))
