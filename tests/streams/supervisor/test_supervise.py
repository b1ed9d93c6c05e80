"""Tests stages as real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from streams.supervisor import supervise
from streams.supervisor.stopping import KILLED
from streams.supervisor.supervise import Stages
from tests.support.waiting import WAIT_S, next_line, wait_until

SUPERVISOR = """
import sys
from streams.supervisor.supervise import Stages
Stages({"one": [sys.executable, "-c", sys.argv[1]]}).wait()
"""
STOPPED = """
import json, sys
from streams.supervisor.supervise import Stages, stopping_on_signals
stages = Stages({"patient": json.loads(sys.argv[1])})
with stopping_on_signals(stages):
    sys.exit(stages.wait())
"""
STAGE = """
import os, signal, sys
from streams.supervisor.supervise import end_with_supervisor
end_with_supervisor()
print(os.getpid(), file=sys.stderr, flush=True)
signal.pause()
"""
PATIENT = "import signal; signal.pause()"
LISTENS = """
import pathlib, signal, sys
ready, ended, code = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
def end(*_):
    ended.write_text("in order")
    sys.exit(code)
signal.signal(signal.SIGTERM, end)
ready.write_text("ready")
signal.pause()
"""
DEAF = """
import pathlib, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).write_text("ready")
while True:
    signal.pause()
"""
WAITS = """
import pathlib, sys
pathlib.Path(sys.argv[1]).read_text()
sys.exit(int(sys.argv[2]))
"""


def python(script: str, *arguments: object) -> list[str]:
    """A command that runs the script."""
    return [sys.executable, "-c", script, *map(str, arguments)]


def is_at_rest(stages: Stages) -> bool:
    """Returns whether a stage crashed and waits to be restarted."""
    return any(stage._restart_at_s is not None for stage in stages._stages)


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages restart without backoff."""
    monkeypatch.setattr(supervise, "BACKOFF_S", (0.0, 0.0))


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """A pipe through which a stage reports that it is ready."""
    path = tmp_path / "ready"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("code", [0, 2, 3])
def test_when_a_stage_ends_all_do(code: int, ready: Path, tmp_path: Path) -> None:
    """The others are stopped in order, and the first one's exit code is the program's."""
    ended = tmp_path / "ended"
    stages = Stages({"patient": python(LISTENS, ready, ended, 0), "first": python(WAITS, ready, code)})

    result = stages.wait()

    assert (code, "in order") == (result, ended.read_text())


@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("death", ["os.kill(os.getpid(), 9)", "os.kill(os.getpid(), 15)", "1 / 0"])
def test_crashed_stage_is_restarted(death: str, tmp_path: Path) -> None:
    """A stage that crashed by a signal or an exception is restarted until it is done."""
    script = f"import os, sys\nopen(sys.argv[1], 'ab').write(b'.')\nif os.path.getsize(sys.argv[1]) < 3: {death}"
    starts = tmp_path / "starts"
    stages = Stages({"frail": python(script, starts), "patient": python(PATIENT)})

    code = stages.wait()

    assert (0, b"...") == (code, starts.read_bytes())


@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize(("death", "code"), [("os.kill(os.getpid(), 9)", 3), ("1 / 0", 1)])
def test_restarts_are_limited(death: str, code: int, tmp_path: Path) -> None:
    """A stage that never runs steadily is restarted only a limited number of times."""
    script = f"import os, sys\nopen(sys.argv[1], 'ab').write(b'.')\n{death}"
    starts = tmp_path / "starts"
    stages = Stages({"frail": python(script, starts), "patient": python(PATIENT)})

    result = stages.wait()

    assert (code, b"." * supervise.MAX_CRASHES) == (result, starts.read_bytes())


