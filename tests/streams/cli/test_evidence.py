"""Tests `betrace evidence` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streams.cli import main
from streams.evidence.ledger import notes, seal, storage
from streams.evidence.ledger.notes import Signer, Verifier
from tests.support import evidence
from tests.support.quarter import Quarter


def call(*words: object) -> Result:
    """Runs a command."""
    return CliRunner().invoke(main, ["evidence", *map(str, words)])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Small evidence."""
    evidence.make(tmp_path / "evidence")
    return tmp_path / "evidence"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """The public key of that evidence."""
    path = tmp_path / "ledger.pub"
    path.write_text(evidence.SIGNER.verifier().encode() + "\n")
    return path


def test_keygen_makes_a_pair(tmp_path: Path) -> None:
    """The private key is in a file that only its owner can read; the public key is printed."""
    path = tmp_path / "ledger.key"

    done = call("keygen", "example.com/betrace", "--key", path)

    assert done.exit_code == 0
    assert Verifier.decode(done.stdout) == Signer.decode(path.read_text()).verifier()
    assert path.stat().st_mode & 0o777 == 0o600


def test_keygen_never_overwrites(tmp_path: Path) -> None:
    """An existing key is not overwritten."""
    path = tmp_path / "ledger.key"
    path.write_text("kept")

    done = call("keygen", "example.com/betrace", "--key", path)

    assert done.exit_code == 2
    assert path.read_text() == "kept"


def test_keygen_twice_leaves_both_files(tmp_path: Path) -> None:
    """The second call lists the existing files and changes neither."""
    words = ["keygen", "example.com/betrace", "--key", tmp_path / "ledger.key", "--pub", tmp_path / "ledger.pub"]
    first = call(*words)
    before = [path.read_text() for path in sorted(tmp_path.iterdir())]

    second = call(*words)

    assert (0, "", 2) == (first.exit_code, first.stdout, second.exit_code)
    assert f"{tmp_path}/ledger.key, {tmp_path}/ledger.pub already exist" in second.stderr
    assert before == [path.read_text() for path in sorted(tmp_path.iterdir())]


def test_keygen_creates_no_private_key_for_an_existing_public_key(tmp_path: Path) -> None:
    """A public key in use is not overwritten, and no private key is left without its public key."""
    (tmp_path / "ledger.pub").write_text("kept")

    done = call("keygen", "example.com/betrace", "--key", tmp_path / "ledger.key", "--pub", tmp_path / "ledger.pub")

    assert 2 == done.exit_code
    assert [tmp_path / "ledger.pub"] == list(tmp_path.iterdir())


def test_public_key_is_printed_again(tmp_path: Path) -> None:
    """The public key can be recovered from the private key."""
    made = call("keygen", "example.com/betrace", "--key", tmp_path / "ledger.key")

    done = call("pubkey", "--key", tmp_path / "ledger.key")

    assert (0, made.stdout) == (done.exit_code, done.stdout)


def test_good_evidence_verifies(root: Path, key: Path) -> None:
    """Valid evidence exits with 0 and shows what was read."""
    done = call("verify", root, "--key", key)

    assert done.exit_code == 0
    assert done.stdout.splitlines()[0] == "4 seals, entries: 3 audit, 3 signals, 12 verdicts; 12 verdicts on traces"
    assert done.stdout.splitlines()[-1] == "unchanged and complete"


def test_a_finding_is_a_line_and_exit_1(root: Path, key: Path) -> None:
    """A missing file is reported with its place."""
    (root / storage.seal_path(1)).unlink()

    done = call("verify", root, "--key", key)

    assert done.exit_code == 1
    assert done.stdout.splitlines()[0] == "seals/000/000/001.tlog: missing: the seal does not exist"
    assert done.stdout.splitlines()[-1] == "1 findings"


def test_json_has_the_findings_and_totals(root: Path, key: Path) -> None:
    """JSON output is one object with the findings and the totals."""
    path = root / storage.seal_path(3)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1])

    done = call("verify", root, "--key", key, "--format", "json")

    said = json.loads(done.stdout)
    assert done.exit_code == 1
    assert [("seals/000/000/003.tlog", "not signed")] == [(one["location"], one["fault"]) for one in said["findings"]]
    assert (4, 12, 3) == (said["seals"], said["verdicts"], said["head_size"])


