"""Tests what retention removes, and what it must not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from streams.errors import StateError
from streams.evidence.audit import acts, archive, retention, trail
from streams.evidence.audit.acts import Hold, Release
from streams.evidence.ledger import notes
from streams.evidence.ledger.notes import Signer
from streams.evidence.ledger.storage import Directory
from tests.support import trails
from tests.support.evidence import ORIGIN, SIGNER, START_MS
from tests.support.trails import MINUTE_MS

SEALS = 190
NOW_MS = START_MS + 1000 * MINUTE_MS
VERIFIERS = [SIGNER.verifier()]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Evidence with three files of the trail, an hour each."""
    root = tmp_path_factory.mktemp("evidence")
    archive.advance(trails.make(root, SEALS), SEALS)
    return root


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Directory:
    """A copy of it."""
    shutil.copytree(made, tmp_path / "copy")
    return Directory(tmp_path / "copy")


def retain(store: Directory, before: int, *, is_dry: bool = False) -> retention.Retained:
    """Removes what was sealed before a minute."""
    before_ms = START_MS + before * MINUTE_MS
    return retention.retain(store, before_ms, NOW_MS, [SIGNER], acts.read_all(store, VERIFIERS), is_dry=is_dry)


def act(store: Directory, what: acts.What, signer: Signer = SIGNER) -> None:
    """Appends an act after all others."""
    acts.append(store, what, NOW_MS, [signer], acts.read_all(store))


def there(store: Directory) -> list[int]:
    """Returns the numbers of the existing files."""
    return [int(name[:3]) for name in store.names("audit/000/000") if name.endswith(".parquet")]


def wrong(store: Directory) -> list[str]:
    """Returns what verification finds."""
    found = [finding.text() for finding in acts.findings(store, VERIFIERS)]
    gone = {} if found else acts.removed(acts.read_all(store))
    return found + [finding.text() for finding in archive.findings(store, SEALS, gone)]


@pytest.mark.parametrize(("before", "left"), [(0, [0, 1, 2]), (59, [0, 1, 2]), (60, [1, 2]), (150, [2]), (999, [])])
def test_only_completely_old_files_are_removed(store: Directory, before: int, left: list[int]) -> None:
    """A file is removed once its last record was sealed before the time; the chain still verifies."""
    retain(store, before)

    assert left == there(store)
    assert [] == wrong(store)


def test_a_dry_run_removes_nothing(store: Directory) -> None:
    """A dry run reports the same and removes nothing."""
    found = retain(store, 999, is_dry=True)

    assert [0, 1, 2] == [each.manifest for each in found.removed] == there(store)
    assert 0 == acts.count(store)


def test_act_records_the_removed_files(store: Directory) -> None:
    """The act records a removed file, its times, and its number of records."""
    manifest = archive.read(store, 0)

    [each] = retain(store, 100).removed

    assert [each] == [*acts.removed(acts.read_all(store, VERIFIERS)).values()]
    assert (manifest.sha256, manifest.manifest.file_sha256, 55) == (each.manifest_sha256, each.file_sha256, each.rows)
    assert (START_MS, START_MS + 59 * MINUTE_MS) == (each.first_ms, each.last_ms)


@pytest.mark.parametrize(("hold", "left"), [((0, 1), [0]), ((59, 60), [0]), ((60, 61), [1]), ((30, 130), [0, 1, 2])])
def test_files_under_hold_are_kept(store: Directory, hold: tuple[int, int], left: list[int]) -> None:
    """A file with anything from the period of a hold is kept, however old it is, until the hold is released."""
    bounds = [START_MS + minute * MINUTE_MS for minute in hold]
    act(store, Hold(bounds[0], bounds[1], "case 4711"))

    found = retain(store, 999)

    assert left == there(store) == [each.manifest for each, number in found.held if number == 0]
    assert [] == wrong(store)
    act(store, Release(0, "closed"))
    retain(store, 999)
    assert [] == there(store)
    assert [] == wrong(store)


def test_killed_removal_is_completed(store: Directory, made: Path) -> None:
    """If killed between the act and the files, the next run removes them, without an act of its own."""
    retain(store, 100)
    file = archive.read(store, 0).manifest.file
    shutil.copy(made / file, store.path(file))

    retain(store, 100)

    assert [1, 2] == there(store)
    assert 1 == acts.count(store)


def test_a_file_that_was_changed_is_not_removed(store: Directory) -> None:
    """A file that was tampered with is evidence of that, and kept."""
    path = store.path(archive.read(store, 0).manifest.file)
    path.chmod(0o644)
    path.write_bytes(b"other")

    with pytest.raises(StateError, match="does not match its manifest"):
        retain(store, 999)


