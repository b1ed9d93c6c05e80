"""The configurations for SIEMs that cannot run here: they parse and read the right records from Kafka."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from streams.observe import metrics
from tests.support import paths
from tests.support.gotools import GoMissingError, fired
from topics import SIGNALS
from topics.signals import ocsf_objects
from topics.signals.schemas import SCHEMAS
from topics.spec import Layout, topic_plans

ROOT = paths.ROOT / "topics"
SIEM = ROOT / "siem"
[TOPIC] = [planned.name for planned in topic_plans(SIGNALS, Layout())]

SPLUNK_SINK = set((paths.FIXTURES / "siem" / "splunk-connect-2.2.1.txt").read_text().split())
"""Every setting that SplunkSinkConnectorConfig of version 2.2.1 defines."""

KAFKA_CONNECT = {"connector.class", "tasks.max", "topics", "key.converter", "value.converter"}


def loaded(name: str) -> Any:  # noqa: ANN401, whatever YAML holds
    """Load a YAML file."""
    return YAML(typ="safe").load((SIEM / name).read_text())


def test_splunk_connect() -> None:
    """Kafka Connect forwards committed signals from the first on, with settings that the connector defines."""
    config = json.loads((SIEM / "splunk/connect.json").read_text())["config"]

    others = {name for name in config if not name.startswith("consumer.override.")} - KAFKA_CONNECT
    assert others <= SPLUNK_SINK
    assert config["topics"] == TOPIC
    assert config["consumer.override.isolation.level"] == "read_committed"
    assert config["consumer.override.auto.offset.reset"] == "earliest"
    assert config["splunk.hec.token"].startswith("${file:")


def test_splunk_collector() -> None:
    """The Collector's Splunk exporter gets what `receive.yaml` receives, and the file contains no token."""
    [received] = loaded("collector/receive.yaml")["receivers"]
    config = loaded("collector/splunk.yaml")
    [exporter] = config["exporters"]

    assert config["service"]["pipelines"]["logs/signals"] == {"receivers": [received], "exporters": [exporter]}
    assert config["exporters"][exporter]["token"].startswith("${env:")


@pytest.mark.parametrize("name", ["props.conf", "limits.conf"])
def test_splunk_reads_whole_signals(name: str) -> None:
    """Splunk's limits are above the size of the largest signal."""
    parsed = configparser.ConfigParser()
    parsed.read(SIEM / "splunk" / name)

    limits = [int(value) for section in parsed.sections() for value in parsed[section].values() if value.isdigit()]
    assert limits
    assert min(limits) > 512 * 1024


def test_filebeat() -> None:
    """Filebeat reads committed signals from the first on, and derives an id from uid and revision."""
    config = loaded("elastic/filebeat.yml")
    [kafka] = config["filebeat.inputs"]
    fingerprint = config["processors"][-1]["fingerprint"]

    assert kafka["topics"] == [TOPIC]
    assert (kafka["isolation_level"], kafka["initial_offset"]) == ("read_committed", "oldest")
    assert (fingerprint["fields"], fingerprint["target_field"]) == (["event.id"], "@metadata._id")


def test_vector() -> None:
    """Vector reads committed signals from the first on, and each sink has an existing input."""
    config = loaded("vector/vector.yaml")
    [source] = config["sources"].values()

    assert source["topics"] == [TOPIC]
    assert source["librdkafka_options"] == {"isolation.level": "read_committed"}
    assert source["auto_offset_reset"] == "earliest"
    parts = config["sources"] | config["transforms"]
    assert all(
        set(sink["inputs"]) <= set(parts) and sink["acknowledgements"] == {"enabled": True}
        for sink in config["sinks"].values()
    )


