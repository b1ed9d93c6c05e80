"""Implements `betrace demo`: runs the whole flow once, on its own Kafka, with messages of a real Collector.

In: the packaged captures. Out: the last signals and a table per rule on stdout; the evidence, its report, a signal's
page and the topics in a temporary directory, which remains for the commands that are printed last.
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import resources
from pathlib import Path
from types import FrameType

import msgspec
import structlog
from confluent_kafka import Producer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from dsl import RuleSet
from streams.cli import commands, evidence_report, options, signals, waterfall_html
from streams.cli.load import load
from streams.config.settings import Settings
from streams.decode.decoder import decode
from streams.errors import StateError
from streams.evidence.ledger.notes import Signer
from streams.evidence.ledger.storage import open_storage
from streams.evidence.ledger.worker import LedgerSettings, LedgerWorker
from streams.evidence.report.page import page
from streams.inspect import offline
from streams.kafka import reader
from streams.observe import logs
from streams.projection.project import Projector
from topics.cluster import admin
from topics.embedded import broker, capture
from topics.records import verdicts
from topics.signals.digest import Digest, digest
from topics.spec import Layout

CAPTURES = resources.files("topics") / "embedded" / "captures"
PARTITIONS = 4
SHOWN = 10
RUN = ("--gap", "2s", "--out-of-order", "500ms", "--until-idle")
CAPTURED = {
    "keyed_spans": "otlp_spans",
    "keyed_logs": "otlp_logs",
    "unkeyed_spans": "otlp_spans",
    "unkeyed_logs": "otlp_logs",
}
"""The source topic of each capture."""


@commands.command("demo", epilog="\b\nExample:\n  betrace demo")
def command() -> None:
    """Play a recorded day of a shop and a hospital through Kafka, and show the signals.

    The evidence report, a signal's page and the topics remain in a temporary directory.
    """
    logs.configure()
    # The ledger's log lines are for operators.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, _interrupt)
    with _kept_directory() as directory:
        console.print("Starting Kafka (the first start downloads its jars) …")
        with broker.running(directory / "kafka") as kafka:
            demo = Demo(console, kafka.bootstrap, directory)
            demo.play()
            signal_digests = demo.judge()
            demo.judge_later()
            demo.seal()
            demo.write_page(signal_digests[-1])
        shutil.rmtree(directory / "state")
    console.print(_next(directory, signal_digests[-1], can_restart=kafka.pid is not None), soft_wrap=True, markup=False)


@contextmanager
def _kept_directory() -> Iterator[Path]:
    """Create a temporary directory; remove it only if the demo fails."""
    directory = Path(tempfile.mkdtemp(prefix="betrace-demo-"))
    try:
        yield directory
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Defer Ctrl-C and SIGTERM while a process is started: between fork and return nobody would know of it."""
    arrived: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda got, _: arrived.append(got)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if arrived:
        raise KeyboardInterrupt


