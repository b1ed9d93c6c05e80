"""`betrace rules lsp`, as an editor starts it and speaks to it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import pytest

from tests.support.waiting import WAIT_S

NAMES = """\
lists:
  risky: [send_email, run_shell]
subjects:
  pii_read: db.query.where(table in [users, patients])
"""
RULES = """\
// id: tools-after-reads
// severity: high
when { tool.where(type in @risky) } never { some tool.where(type in @risky) has @pii_read before }
"""
HUGE = "// id: huge\n" + "// " + "x" * (2 << 20) + "\na and b\n"


class Editor:
    """An editor that has started the program."""

    def __init__(self, root: Path, *rules: str) -> None:
        self.root = root
        self._program = subprocess.Popen(
            [sys.executable, "-m", "streams.cli", "rules", "lsp", *rules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._messages: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._published: list[dict[str, Any]] = []
        self._last_id = 0
        Thread(target=self._read, daemon=True).start()

    def send(self, body: bytes) -> None:
        """Sends one message."""
        assert self._program.stdin is not None
        self._program.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._program.stdin.flush()

    def notify(self, method: str, **params: object) -> None:
        """Sends a notification."""
        self.send(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode())

    def ask(self, method: str, params: object = None) -> Any:  # noqa: ANN401, as the method has it
        """Sends a request and returns its result."""
        self._last_id += 1
        sent = {"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params}
        self.send(json.dumps(sent).encode())
        while (answer := self._next(method)).get("id") != self._last_id:
            self._note(answer)
        assert "error" not in answer
        return answer["result"]

    def uri(self, name: str) -> str:
        """The URI of a file."""
        return (self.root / name).as_uri()

    def open(self, name: str, text: str) -> list[dict[str, Any]]:
        """Opens a file and returns its diagnostics."""
        document = {"uri": self.uri(name), "languageId": "betrace", "version": 1, "text": text}
        self.notify("textDocument/didOpen", textDocument=document)
        return self.diagnostics(name, 1)

    def change(self, name: str, version: int, text: str) -> list[dict[str, Any]]:
        """Replaces the text of a file and returns its diagnostics."""
        document = {"uri": self.uri(name), "version": version}
        self.notify("textDocument/didChange", textDocument=document, contentChanges=[{"text": text}])
        return self.diagnostics(name, version)

    def diagnostics(self, name: str, version: int | None) -> list[dict[str, Any]]:
        """Returns the next diagnostics of a version of a file."""
        while True:
            for published in self._published:
                if (published["uri"], published.get("version")) == (self.uri(name), version):
                    self._published.remove(published)
                    found: list[dict[str, Any]] = published["diagnostics"]
                    return found
            self._note(self._next(f"diagnostics of {name}"))

    def wait_for_codes(self, name: str, version: int, codes: set[str]) -> None:
        """Waits until a version of a file has problems of these codes, as files beside it change."""
        while {each["code"] for each in self.diagnostics(name, version)} != codes:
            pass

    def at(self, method: str, name: str, line: int, character: int) -> Any:  # noqa: ANN401, as the method has it
        """Asks about a place in a file."""
        position = {"line": line, "character": character}
        return self.ask(f"textDocument/{method}", {"textDocument": {"uri": self.uri(name)}, "position": position})

    def labels(self, name: str, line: int, character: int) -> list[str]:
        """The labels of what can be completed at a place."""
        return [item["label"] for item in self.at("completion", name, line, character)["items"]]

    def stop(self) -> int:
        """Ends the session as the protocol says; returns the exit code."""
        self.ask("shutdown")
        self.notify("exit")
        return self._program.wait(WAIT_S)

    def kill(self) -> None:
        """Ends the program, if it still runs."""
        self._program.kill()
        self._program.communicate()

    def _note(self, message: dict[str, Any]) -> None:
        if message.get("method") == "textDocument/publishDiagnostics":
            self._published.append(message["params"])

    def _next(self, what: str) -> dict[str, Any]:
        try:
            return self._messages.get(timeout=WAIT_S)
        except Empty:
            raise AssertionError(f"waited {WAIT_S} s in vain for {what}") from None

    def _read(self) -> None:
        output = self._program.stdout
        assert output is not None
        while header := output.readline():
            size = int(header.partition(b":")[2])
            while output.readline().strip():
                pass
            self._messages.put(json.loads(output.read(size)))


@pytest.fixture
def editor(tmp_path: Path) -> Iterator[Editor]:
    """An editor in a directory with the file `names.yaml`, after the handshake."""
    (tmp_path / "names.yaml").write_text(NAMES)
    editor = Editor(tmp_path, ".")
    try:
        answer = editor.ask("initialize", {"processId": None, "rootUri": tmp_path.as_uri(), "capabilities": {}})
        assert "betrace" == answer["serverInfo"]["name"]
        assert "utf-16" == answer["capabilities"]["positionEncoding"]
        editor.notify("initialized")
        yield editor
    finally:
        editor.kill()


def test_session_of_an_editor(editor: Editor) -> None:
    """Problems come as rules are typed, and completion, hover and definition answer; then the server ends well."""
    assert [] == editor.open("tools.rules", RULES)

    wrong = RULES.replace("high", "hihg").replace("@pii_read", "@pii_raed")
    severity, name = editor.change("tools.rules", 2, wrong)
    assert ("E308", 1, "betrace") == (severity["code"], severity["severity"], severity["source"])
    assert {"start": {"line": 1, "character": 13}, "end": {"line": 1, "character": 17}} == severity["range"]
    assert "help: did you mean `high`?" in severity["message"]
    start = wrong.splitlines()[2].index("@pii_raed")
    assert ("E220", start, start + 9) == (
        name["code"],
        name["range"]["start"]["character"],
        name["range"]["end"]["character"],
    )

    assert [] == editor.change("tools.rules", 3, RULES)
    half = RULES + "\n// id: next\nwhen { @pii_read } al"
    assert ["E101"] == [each["code"] for each in editor.change("tools.rules", 4, half)]
    assert ["always", "never"] == editor.labels("tools.rules", 5, 21)
    assert "tools-after-reads" in editor.at("hover", "tools.rules", 2, 9)["contents"]["value"]
    found = editor.at("definition", "tools.rules", 2, half.splitlines()[2].index("@pii_read") + 3)
    assert (editor.uri("names.yaml"), {"line": 3, "character": 2}) == (found["uri"], found["range"]["start"])

    assert 0 == editor.stop()


def test_hover_is_the_explanation_of_check(editor: Editor) -> None:
    """The text of a hover is what `betrace check --explain` prints."""
    (editor.root / "tools.rules").write_text(RULES)
    editor.open("tools.rules", RULES)

    words = [sys.executable, "-m", "streams.cli", "check", ".", "--explain", "tools-after-reads"]
    printed = subprocess.run(words, cwd=editor.root, capture_output=True, text=True, check=True).stdout

    assert f"```text\n{printed}```\n" == editor.at("hover", "tools.rules", 1, 0)["contents"]["value"]
    assert None is editor.at("hover", "tools.rules", 3, 0)


def test_diagnostics_are_the_problems_of_check(editor: Editor) -> None:
    """All that `check` reports is shown: failing tests, warnings, and mistakes of YAML."""
    text = """\