def test_vector_posts_severe_signals_one_by_one() -> None:
    """The filter passes to the webhook high and critical signals, and those it cannot parse."""
    config = loaded("vector/vector.yaml")
    webhook, severe = config["sinks"]["webhook"], config["transforms"]["severe"]

    assert (["severe"], "http", "post") == (webhook["inputs"], webhook["type"], webhook["method"])
    assert {"max_events": 1} == webhook["batch"]
    assert severe["inputs"] == [*config["sources"]]
    [least] = re.findall(r"to_int\(signal\.severity_id\) \?\? 0\) >= (\d)", severe["condition"]["source"])
    assert ocsf_objects.Severity.HIGH == int(least)


@pytest.mark.timeout(1800)
@pytest.mark.go
@pytest.mark.parametrize(
    ("series", "fires"),
    [
        ('betrace_signals_total{rule="pii", severity="high"} _x20 1x4', [{"rule": "pii", "severity": "high"}]),
        ('betrace_signals_total{rule="pii", severity="high"} 7x20 8x4', [{"rule": "pii", "severity": "high"}]),
        ('betrace_signals_total{rule="pii", severity="high"} 7x24', []),
        ('betrace_signals_total{rule="pii", severity="low"} 0+1x24', []),
    ],
)
def test_prometheus_alerts_on_severe_signals(series: str, fires: list[dict[str, str]]) -> None:
    """The first signal and each further one fire the alert for five minutes; low severities do not."""
    try:
        program = fired()
    except GoMissingError as error:
        pytest.skip(str(error))
    command: list[str | Path] = [program, SIEM / "prometheus/alerts.yaml", "24"]

    done = subprocess.run(command, input=f"load 1m\n  {series}\n", capture_output=True, text=True, check=True)

    assert fires == [json.loads(line)["labels"] for line in done.stdout.splitlines()]


def test_prometheus_alert_uses_an_existing_metric() -> None:
    """The alert uses an existing metric of BeTrace, with its labels."""
    [rule] = loaded("prometheus/alerts.yaml")["groups"][0]["rules"]

    assert {"betrace_signals_total"} == set(re.findall(r"betrace_\w+", rule["expr"]))
    assert ("rule", "severity") == metrics.SIGNALS._labelnames


def test_logstash() -> None:
    """Logstash reads committed signals from the first on, and the file defines every column that it sends."""
    text = (SIEM / "sentinel/logstash.conf").read_text()
    code = "\n".join(line.split("#")[0] for line in text.splitlines())

    assert code.count("{") - code.count("${") == code.count("}") - code.count("${")
    assert f'topics => ["{TOPIC}"]' in code
    assert 'isolation_level => "read_committed"' in code
    assert 'auto_offset_reset => "earliest"' in code
    [columns] = re.findall(r"key_names => (\[.*\])", code)
    made = re.findall(r'=> "([A-Z]\w+)"$', code, re.MULTILINE) + re.findall(r'target => "([A-Z]\w+)"', code)
    assert set(json.loads(columns)) == set(made)


@pytest.mark.parametrize("path", [path for path in SIEM.rglob("*") if path.is_file() and path.name != "README.md"])
def test_page_lists_each_file_and_how_it_was_tested(path: Path) -> None:
    """The page's table lists every file, and whether it was run or only checked."""
    page = (SIEM / "README.md").read_text()
    rows = [line for line in page.splitlines() if f"`{path.relative_to(SIEM)}`" in line and line.startswith("|")]

    assert rows
    assert all(re.search(r"\| (\*\*run\*\*|half|checked): .+ \|$", row) for row in rows)


def test_files_that_pages_name_exist() -> None:
    """The files that the pages name exist."""
    for page in (SIEM / "README.md", ROOT / "collector" / "README.md"):
        names = re.findall(r"^\| [^|]*\| ([^|]*) \|", page.read_text(), re.MULTILINE)

        files = [name for cell in names for name in re.findall(r"`([\w/]+\.(?:conf|ya?ml|json))`", cell)]

        assert [name for name in files if not (page.parent / name).exists()] == []


def test_schemas_are_in_the_folder_that_the_page_names() -> None:
    """Both JSON formats have their schema in the folder that the page names."""
    assert all((ROOT / "signals" / "schemas" / name).exists() for name in SCHEMAS)
