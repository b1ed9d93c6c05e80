"""The example notebook runs as a script, and finds what `betrace eval` and replays find."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from dsl import load
from streams.decode.decoder import Decoder
from streams.inspect.offline import judge_spans
from tests.support import recorded_archive
from tests.support.paths import CAPTURES
from topics.embedded import capture
from topics.otlp.requests import RecordKind

RULES = CAPTURES / "demo.rules"
KINDS = {"spans": RecordKind.SPANS, "logs": RecordKind.LOGS}


def test_notebook_counts_the_verdicts_of_the_recorded_day(tmp_path: Path) -> None:
    """The table has the verdicts of offline judging, and the last cell shows a trace that broke a rule."""
    recorded_archive.write(str(tmp_path))
    rules, _ = load([RULES])
    decoder = Decoder(rules.interest)
    records = [
        decoder.decode(frame.value, kind).traces
        for name, kind in KINDS.items()
        for frame in capture.read(CAPTURES / f"unkeyed_{name}.bin.gz")
    ]
    expected = Counter((each.rule.id, each.verdict.value) for _, each in judge_spans(records, rules))

    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("notebook.py")],
        env=os.environ | {"RULES": str(RULES), "ARCHIVE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stderr
    printed = re.findall(r"^(\S+) +(held|broken|undetermined|not_applicable) +(\d+)$", done.stdout, re.MULTILINE)
    assert expected == {(rule_id, verdict): int(count) for rule_id, verdict, count in printed}
    assert re.search(r"^[0-9a-f]{32}\n  \S+: missing \[.*\], present \[.*\]\n", done.stdout, re.MULTILINE)