@pytest.mark.parametrize("is_note", [True, False])
def test_truncation_is_found_with_a_head(root: Path, key: Path, tmp_path: Path, *, is_note: bool) -> None:
    """Without a head, truncation is reported as undetectable; with a copy of a file or a note it is found."""
    head = (root / storage.seal_path(3)).rename(tmp_path / "head")
    if is_note:
        content = head.read_bytes()
        head.unlink()
        head.write_bytes(seal.note_in(content))

    without, against = call("verify", root, "--key", key), call("verify", root, "--key", key, "--head", head)

    assert (0, 1) == (without.exit_code, against.exit_code)
    assert "a truncated end cannot be detected" in without.stdout
    assert "truncated: a head over 4 seals is known, but the evidence ends after 3" in against.stdout


def test_witness_signs_only_a_continuation(root: Path, key: Path, tmp_path: Path) -> None:
    """A witness's note has both signatures, serves as a head, and requires evidence that continues from the last."""
    witness, public, seen = tmp_path / "w.key", tmp_path / "w.pub", tmp_path / "seen.note"
    public.write_text(call("keygen", "witness.example", "--witness", "--key", witness).stdout)
    seen.write_text(call("cosign", root, "--key", key, "--witness", witness).stdout)

    again = call("cosign", root, "--key", key, "--witness", witness, "--head", seen)
    verified = call("verify", root, "--key", key, "--key", public, "--head", seen)
    (root / storage.seal_path(3)).unlink()
    cut = call("cosign", root, "--key", key, "--witness", witness, "--head", seen)

    assert ["example.com/betrace", "witness.example"] == [
        signature.name for signature in notes.decode(seen.read_bytes()).signatures
    ]
    assert (0, 0, 1) == (again.exit_code, verified.exit_code, cut.exit_code)
    assert cut.stdout == ""


@pytest.mark.parametrize("content", [b"", b"no key", b"\xff"])
def test_invalid_key_is_refused(root: Path, tmp_path: Path, content: bytes) -> None:
    """An unusable public key is a configuration error, with exit 2."""
    path = tmp_path / "key"
    path.write_bytes(content or b"x+00000000+AAAA")

    assert call("verify", root, "--key", path).exit_code == 2


def test_head_of_another_log_is_refused(root: Path, key: Path, tmp_path: Path) -> None:
    """A head of another log is rejected."""
    other = Signer.generated(evidence.ORIGIN)
    path = tmp_path / "head.note"
    note = notes.decode(seal.note_in((root / storage.seal_path(3)).read_bytes()))
    path.write_bytes(notes.sign(note.text, [other]).encode())

    done = call("verify", root, "--key", key, "--head", path)

    assert done.exit_code == 2
    assert "is not signed by any of the keys" in done.output


def test_the_private_key_is_never_shown(root: Path, tmp_path: Path) -> None:
    """Swapped key files produce an error that does not reveal the key."""
    path = tmp_path / "ledger.key"
    path.write_text(evidence.SIGNER.encode())

    done = call("verify", root, "--key", path)

    assert done.exit_code == 2
    assert evidence.SIGNER.encode()[-20:] not in done.output


REPORT = ("--from", "2026-01-01T00:00:00Z", "--format", "json")


@pytest.fixture
def quarter(tmp_path: Path) -> Path:
    """Evidence of two days with rules."""
    made = Quarter(tmp_path / "evidence", 2, broken={3})
    made.make()
    return made.root


def forge(root: Path) -> None:
    """Changes broken to held in all files, without the key."""
    for path in root.rglob("*.tlog"):
        content = path.read_bytes().replace(b'"broken":1', b'"broken":0')
        path.unlink()
        path.write_bytes(content)


def test_a_report_of_verified_evidence_says_so(quarter: Path, key: Path) -> None:
    """With the public key the evidence is verified first; the page and the JSON name the key and the head."""
    html = quarter / "report.html"
    made = call("report", quarter, "--key", key, *REPORT, "--html", html)

    shown = html.read_text()
    verified = json.loads(made.stdout)["evidence"]["verified"]
    assert 0 == made.exit_code
    assert (48, 0, 48) == (verified["seals"], verified["gaps"], verified["head_size"])
    assert "NOT VERIFIED" not in shown
    assert f"root <code>{verified['head_root']}</code>" in shown
    assert evidence.SIGNER.verifier().encode() in verified["keys"][0]


