"""The whole way: SDK, Collector, Kafka, `betrace run`, signals. What is broken, only the applications know."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.apps.story import DEMO_RULES
from tests.support.collector.build import GoMissingError, binary
from tests.support.collector.run import Settings
from tests.support.program import CAPTURES, Program
from tests.support.record import send_day

pytestmark = [pytest.mark.broker, pytest.mark.collector]


@pytest.fixture(scope="module", autouse=True)
def _collector() -> None:
    try:
        binary()
    except GoMissingError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("encoding", ["otlp_proto", "otlp_json"])
@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "unkeyed"])
def test_broken_traces_are_signalled_with_any_collector_settings(
    kafka: str, fresh_prefix: str, tmp_path: Path, *, keyed: bool, encoding: str
) -> None:
    """Keyed or not, protobuf or JSON: one signal for each rule and trace that the applications broke, and no other."""
    program = Program(kafka, fresh_prefix, tmp_path)
    day = send_day(kafka, Settings(keyed, encoding, program.spans_topic, program.logs_topic), partitions=3)

    program.run_until_idle()

    said = {(rule, trace) for rule, traces in day.broken(DEMO_RULES).items() for trace in traces}
    assert said == program.broken()


def test_shipped_expectation_matches_the_applications(kafka: str, fresh_prefix: str) -> None:
    """`expected.json` names exactly the traces that the applications break with the same seed."""
    settings = Settings(keyed=True, spans_topic=f"{fresh_prefix}spans", logs_topic=f"{fresh_prefix}logs")
    shipped = json.loads((CAPTURES / "expected.json").read_text())

    day = send_day(kafka, settings, partitions=1)

    assert shipped == {rule: {"broken": traces} for rule, traces in day.broken(DEMO_RULES).items()}