def test_remaining_files_are_verified_after_a_removal(store: Directory) -> None:
    """Removed files are not reported as missing, and everything else is checked."""
    with trail.opened(store) as database:
        [before] = database.execute("SELECT count(*) FROM audit_spans WHERE seal >= 60").fetchall()

    retain(store, 100)

    with trail.opened(store) as database:
        [after] = database.execute("SELECT count(*) FROM audit_spans").fetchall()
    assert before == after


def test_a_forged_removal_hides_nothing(store: Directory) -> None:
    """An existing file is queried, whatever an act claims."""
    planned = retention.plan(store, NOW_MS, [])
    with trail.opened(store) as database:
        [before] = database.execute("SELECT count(*) FROM audit_spans").fetchall()

    act(store, acts.Removal(NOW_MS, planned.removed), Signer.generated(ORIGIN))

    with trail.opened(store) as database:
        assert [before] == database.execute("SELECT count(*) FROM audit_spans").fetchall()


def test_missing_file_without_an_act_is_found(store: Directory) -> None:
    """Only files that an act names may be missing."""
    retain(store, 100)

    store.path(archive.read(store, 1).manifest.file).unlink()

    assert any("000/001.json: missing" in text for text in wrong(store))


def test_missing_act_is_found(store: Directory) -> None:
    """Without the act the file that it removed is reported as missing."""
    retain(store, 100)

    store.path(acts.path(0)).unlink()

    assert any("000/000.json: missing" in text for text in wrong(store))


def test_each_byte_of_an_act_counts(store: Directory) -> None:
    """A change of any byte is found."""
    act(store, Hold(START_MS, NOW_MS, "case 4711"))
    path = store.path(acts.path(0))
    path.chmod(0o644)
    content = path.read_bytes()
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])

        assert [] != wrong(store), at


def test_acts_follow_one_another(store: Directory) -> None:
    """An act that is removed or swapped is found."""
    for reason in ("first", "second", "third"):
        act(store, Hold(START_MS, NOW_MS, reason))
    paths = [store.path(acts.path(number)) for number in range(3)]
    contents = [path.read_bytes() for path in paths]
    assert [] == wrong(store)

    for path, content in zip(paths[:2], reversed(contents[:2]), strict=True):
        path.chmod(0o644)
        path.write_bytes(content)

    assert any("does not follow" in text for text in wrong(store))
    paths[1].unlink()
    assert any("000001.note: missing" in text for text in wrong(store))


def test_a_forged_release_ends_no_hold(store: Directory) -> None:
    """An act by another key stops retention, and is found."""
    act(store, Hold(START_MS, NOW_MS, "case 4711"))
    act(store, Release(0, "forged"), Signer.generated(ORIGIN))

    with pytest.raises(StateError, match="not signed by a known key of its log"):
        retain(store, 999)

    assert [0, 1, 2] == there(store)
    assert any("000001.note: not signed" in text for text in wrong(store))


def test_a_removal_under_hold_is_found(store: Directory) -> None:
    """It is found even if the ledger's own key signed it."""
    planned = retention.plan(store, START_MS + 100 * MINUTE_MS, [])
    act(store, Hold(START_MS, NOW_MS, "case 4711"))

    act(store, acts.Removal(NOW_MS, planned.removed))

    assert any("which hold 0 protects" in text for text in wrong(store))


def test_concurrent_hold_stops_a_removal(store: Directory) -> None:
    """A removal that was planned before the hold was made is refused as a whole."""
    done = acts.read_all(store, VERIFIERS)
    act(store, Hold(START_MS, NOW_MS, "case 4711"))

    with pytest.raises(StateError, match="by another process at the same time"):
        retention.retain(store, NOW_MS, NOW_MS, [SIGNER], done, is_dry=False)

    assert [0, 1, 2] == there(store)


def test_hostile_acts_are_only_findings(store: Directory) -> None:
    """Whatever the file contains, nothing is raised, and everything is found."""
    deep = notes.sign(f"{ORIGIN}\nretention\n{'[' * 100_000}\n", [SIGNER]).encode()
    other = notes.sign(f"{ORIGIN}\n1\n2\n", [SIGNER]).encode()
    newer = notes.sign(f'{ORIGIN}\nretention\n{{"schema":2,"number":0,"previous":null}}\n', [SIGNER]).encode()
    for content in (b"", b"\xff", deep, other, newer):
        store.create(acts.path(0), content)

        assert [acts.path(0)] == [finding.location for finding in acts.findings(store, VERIFIERS)]

        store.remove(acts.path(0))
    store.create("retention/notes.txt", b"")
    assert ["retention/notes.txt"] == [finding.location for finding in acts.findings(store, VERIFIERS)]