@pytest.mark.usefixtures("restless")
def test_crashes_after_a_steady_run_do_not_add_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A stage that ran steadily before it crashed is restarted every time."""
    monkeypatch.setattr(supervise, "STEADY_S", 0.0)
    script = "import os, sys\nopen(sys.argv[1], 'ab').write(b'.')\nif os.path.getsize(sys.argv[1]) < 9: 1 / 0"
    starts = tmp_path / "starts"
    stages = Stages({"frail": python(script, starts)})

    code = stages.wait()

    assert (0, b"." * 9) == (code, starts.read_bytes())


def test_stage_in_backoff_does_not_fail_a_stop() -> None:
    """If the program is stopped while a stage is in backoff, the others end in order, and so does the program."""
    stages = Stages({"dead": python("1 / 0"), "patient": python(PATIENT)})

    def stop_at_rest() -> None:
        wait_until(lambda: is_at_rest(stages), "a stage rests")
        stages.stop()

    rests = threading.Thread(target=stop_at_rest)
    rests.start()

    code = stages.wait()

    rests.join()
    assert code == 0


def test_last_expected_message_ends_all(ready: Path, tmp_path: Path) -> None:
    """Once every message was sent, by any stage, in any pieces, the stages are stopped in order."""
    ended = tmp_path / "ended"
    says = """
from streams.supervisor.supervise import send
import signal, sys
for word in sys.argv[1:]: send(word)
signal.pause()
"""
    commands = {"one": python(says, "a", "other", "b"), "two": python(says, "b", "c")}
    listening = python(LISTENS, ready, ended, 0)
    waits = python(f"import pathlib\npathlib.Path({str(ready)!r}).read_text()\n{says}", "d")
    stages = Stages({**commands, "three": listening, "four": waits}, until={"a", "b", "c", "d"})

    code = stages.wait()

    assert (0, "in order") == (code, ended.read_text())


def test_failure_during_the_shutdown_is_the_exit_code(ready: Path, tmp_path: Path) -> None:
    """If one stage ends well and another fails during its shutdown, the program fails."""
    stages = Stages({"failing": python(LISTENS, ready, tmp_path / "ended", 3), "first": python(WAITS, ready, 0)})

    assert stages.wait() == 3


def test_stop_before_a_stage_listens_is_an_orderly_end() -> None:
    """A stage that SIGTERM killed before it had started its work is not a failure."""
    stages = Stages({"one": python(PATIENT), "other": python(PATIENT)})
    stages.stop()

    assert stages.wait() == 0


def test_stage_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch, ready: Path) -> None:
    """A stage that does not stop in time is killed, which the exit code shows."""
    monkeypatch.setattr(supervise, "STOP_S", 0.2)
    stages = Stages({"deaf": python(DEAF, ready), "first": python(WAITS, ready, 0)})

    assert stages.wait() == KILLED


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_request_an_orderly_end(number: signal.Signals, ready: Path, tmp_path: Path) -> None:
    """SIGTERM and Ctrl-C end the stages in order."""
    ended = tmp_path / "ended"
    with subprocess.Popen(python(STOPPED, json.dumps(python(LISTENS, ready, ended, 0)))) as run:
        ready.read_text()
        run.send_signal(number)
        code = run.wait(WAIT_S)

    assert (0, "in order") == (code, ended.read_text())


def test_suspended_stage_ends_in_order(ready: Path, tmp_path: Path) -> None:
    """A stage suspended by SIGSTOP continues when it is stopped."""
    ended = tmp_path / "ended"
    stages = Stages({"still": python(LISTENS, ready, ended, 0)})
    ready.read_text()
    [stage] = stages._stages
    stage._process.send_signal(signal.SIGSTOP)
    stages.stop()

    assert (0, "in order") == (stages.wait(), ended.read_text())


def test_exit_code_with_a_cause_precedes_killed(monkeypatch: pytest.MonkeyPatch, ready: Path) -> None:
    """A stage that cannot continue decides the exit code, even if another one must be killed."""
    monkeypatch.setattr(supervise, "STOP_S", 0.2)
    stages = Stages({"deaf": python(DEAF, ready), "first": python(WAITS, ready, 3)})

    assert stages.wait() == 3


def test_stage_does_not_inherit_settings_of_the_supervisor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A stage's environment lacks the supervisor's settings, which the stage would reject."""
    path = tmp_path / "environment"
    for name in ("RULES", "ROLE", "WORKERS", "UNTIL_IDLE", "BOOTSTRAP"):
        monkeypatch.setenv(f"BETRACE_{name}", "set")
    script = f"import os, pathlib; pathlib.Path({str(path)!r}).write_text(' '.join(sorted(os.environ)))"

    code = Stages({"one": python(script)}).wait()

    seen = [name for name in path.read_text().split() if name.startswith("BETRACE_")]
    assert (0, ["BETRACE_BOOTSTRAP", "BETRACE_SUPERVISED"]) == (code, seen)


