"""Records acts of retention as a chain of signed notes: what of the trail was put under hold, released and removed.

    retention/000007.note    act 7: a signed note (`streams.evidence.ledger.notes`) of three lines: the log's
                             origin, the word retention, and JSON of `Act`

In: evidence storage, and the ledger's key. Out: notes there, each of which names the hash of the one before it.
Verification detects that an act was removed, changed or forged. Only a copy kept elsewhere can show that the last ones
were removed, as with the log itself.
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
    """A hold: what happened or was received in `[from_ms, to_ms)` is not removed until the hold is released."""

    from_ms: int
    to_ms: int
    reason: str


class Release(msgspec.Struct, frozen=True, tag_field="kind", tag="release"):
    """The end of the hold with this act's number."""

    hold: int
    reason: str


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """A removed file of the trail, its manifest, and the times in it: from `first_ms` to `last_ms`, both included."""

    manifest: int
    manifest_sha256: str
    file: str
    file_sha256: str
    rows: int
    first_ms: int
    last_ms: int

    def is_held_by(self, hold: Hold) -> bool:
        """Return whether anything in the file is from the period of the hold."""
        return self.first_ms < hold.to_ms and self.last_ms >= hold.from_ms


class Removal(msgspec.Struct, frozen=True, tag_field="kind", tag="removal"):
    """The removal of files in which everything was sealed before `before_ms`."""

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
    """An act as read from storage: its note, and the hash of the note's bytes."""

    act: Act
    note: notes.Note
    sha256: str


def path(number: int) -> str:
    """Return the path of act `number`.

    >>> path(7)
    'retention/000007.note'
    """
    return f"{RETENTION}/{number:06}.note"


def read(store: Storage, number: int) -> Noted:
    """Return an act without verifying it; raises `OSError`, `NoteError`, `msgspec.DecodeError`."""
    content = store.read(path(number))
    note = notes.decode(content)
    _, word, text, _ = [*note.text.split("\n"), "", "", ""][:4]
    if word != _WORD:
        raise NoteError("it is not an act of retention")
    try:
        act = msgspec.json.decode(text, type=Act)
    except RecursionError as error:  # msgspec does not convert these to its own error
        raise msgspec.DecodeError(f"not valid JSON: {error}") from error
    if act.schema != SCHEMA:
        raise msgspec.DecodeError(f"act schema {act.schema}, this program reads {SCHEMA}: upgrade it first")
    return Noted(act, note, hashlib.sha256(content).hexdigest())


def count(store: Storage) -> int:
    """Return the number of acts, including missing ones before the last."""
    numbers = [int(stem) for name in store.names(RETENTION) if (stem := name.removesuffix(".note")).isdecimal()]
    return max(numbers, default=-1) + 1


def read_all(store: Storage, verifiers: Sequence[Verifier] | None = None) -> list[Noted]:
    """Return all acts in order; `verifiers` check the signature and position of each.

    Raises:
        StateError: an act is missing, damaged, or not signed by any of the keys.
    """
    try:
        acts = [read(store, number) for number in range(count(store))]
    except (OSError, NoteError, msgspec.DecodeError) as error:
        raise StateError(f"the acts of retention cannot be read: {error}", action="run betrace audit verify") from error
    if verifiers is not None and (wrong := next(findings(store, verifiers), None)):
        raise StateError(wrong.text(), action="give the keys that signed it with --key, or run betrace audit verify")
    return acts


def append(store: Storage, what: What, now_ms: int, signers: Sequence[Signer], done: Sequence[Noted]) -> int:
    """Append an act after those in `done`, and return its number; it is then on storage.

    Raises:
        StateError: another act was appended since, such as a hold that a removal does not know of.
    """
    number, previous = len(done), done[-1].sha256 if done else None
    act = Act(number=number, previous=previous, time_ms=now_ms, what=what)
    text = f"{signers[0].name}\n{_WORD}\n{msgspec.json.encode(act).decode()}\n"
    try:
        store.create(path(number), notes.sign(text, signers).encode())
    except FileExistsError as error:
        raise StateError(
            f"{path(number)} was created by another process at the same time", action="try again"
        ) from error
    return number


def holds(acts: Sequence[Noted]) -> dict[int, Hold]:
    """Return the holds in force after these acts, by number."""
    in_force: dict[int, Hold] = {}
    for noted in acts:
        what = noted.act.what
        if isinstance(what, Hold):
            in_force[noted.act.number] = what
        elif isinstance(what, Release):
            in_force.pop(what.hold, None)
    return in_force


def removed(acts: Sequence[Noted]) -> dict[str, Removed]:
    """Return what these acts removed, by file."""
    return {each.file: each for noted in acts if isinstance(noted.act.what, Removal) for each in noted.act.what.files}


def findings(store: Storage, verifiers: Sequence[Verifier]) -> Iterator[Finding]:
    """Yield what is wrong with the acts: one is missing, changed, not signed, or removed what was under hold."""
    before: list[Noted] = []
    previous: str | None = None
    for number in range(count(store)):
        try:
            noted = read(store, number)
        except FileNotFoundError:
            yield Finding(path(number), Fault.MISSING, "the act does not exist")
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
            yield Finding(f"{RETENTION}/{name}", Fault.UNKNOWN, "it is not an act of retention")


def _check(noted: Noted, number: int, previous: str | None, verifiers: Sequence[Verifier]) -> Iterator[Finding]:
    if noted.act.number != number or noted.act.previous != previous:
        yield Finding(path(number), Fault.CHANGED, "it does not follow the act before it")
    try:
        by = {key.name for key in notes.verified(noted.note, verifiers)}
    except NoteError as error:
        yield Finding(path(number), Fault.UNSIGNED, str(error))
        return
    if noted.note.text.split("\n")[0] not in by:
        yield Finding(path(number), Fault.UNSIGNED, "it is not signed by a known key of its log")


def _check_holds(noted: Noted, in_force: dict[int, Hold]) -> Iterator[Finding]:
    what = noted.act.what
    for each in what.files if isinstance(what, Removal) else ():
        for number, hold in in_force.items():
            if each.is_held_by(hold):
                message = f"it removed {each.file}, which hold {number} protects"
                yield Finding(path(noted.act.number), Fault.CHANGED, message)