@pytest.mark.parametrize("form", ["text", "json", "oscal"])
def test_a_report_without_a_key_says_that_nothing_was_verified(quarter: Path, form: str) -> None:
    """Without a key every form of the report says that it was not verified; the page at its top."""
    html = quarter / "report.html"
    done = call("report", quarter, *REPORT[:2], "--format", form, "--html", html)

    assert done.exit_code == 0
    page = html.read_text()
    assert 0 < page.index("NOT VERIFIED") < page.index("over 2 days", page.index("<main>") + 600)
    if form == "text":
        assert done.stdout.splitlines()[1] == "NOT VERIFIED: the evidence was not checked."
    elif form == "json":
        assert json.loads(done.stdout)["evidence"]["verified"] is None
    else:
        assert "NOT VERIFIED" in json.loads(done.stdout)["assessment-results"]["results"][0]["description"]


def test_a_report_prints_what_it_states(quarter: Path, key: Path) -> None:
    """The text names the period and the key, then has the statement on everything and one for each rule."""
    report = json.loads(call("report", quarter, "--key", key, *REPORT).stdout)

    lines = call("report", quarter, "--key", key, *REPORT[:2]).stdout.splitlines()

    rules = [f"{rule['id']}: {rule['statement']}" for rule in report["rules"]]
    assert [report["period"], lines[1], report["statement"], *rules] == lines
    assert lines[1] == f"Verified with {report['evidence']['verified']['keys'][0]}."


def test_no_report_is_made_of_forged_evidence(quarter: Path, key: Path) -> None:
    """Changed evidence is refused with exit 1 and the findings, and nothing is pushed."""
    forge(quarter)
    to = ("--platform", "drata", "--connection", 1, "--resource", 2, "--dry-run", *REPORT[:2])

    refused, pushed = call("report", quarter, "--key", key, *REPORT), call("push", quarter, "--key", key, *to)

    assert (1, 1) == (refused.exit_code, pushed.exit_code)
    assert "" == refused.stdout == pushed.stdout
    assert "seals/000/000/003.tlog" in refused.stderr
    assert "no report was made: the evidence is not what was sealed" in refused.stderr


def test_what_is_pushed_says_whether_it_was_verified(quarter: Path, key: Path) -> None:
    """Each pushed record has the verification result, and without a key a statement about it."""
    to = ("--platform", "drata", "--connection", 1, "--resource", 2, "--dry-run", *REPORT[:2])

    done = [call("push", quarter, *to), call("push", quarter, "--key", key, *to)]

    said = [json.loads(one.stdout.split("\n", 1)[1])["data"][0] for one in done]
    assert [False, True] == [one["evidence_verified"] for one in said]
    assert [True, False] == [one["statement"].startswith("NOT VERIFIED") for one in said]


@pytest.mark.parametrize("control", ["SOC2/CC9.9", "SOC2", "CC6.7"])
@pytest.mark.parametrize("words", [("report",), ("push", "--platform", "drata", "--connection", 1, "--resource", 2)])
def test_a_control_that_no_rule_names_is_refused(quarter: Path, words: tuple[object, ...], control: str) -> None:
    """A mistyped control has no rules: exit 2, with the known controls."""
    dry = ("--dry-run",) if words[0] == "push" else ()

    done = call(words[0], quarter, *words[1:], *dry, *REPORT[:2], "--control", control)

    assert done.exit_code == 2
    assert (
        f"no rule names the control {control}; known controls are HIPAA/164.312(b), SOC2/CC6.1, SOC2/CC6.7"
        in done.output
    )


@pytest.mark.parametrize("control", ["soc2/cc6.7", "SOC2 CC6.7"])
def test_controls_compare_without_case(quarter: Path, control: str) -> None:
    """However a control is spelled, its rules are found, and it is shown as they name it."""
    done = call("report", quarter, *REPORT, "--control", control)

    report = json.loads(done.stdout)
    assert ["pii-access-is-logged"] == [rule["id"] for rule in report["rules"]]
    assert ["SOC2/CC6.7"] == [one["control"] for one in report["controls"]]
