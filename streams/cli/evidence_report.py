"""Implements `betrace evidence report`: reports on a period to an auditor.

In: a directory or URL of evidence, and nothing else. Out: an HTML page, JSON or OSCAL, on stdout or in a file.
"""

from __future__ import annotations

import hashlib
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from streams.cli import commands, options
from streams.cli.keys import key_files, verifiers
from streams.errors import ConfigError
from streams.evidence.ledger import notes, storage, tree_head
from streams.evidence.ledger import seal as seals
from streams.evidence.ledger.findings import Fault
from streams.evidence.ledger.notes import NoteError, Verifier
from streams.evidence.ledger.storage import Storage, open_storage
from streams.evidence.ledger.verify import Verification
from streams.evidence.report import history, model, oscal
from streams.evidence.report.gather import gather, judged_to
from streams.evidence.report.gathered import Gathered
from streams.evidence.report.model import Evidence, Report, ReportRequest, Verified
from streams.evidence.report.page import page
from streams.evidence.report.report import report
from streams.observe.terminal import printable
from topics.records.verdicts import MINUTE_MS


@commands.command(
    "report",
    short_help="Report how controls operated in a period.",
    epilog="\b\nExample:\n  betrace evidence report evidence/ --from 90d --key ledger.pub --html r.html",
)
@click.argument("evidence")
@options.moment("--from", default="90d", help="Start of the period.")
@options.moment("--to", help="End of the period, exclusive; by default the time up to which everything is judged.")
@click.option("--control", help="Include only rules for this control, such as SOC2/CC6.1.")
@key_files(required=False)
@options.output_format("text", "json", "oscal", help_text="What is printed: the statements, or the whole report.")
@options.html
def command(
    evidence: str,
    from_ms: int,
    to_ms: int | None,
    control: str | None,
    keys: tuple[Path, ...],
    form: str,
    html: Path | None,
) -> None:
    """Report how controls operated in a period, from the evidence in EVIDENCE.

    Prints what the report states; --html writes it as a self-contained page that can be printed. It makes a statement
    about the whole period only if all of it was judged; otherwise its first page lists what was not. With --key the
    evidence is verified first, and changed evidence is refused with exit 1; without it the report says that it was not
    verified. Periods are whole minutes.
    """
    made = build(evidence, from_ms, to_ms, control, verifiers(keys))
    if html is not None:
        options.write_page(html, page(made))
    click.echo(_PRINTED[form](made), nl=False)


def build(location: str, from_ms: int, to_ms: int | None, control: str | None, keys: Sequence[Verifier] = ()) -> Report:
    """Return the report of a period; verify the evidence first if there are keys.

    Raises:
        ConfigError: there is no evidence, or no rule names the control.
        click.exceptions.Exit: the evidence was changed; the findings are on stderr.
    """
    store = open_storage(location)
    now_ms = time.time_ns() // 1_000_000
    verified = verify(store, keys) if keys else None
    try:
        end_ms = to_ms if to_ms is not None else judged_to(store)
        from_ms, end_ms = minute(from_ms), None if end_ms is None else minute(end_ms)
        if end_ms is None or end_ms <= from_ms:
            raise ConfigError("the period is empty: nothing was judged in it, or --to is not after --from")
        gathered = gather(store, from_ms, end_ms)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{location} has no readable evidence: {error}") from error
    pushed = history.read(store)
    if control is not None:
        _check_control(control, pushed)
    command = f"betrace evidence verify {shlex.quote(location)} --key ledger.pub --head head.note"
    request = ReportRequest(from_ms=from_ms, to_ms=end_ms, control=control, made_ms=now_ms, verify=command)
    return report(request, gathered, pushed, read(store, location, gathered, verified))


def minute(time_ms: int) -> int:
    """Return the start of the minute that contains a time: verdicts are counted by minute."""
    return time_ms // MINUTE_MS * MINUTE_MS


def verify(store: Storage, keys: Sequence[Verifier]) -> Verified:
    """Return the result of verification; exit if the evidence was changed."""
    verification = Verification(store, keys)
    findings = [*verification.findings()]
    damages = [finding for finding in findings if finding.fault is not Fault.GAP]
    head = verification.head
    if damages or head is None:
        for finding in damages:
            click.echo(finding.text(), err=True)
        click.echo("no report was made: the evidence is not what was sealed", err=True)
        raise click.exceptions.Exit(1)
    return Verified(
        keys=[f"{key.name} ({key.encode()})" for key in keys],
        seals=verification.totals.seals,
        gaps=len(findings),
        head_size=head.size,
        head_root=head.root.hex(),
    )


def _check_control(control: str, pushed: history.History) -> None:
    """Raise `ConfigError` if no rule names the control: its report would be complete and empty."""
    known = pushed.controls()
    if history.control_key(control) not in map(history.control_key, known):
        raise ConfigError(f"no rule names the control {control}; known controls are {', '.join(known) or 'none'}")


def _text(made: Report) -> str:
    """Return what the report states: a line about everything, and one about each rule."""
    verified = made.evidence.verified
    checked = model.NOT_VERIFIED if verified is None else f"Verified with {', '.join(verified.keys)}."
    about = f"{made.period}; control {made.control}" if made.control else made.period
    rules = [f"{printable(rule.id)}: {printable(rule.statement)}" for rule in made.rules]
    return "".join(f"{line}\n" for line in (about, checked, made.statement, *rules))


_PRINTED: dict[str, Callable[[Report], str]] = {
    "text": _text,
    "json": lambda made: model.encode(made).decode() + "\n",
    "oscal": lambda made: oscal.encode(made).decode() + "\n",
}


def read(store: Storage, location: str, gathered: Gathered, verified: Verified | None) -> Evidence:
    """Return what the report says about its evidence."""
    number = max(gathered.end_seal - 1, 0)
    file = storage.seal_path(number)
    head = sha256 = file_sha256 = None
    try:
        content = store.read(file)
        note = seals.note_in(content)
        head = tree_head.decode(notes.decode(note).text)
        sha256, file_sha256 = (hashlib.sha256(each).hexdigest() for each in (note, content))
    except (OSError, NoteError):
        pass
    return Evidence(
        place=location,
        origin=head.origin if head else None,
        first_seal=gathered.first_seal,
        end_seal=gathered.end_seal,
        head_size=number + 1,
        head_root=head.root.hex() if head else None,
        head_file=file,
        head_sha256=sha256,
        head_file_sha256=file_sha256,
        unreadable=gathered.unreadable,
        verified=verified,
    )
