"""The store of a facts partition, and what is not taken from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace
from rocksdict import Rdict

from streams.errors import StateError
from streams.windows.chain import Chain, EndedChain, LastVerdict, SourceRange, Window
from streams.windows.clock import SourceProgress
from streams.windows.facts import AtomFacts
from streams.windows.positions import Position, ResumePoint, StoredProgress
from streams.windows.presence import Presence, Presences
from streams.windows.rocksdb import FORMAT, Identity, Store, read_position
from streams.windows.rule_times import ProjectedWith, RuleTimes
from streams.windows.sessions import LostTime
from streams.windows.store_faults import DamagedError, delete
from streams.windows.tiers import Tiers
from tests.support.builders import ATOM, BOUNDS, TRACE, fact, trace_id

IDENTITY = Identity(FORMAT, "cluster", "topic", "30000/600000/3600000")
LOST = LostTime("otlp_spans", 1, 100, None)
RULE_TIMES = RuleTimes([ProjectedWith("otlp_spans", 0, "set")], {"rule": 5})
POSITION = Position(
    next_offset=9,
    applied_tick=70,
    buffered_from_offset=8,
    generation=2,
    resume_points=[
        ResumePoint(facts_offset=7, clock_ms=None, generation=1, progress=[], lost=[], rules=RuleTimes()),
        ResumePoint(
            facts_offset=9,
            clock_ms=7_000,
            generation=2,
            progress=[
                StoredProgress(
                    "otlp_spans",
                    0,
                    SourceProgress(
                        epoch=1, applied_to=12, watermark_ms=7_000, partition_count=2, replay=5, generation=2
                    ),
                )
            ],
            lost=[LOST],
            rules=RULE_TIMES,
        ),
    ],
    ended_chains=[EndedChain(TRACE, 5, 9, 3, 7), EndedChain(trace_id("b"), 5, 9, 8, 8)],
)


def chain() -> Chain:
    """Create a chain with every field set."""
    facts = AtomFacts()
    facts.add(fact(start_ns=None), 3, 1)
    return Chain(
        first=1,
        last=9,
        required_offset=4,
        due=19,
        headless=True,
        input_lost=True,
        window=Window(5, 9, 3, root_seen=True),
        facts={ATOM: facts},
        last_verdicts={"rule": LastVerdict("broken", 2, 400)},
        sources=[SourceRange("otlp_spans", 0, 4, 11)],
    )


def write(
    store: Store, chains: Mapping[bytes, Chain | None], position: Position, presences: Presences | None = None
) -> None:
    """Write a step in which these chains changed; None stands for a removed chain."""
    found = Tiers(store.chain_table, memory_per_stored_byte=1, filter_bytes=8)
    for trace, each in chains.items():
        if each is None:
            found.restore(trace, stored(store)[trace], 1)
            found.remove(trace)
        else:
            found.put(trace, each)
    store.write(found, position, presences or Presences(BOUNDS))


def stored(store: Store) -> dict[bytes, Chain]:
    """Return the chains in a store."""
    return dict(store.chains())


def test_new_store_is_empty(tmp_path: Path) -> None:
    """A new store has no position and no chains."""
    with Store(tmp_path / "deep" / "store", IDENTITY) as store:
        found = (store.position(), stored(store))

    assert (None, {}) == found


def test_everything_written_is_read_back(tmp_path: Path) -> None:
    """Everything written is read back after the store was closed."""
    with Store(tmp_path / "store", IDENTITY) as store:
        write(store, {TRACE: chain()}, POSITION)

    with Store(tmp_path / "store", IDENTITY) as store:
        found = (store.position(), stored(store))

    assert (POSITION, {TRACE: chain()}) == found


def test_only_what_changed_is_written(tmp_path: Path) -> None:
    """A step writes the chains that changed, deletes the removed ones and leaves the others."""
    gone, kept, other = map(trace_id, ("gone", "kept", "other"))
    with Store(tmp_path / "store", IDENTITY) as store:
        write(store, dict.fromkeys((gone, kept, other), chain()), POSITION)

        write(store, {gone: None, other: Chain(3, 4, 0, 9)}, replace(POSITION, next_offset=10))

        assert {kept: chain(), other: Chain(3, 4, 0, 9)} == stored(store)
        assert replace(POSITION, next_offset=10) == store.position()


@pytest.mark.parametrize("trace", [bytes(16), b"\xff" * 16])
def test_any_trace_id(tmp_path: Path, trace: bytes) -> None:
    """Any 16 bytes are a valid key."""
    with Store(tmp_path / "store", IDENTITY) as store:
        write(store, {trace: chain()}, POSITION)

        assert [trace] == list(stored(store))


@pytest.mark.parametrize(
    "other",
    [
        replace(IDENTITY, format=FORMAT + 1),
        replace(IDENTITY, cluster_id="other"),
        replace(IDENTITY, topic_id="other"),
        replace(IDENTITY, bounds="other"),
    ],
)
def test_store_of_another_log_is_deleted(tmp_path: Path, other: Identity) -> None:
    """A store of another log, or with other bounds, is deleted."""
    with Store(tmp_path / "store", other) as store:
        write(store, {TRACE: chain()}, POSITION)

    with Store(tmp_path / "store", IDENTITY) as store:
        found = (store.position(), stored(store))

    assert (None, {}) == found


class Refusing:
    """A database on a disk that refuses writes, with RocksDB's messages."""

    def __init__(self, real: Rdict, said: str) -> None:
        self.real = real
        self._said = said

    def put(self, *_: object) -> None:
        """Refuse as RocksDB does."""
        raise Exception(self._said)  # noqa: TRY002, as rocksdict does

    def close(self) -> None:
        """Refuse the last write as RocksDB does."""
        raise Exception("IO error: Writer has previous error.")  # noqa: TRY002, as rocksdict does