def test_stage_has_its_own_session(tmp_path: Path) -> None:
    """A stage is in a session of its own, so that a Ctrl-C reaches the supervisor alone."""
    path = tmp_path / "session"
    script = f"import os, pathlib; pathlib.Path({str(path)!r}).write_text(str(os.getsid(0)))"

    Stages({"one": python(script)}).wait()

    assert str(os.getsid(0)) != path.read_text()


def test_stage_ends_with_its_supervisor() -> None:
    """When the supervisor is killed its stages end at once."""
    supervisor = subprocess.Popen(python(SUPERVISOR, STAGE), stderr=subprocess.PIPE, text=True)
    assert supervisor.stderr is not None
    with supervisor, supervisor.stderr as said:
        stage = int(next_line(said, "the stage's pid"))
        supervisor.kill()

        # The stage has the other end of this pipe: it reaches EOF only when the stage is gone.
        rest = said.read()

    assert stage != supervisor.pid
    assert rest == ""


def test_stage_without_a_supervisor_ignores_its_input() -> None:
    """A stage that a person starts, with no supervisor, runs whatever its standard input is."""
    script = "from streams.supervisor.supervise import end_with_supervisor\nend_with_supervisor()\nprint('goes on')"

    done = subprocess.run(python(script), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)

    assert done.stdout == "goes on\n"


SAYS_TOTALS = """
import pathlib, signal, sys
from streams.supervisor.supervise import send_totals
def end(*_):
    send_totals({"records": 3, "signals": 1})
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
pathlib.Path(sys.argv[1]).write_text("ready")
signal.pause()
"""
SAYS_MORE = """
import pathlib, sys
from streams.supervisor.supervise import send_totals
pathlib.Path(sys.argv[1]).read_text()
send_totals({"records": 2})
"""


def test_totals_of_all_stages_are_summed(ready: Path) -> None:
    """A stage's last message is what it counted, also when it was stopped; the supervisor has the sums."""
    stages = Stages({"one": python(SAYS_TOTALS, ready), "two": python(SAYS_MORE, ready)})

    code = stages.wait()

    assert (0, {"records": 5, "signals": 1}) == (code, dict(stages.totals))


def test_a_stage_inherits_the_secrets_that_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only the ledger inherits its keys, only ingest the key of hashes; every stage gets the brokers' password."""
    given = ["BETRACE_LEDGER_PRIVATE_KEY", "AWS_SECRET_ACCESS_KEY", "BETRACE_REDACT_KEY", "BETRACE_SASL_PASSWORD"]
    given += ["DRATA_API_KEY", "VANTA_CLIENT_SECRET"]
    for name in given:
        monkeypatch.setenv(name, "hidden")
    hidden = "[name for name, value in os.environ.items() if value == 'hidden']"
    script = f"import os, pathlib, sys\npathlib.Path(sys.argv[1]).write_text(' '.join({hidden}))"
    found = {}

    for name in ("ingest-1", "sessions-2", "ledger"):
        Stages({name: python(script, tmp_path / name)}).wait()
        found[name] = {*(tmp_path / name).read_text().split()}

    assert {
        "ingest-1": {"BETRACE_REDACT_KEY", "BETRACE_SASL_PASSWORD"},
        "sessions-2": {"BETRACE_SASL_PASSWORD"},
        "ledger": {"BETRACE_LEDGER_PRIVATE_KEY", "AWS_SECRET_ACCESS_KEY", "BETRACE_SASL_PASSWORD"},
    } == found