class Demo:
    """The steps of the demo; each prints what it does."""

    def __init__(self, console: Console, bootstrap: str, directory: Path) -> None:
        self._console = console
        self._settings = Settings(bootstrap=bootstrap, state_dir=directory / "state", facts_partitions=PARTITIONS)
        self._directory = directory
        self._begun_ms = time.time_ns() // 1_000_000

    def play(self) -> None:
        """Write the recorded messages to the source topics: keyed by trace, then the same traces unkeyed."""
        admin.create(admin.connect(self._settings.client()), Layout(facts_partitions=PARTITIONS))
        producer = Producer({**self._settings.client()})
        counts = [f"{_play(producer, name, topic)} {name.replace('_', ' ')}" for name, topic in CAPTURED.items()]
        producer.flush()
        self._console.print(f"A real Collector's messages are on Kafka: {', '.join(counts)}.")

    def judge(self) -> list[Digest]:
        """Run the pipeline, show the last signals and the table per rule, and return the signals in order."""
        rules = load([str(CAPTURES / "demo.rules")])
        self._console.print(f"betrace run --rules demo.rules {' '.join(RUN)}\n")
        _run(self._settings)
        digests = [
            digest(message.value() or b"") for message in reader.read(self._settings, self._settings.topic("signals"))
        ]
        digests.sort(key=lambda each: (each.time_ms, each.uid))
        self._console.print(f"{len(digests)} signals, the last {SHOWN} of them:\n")
        for each in digests[-SHOWN:]:
            self._show(each)
        counts: dict[str, Counter[str]] = {}
        for message in reader.read(self._settings, self._settings.topic("verdicts")):
            record = verdicts.decode(message.value() or b"")
            if isinstance(record, verdicts.VerdictCounts):
                counted = counts.setdefault(record.rule, Counter())
                counted.update(msgspec.structs.asdict(record.added))
                counted.subtract(msgspec.structs.asdict(record.taken_back))
        self._console.print()
        self._console.print(_table(rules, counts))
        return digests

    def judge_later(self) -> None:
        """Judge rules that did not exist when the messages were written, on the same topics."""
        rules = load([str(CAPTURES / "later.rules")])
        interest = Projector(rules).interest
        traces = [
            decode(message.value(), interest).traces
            for topic in self._settings.source_topics
            for message in reader.read(self._settings, topic)
        ]
        counts: dict[str, Counter[str]] = {}
        for _, judgement in offline.judge_spans(traces, rules):
            counts.setdefault(judgement.rule.id, Counter())[judgement.verdict.value] += 1
        self._console.print("\nThe same topics under rules written only now:\n")
        self._console.print(_table(rules, counts))

    def seal(self) -> None:
        """Keep signed evidence of what was judged, and write the report on it."""
        signer = Signer.generated("localhost/betrace-demo")
        store = open_storage(str(self._directory / "evidence"))
        worker = LedgerWorker(self._settings, LedgerSettings(store, [signer]))
        # It reads and seals everything before it ends.
        worker.stop()
        worker.run()
        (self._directory / "ledger.pub").write_text(f"{signer.verifier().encode()}\n")
        # A report covers whole minutes, and a demo may be shorter than one.
        end_ms = evidence_report.minute(time.time_ns() // 1_000_000) + verdicts.MINUTE_MS
        verifiers = [signer.verifier()]
        made = evidence_report.build(str(self._directory / "evidence"), self._begun_ms, end_ms, None, verifiers)
        options.write_page(self._directory / "report.html", page(made))

    def write_page(self, shown: Digest) -> None:
        """Write the page of a signal, with the waterfall of its trace."""
        rows, gone = signals.trace_of(self._settings, shown)
        (self._directory / "signal.html").write_text(waterfall_html.page(shown, rows, gone), encoding="utf-8")

    def _show(self, shown: Digest) -> None:
        self._console.print(f"  [bold]{shown.severity.capitalize():<9}[/]{escape(shown.title)}", soft_wrap=True)
        self._console.print(f"           [dim]{escape(shown.message)}[/]", soft_wrap=True)
        self._console.print(f"           [dim]signal {shown.uid}, trace {shown.trace_id}[/]", soft_wrap=True)


def _play(producer: Producer, name: str, topic: str) -> int:
    count = 0
    with resources.as_file(CAPTURES / f"{name}.bin.gz") as path:
        for frame in capture.read(path):
            producer.produce(topic, frame.value, frame.key)
            producer.poll(0)
            count += 1
    return count


def _run(settings: Settings) -> None:
    """Run `betrace run` as a user would; show its output only if it fails."""
    where = ["--bootstrap", settings.bootstrap, "--state-dir", str(settings.state_dir)]
    rules = ["--rules", str(CAPTURES / "demo.rules")]
    with tempfile.TemporaryFile() as output:
        with ExitStack() as ending:
            with _interrupts_later():
                # A new session: Ctrl-C reaches the demo alone, which then stops the run in order.
                run = subprocess.Popen(  # noqa: S603, the command is this program
                    [sys.executable, "-m", "streams.cli", "run", *rules, *where, *RUN],
                    stderr=output,
                    start_new_session=True,
                    env=_without_settings(),
                )
                ending.callback(run.wait)
                ending.callback(run.terminate)
            code = run.wait()
        if code:
            output.seek(0)
            raise StateError(
                f"betrace run ended with exit code {code}\n{output.read().decode()}", action="see its output above"
            )


def _without_settings() -> dict[str, str]:
    """Return the environment without the user's settings: the demo is the same for everybody."""
    return {name: value for name, value in os.environ.items() if not name.startswith("BETRACE_")}


def _table(rules: RuleSet, counts: dict[str, Counter[str]]) -> Table:
    table = Table(
        "rule", "severity", *(Column(name, justify="right") for name in ("applicable", "held", "broken", "pass rate"))
    )
    for rule in rules.rules:
        counted = counts.get(rule.id, Counter())
        applicable = counted.total()
        pass_rate = f"{counted['held'] / applicable:.0%}" if applicable else "-"
        figures = (applicable, counted["held"], counted["broken"])
        table.add_row(rule.id, rule.severity.value, *map(str, figures), pass_rate)
    return table


def _next(directory: Path, shown: Digest, *, can_restart: bool) -> str:
    """Return what was written, and what to run next; in a container the topics disappear with it."""
    betrace, quoted_directory = _program(), shlex.quote(str(directory))
    next_lines = [
        f'export BETRACE_BOOTSTRAP="$({betrace} broker start --data-dir {quoted_directory}/kafka)"',
        f"{betrace} signals show {shown.uid}",
    ]
    return "\n".join(
        [
            f"\nWhat an auditor would receive: {directory}/report.html",
            f"The last signal and its trace: {directory}/signal.html",
            "\nNothing is left running. To continue with the same topics:\n"
            if can_restart
            else "\nNothing is left running. To continue:\n",
            *(f"  {each}" for each in (next_lines if can_restart else [])),
            f"  {betrace} evidence verify {quoted_directory}/evidence --key {quoted_directory}/ledger.pub",
            *(
                [f"\nTo stop that Kafka: {betrace} broker stop --data-dir {quoted_directory}/kafka"]
                if can_restart
                else []
            ),
        ]
    )


def _program() -> str:
    """Return how to call this program: by its name if it is on the path, else by its location."""
    script = Path(sys.executable).with_name("betrace")
    if shutil.which("betrace") or not script.exists():
        return "betrace"
    here = Path.cwd()
    return shlex.quote(str(script.relative_to(here) if script.is_relative_to(here) else script))