def test_store_in_use(tmp_path: Path) -> None:
    """Opening a store that another worker has open fails with an action."""
    with (
        Store(tmp_path / "store", IDENTITY),
        pytest.raises(StateError, match=r"cannot be opened: .*Action: stop the other worker"),
    ):
        Store(tmp_path / "store", IDENTITY)


def overwritten(pattern: str, at: int, content: bytes) -> Callable[[Path], None]:
    """Overwrite the files of a store with these names."""

    def damage(path: Path) -> None:
        for each in path.glob(pattern):
            old = each.read_bytes()
            each.write_bytes(old[:at] + content + old[at + len(content) :])

    return damage


def removed(pattern: str) -> Callable[[Path], None]:
    """Remove the files of a store with these names."""

    def damage(path: Path) -> None:
        for each in path.glob(pattern):
            each.unlink()

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        overwritten("CURRENT", 0, b"not a manifest"),
        overwritten("MANIFEST*", 0, b"not a manifest"),
        overwritten("*.sst", 8, bytes(16)),
        removed("MANIFEST*"),
        removed("*.sst"),
    ],
)
def test_damaged_store(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """A damaged store is distinguished from one in use and can be deleted; reading its position is no error."""
    path = tmp_path / "store"
    with Store(path, IDENTITY) as store:
        write(store, {TRACE: chain()}, POSITION)
    damage(path)

    looked = read_position(path, IDENTITY)
    with pytest.raises(DamagedError, match="it is damaged"), Store(path, IDENTITY) as store:
        stored(store)
    delete(path)

    assert looked is None
    with Store(path, IDENTITY) as store:
        assert (None, {}) == (store.position(), stored(store))


@pytest.mark.parametrize(
    ("said", "action"),
    [
        ("IO error: No space left on device: While appending to file: a/4.log", "free some space on the disk"),
        ("Read-only file system (os error 30)", "mount the disk read-write"),
        ("IO error: While open a file for appending: a/4.log: Permission denied", "make the directory writable"),
        ("something else", "check the disk"),
    ],
)
def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, action: str) -> None:
    """The message states what to do about the disk, not the store; closing the store afterwards is no error."""
    store = Store(tmp_path / "store", IDENTITY)
    database = Refusing(store.database, said)
    monkeypatch.setattr(store, "database", database)

    with pytest.raises(StateError, match=f"cannot be used: .*Action: {action}"):
        store.put(1, b"")
    store.close()

    database.real.close()


def test_presences_are_restored(tmp_path: Path) -> None:
    """An ongoing presence is restored when the store is opened, an ended one is not."""
    presences = Presences(BOUNDS)
    for trace, tick in ((TRACE, 7), (trace_id("b"), 100)):
        presences.observe(trace, tick, 3, tracks_presence=True)
    with Store(tmp_path / "store", IDENTITY) as store:
        write(store, {}, POSITION, presences)
        presences.expire(100, 4)
        write(store, {}, POSITION, presences)
    with Store(tmp_path / "store", IDENTITY) as store:
        found = dict(store.presences())
        store.clear()
        cleared = dict(store.presences())

    assert (
        {trace_id("b"): Presence(since=100, last=100, first_offset=3, due=101 + BOUNDS.gap + BOUNDS.lateness)},
        {},
    ) == (found, cleared)