rules:
  - id: deploys-are-approved
    sevrity: high
    condition: when { deploy } always { approval before deploy }
    tests:
      - {spans: [deploy], expect: held}
      - name: approved
        spans: [{name: deploy}, {name: approval}]
        expect: held
"""
    found = editor.open("wrong.yaml", text)
    (editor.root / "wrong.yaml").write_text(text)

    words = [sys.executable, "-m", "streams.cli", "check", ".", "--format", "json"]
    printed = subprocess.run(words, cwd=editor.root, capture_output=True, text=True, check=False).stdout

    checked = [each for each in json.loads(printed) if each["path"] == "wrong.yaml"]
    assert len(checked) > 2
    assert [(each["code"], each["line"] - 1, each["column"] - 1) for each in checked] == [
        (each["code"], each["range"]["start"]["line"], each["range"]["start"]["character"]) for each in found
    ]
    assert [
        "\n".join([each["message"], *(f"note: {note}" for note in each["notes"]), f"help: {each['help']}"])
        for each in checked
    ] == [each["message"] for each in found]


def test_positions_are_utf_16(editor: Editor) -> None:
    """A character beyond the basic plane counts as two, in what is asked and in what is answered."""
    text = '// id: r\r\nlogin.where(name == "😀") and login.where(kind in @unknown)\r\n'
    line = text.split("\r\n")[1]

    [name] = editor.open("a.rules", text)

    at = line.index("@unknown") + 1
    assert (at, at + 8) == (name["range"]["start"]["character"], name["range"]["end"]["character"])
    [item] = [each for each in editor.at("completion", "a.rules", 1, at + 1)["items"] if each["label"] == "@risky"]
    assert (at, at + 1) == tuple(item["textEdit"]["range"][end]["character"] for end in ("start", "end"))


def test_open_documents_see_each_other(editor: Editor) -> None:
    """A name that is removed in one document is a problem in another one; closed, a document is what is on disk."""
    assert [] == editor.open("tools.rules", RULES)

    editor.open("names.yaml", NAMES.replace("risky", "other"))
    editor.wait_for_codes("tools.rules", 1, {"E220"})

    editor.notify("textDocument/didClose", textDocument={"uri": editor.uri("names.yaml")})
    editor.wait_for_codes("tools.rules", 1, set())


def test_hostile_input_does_not_end_the_server(editor: Editor) -> None:
    """Bytes that are no text, messages that are no JSON, huge and half-typed texts, and places that do not exist."""
    (editor.root / "bad.yaml").write_bytes(b"rules: \xff\xfe")
    editor.send(b"\xff\xfe\x00")
    editor.send(b"{")
    editor.send(b'{"jsonrpc": "2.0", "method": "textDocument/didOpen", "params": {"textDocument": 1}}')
    [large] = editor.open("huge.rules", HUGE)
    assert 3 == large["severity"]
    assert "more than 1 MiB" in large["message"]
    editor.notify("textDocument/didClose", textDocument={"uri": editor.uri("huge.rules")})
    assert [] == editor.diagnostics("huge.rules", None)

    texts = [
        "",
        "\ufeff",
        "\0",
        "\u2028\x0b\x0c\x85\r",
        "// id: a\n(" * 500,
        "rules:\n" + "- " * 5000,
        "\ud800: [",
        "@",
        '"',
    ]
    for name in ("odd.rules", "odd.yaml"):
        editor.open(name, "")
        for version, text in enumerate(texts, 2):
            editor.change(name, version, text)
            for line, character in ((0, 0), (0, 5), (7, 1), (1 << 20, 1 << 20)):
                editor.at("completion", name, line, character)
                editor.at("hover", name, line, character)
                editor.at("definition", name, line, character)

    assert [] == editor.open("tools.rules", RULES)
    assert None is editor.at("hover", "not-open.rules", 0, 0)
    assert 0 == editor.stop()


def test_files_outside_the_set_are_a_set_of_their_directory(tmp_path: Path) -> None:
    """Without RULES, the set is the directory of the file; YAML that is something else has no problems."""
    (tmp_path / "names.yaml").write_text(NAMES)
    (tmp_path / "compose.yaml").write_text("services: [x]\n")
    editor = Editor(tmp_path)
    try:
        editor.ask("initialize", {"processId": None, "rootUri": None, "capabilities": {}})

        assert [] == editor.open("new.rules", RULES)
        assert [] == editor.open("compose.yaml", "services: [y]\n")
        assert ["E322"] == [each["code"] for each in editor.change("compose.yaml", 2, "rules: []\nservices: [y]\n")]
    finally:
        editor.kill()


def test_without_the_extra() -> None:
    """Without the extra the command says what to install, and its help still works."""
    program = "import sys; sys.modules['pygls'] = None; from streams.cli import main; main()"
    words = [sys.executable, "-c", program, "rules", "lsp"]

    refused = subprocess.run(words, capture_output=True, text=True, check=False)
    shown = subprocess.run([*words, "--help"], capture_output=True, text=True, check=False)

    assert (2, "Error: pygls is not installed: pip install 'betrace[lsp]'\n") == (refused.returncode, refused.stderr)
    assert 0 == shown.returncode
    assert "betrace rules lsp rules/" in shown.stdout
