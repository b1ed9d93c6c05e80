"""Acts of retention: what of the trail was put under hold, released and removed, as a chain of signed notes.

    retention/000007.note    act 7: a signed note (`streams.evidence.ledger.notes`) of three lines: the log's
                             origin, the word retention, and JSON of `Act`

In: a storage of evidence, and the ledger's key. Out: notes there, each of which names the one before it by its hash.
What must hold: whoever removes, changes or forges an act is found, but for the last ones: their end is known only to
whoever keeps a copy, as with the log itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from streams.errors import StateError
from streams.evidence.ledger import notes
from streams.evidence.ledger.findings import Fault, Finding
from streams.evidence.ledger.notes import NoteError, Signer, Verifier
from streams.evidence.ledger.storage import RETENTION, Storage

SCHEMA = 1
_WORD = "retention"


class Hold(msgspec.Struct, frozen=True, tag_field="kind", tag="hold"):
    """What happened or was received in `[from_ms, to_ms)` is not removed until the hold is released."""

    from_ms: int
    to_ms: int
    reason: str


class Release(msgspec.Struct, frozen=True, tag_field="kind", tag="release"):
    """The hold with this act's number ends."""

    hold: int
    reason: str


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the trail, its manifest, and the time of what was in it: from `first_ms` up to and with `last_ms`."""

    manifest: int
    manifest_sha256: str
    file: str
    file_sha256: str
    rows: int
    first_ms: int
    last_ms: int

    def is_held_by(self, hold: Hold) -> bool:
        """Anything in the file is of the time of the hold."""
        return self.first_ms < hold.to_ms and self.last_ms >= hold.from_ms


class Removal(msgspec.Struct, frozen=True, tag_field="kind", tag="removal"):
    """The files were removed: everything in them was sealed before `before_ms`."""

    before_ms: int
    files: list[Removed]


What: TypeAlias = Hold | Release | Removal


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """One act; `previous` is the SHA-256 of the note before it in hex, None for the first."""

    schema: int = SCHEMA
    number: int
    previous: str | None
    time_ms: int
    what: What


@dataclass(frozen=True, slots=True)
class Noted:
    """An act as it was read: its note, and the hash of the note's bytes."""

    act: Act
    note: notes.Note
    sha256: str


def path(number: int) -> str:
    """Where act `number` is.

    >>> path(7)
    'retention/000007.note'
    """
    return f"{RETENTION}/{number:06}.note"


def read(store: Storage, number: int) -> Noted:
    """An act, nothing verified; raises `OSError`, `NoteError`, `msgspec.DecodeError`."""
    content = store.read(path(number))
    note = notes.decode(content)
    _, word, text, _ = [*note.text.split("\n"), "", "", ""][:4]
    if word != _WORD:
        raise NoteError("it is no act of retention")
    try:
        act = msgspec.json.decode(text, type=Act)
    except RecursionError as error:  # msgspec does not make it one of its own
        raise msgspec.DecodeError(f"no JSON that can be read: {error}") from error
    if act.schema != SCHEMA:
        raise msgspec.DecodeError(f"act schema {act.schema}, this program reads {SCHEMA}: upgrade it first")
    return Noted(act, note, hashlib.sha256(content).hexdigest())


def count(store: Storage) -> int:
    """How many acts there are, or would be without holes."""
    numbers = [int(stem) for name in store.names(RETENTION) if (stem := name.removesuffix(".note")).isdecimal()]
    return max(numbers, default=-1) + 1


def read_all(store: Storage, verifiers: Sequence[Verifier] | None = None) -> list[Noted]:
    """All acts in order; with `verifiers` each is found signed and in its place.

    Raises:
        StateError: one is missing, damaged, or signed by none of the keys.
    """
    try:
        found = [read(store, number) for number in range(count(store))]
    except (OSError, NoteError, msgspec.DecodeError) as error:
        raise StateError(f"the acts of retention cannot be read: {error}", action="run betrace audit verify") from error
    if verifiers is not None and (wrong := next(findings(store, verifiers), None)):
        raise StateError(wrong.text(), action="give the keys that signed it with --key, or run betrace audit verify")
    return found


def append(store: Storage, what: What, now_ms: int, signers: Sequence[Signer], done: Sequence[Noted]) -> int:
    """Does the act after those that are `done`, and returns its number: it is on storage then.

    Raises:
        StateError: another one was done since, such as a hold that a removal did not know of.
    """
    number, previous = len(done), done[-1].sha256 if done else None
    act = Act(number=number, previous=previous, time_ms=now_ms, what=what)
    text = f"{signers[0].name}\n{_WORD}\n{msgspec.json.encode(act).decode()}\n"
    try:
        store.create(path(number), notes.sign(text, signers).encode())
    except FileExistsError as error:
        raise StateError(f"{path(number)} was made by another one at the same time", action="try again") from error
    return number


def holds(found: Sequence[Noted]) -> dict[int, Hold]:
    """The holds in force after these acts, by number."""
    in_force: dict[int, Hold] = {}
    for noted in found:
        what = noted.act.what
        if isinstance(what, Hold):
            in_force[noted.act.number] = what
        elif isinstance(what, Release):
            in_force.pop(what.hold, None)
    return in_force


def removed(found: Sequence[Noted]) -> dict[str, Removed]:
    """What these acts removed, by file."""
    return {each.file: each for noted in found if isinstance(noted.act.what, Removal) for each in noted.act.what.files}


def findings(store: Storage, verifiers: Sequence[Verifier]) -> Iterator[Finding]:
    """What is wrong with the acts: one is missing, changed, not signed, or removed what was under hold."""
    before: list[Noted] = []
    previous: str | None = None
    for number in range(count(store)):
        try:
            noted = read(store, number)
        except FileNotFoundError:
            yield Finding(path(number), Fault.MISSING, "the act is not there")
            return
        except (OSError, NoteError, msgspec.DecodeError) as error:
            yield Finding(path(number), Fault.CHANGED, f"it cannot be read: {error}")
            return
        yield from _check(noted, number, previous, verifiers)
        yield from _check_holds(noted, holds(before))
        before.append(noted)
        previous = noted.sha256
    for name in store.names(RETENTION):
        if f"{RETENTION}/{name}" not in {path(number) for number in range(len(before))}:
            yield Finding(f"{RETENTION}/{name}", Fault.UNKNOWN, "it is no act of retention")


def _check(noted: Noted, number: int, previous: str | None, verifiers: Sequence[Verifier]) -> Iterator[Finding]:
    if noted.act.number != number or noted.act.previous != previous:
        yield Finding(path(number), Fault.CHANGED, "it does not follow from the act before it")
    try:
        by = {key.name for key in notes.verified(noted.note, verifiers)}
    except NoteError as error:
        yield Finding(path(number), Fault.UNSIGNED, str(error))
        return
    if noted.note.text.split("\n")[0] not in by:
        yield Finding(path(number), Fault.UNSIGNED, "it is signed by no key of its log that is known")


def _check_holds(noted: Noted, in_force: dict[int, Hold]) -> Iterator[Finding]:
    what = noted.act.what
    for each in what.files if isinstance(what, Removal) else ():
        for number, hold in in_force.items():
            if each.is_held_by(hold):
                message = f"it removed {each.file}, which hold {number} was to keep"
                yield Finding(path(noted.act.number), Fault.CHANGED, message)
