"""Alert rules and dashboard: each metric and label that they name exists, and each alert is explained in the page."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest

from streams.observe import metrics
from tests.helm.chart import CHART, loaded
from tests.support.gotools import GoMissingError, fired

RULES = [rule for group in loaded(CHART / "files" / "alerts.yaml")["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((CHART / "files" / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
PAGE = (CHART / "README.md").read_text()

TARGET = {"namespace", "job", "instance", "pod"}
"""Labels that Prometheus gives to all that it reads."""


def declared() -> dict[str, set[str]]:
    """The labels of each series that a stage shows, by its name."""
    found: dict[str, set[str]] = {}
    for collector, names in metrics.REGISTRY._collector_to_names.items():
        labels = {*getattr(collector, "_labelnames", ())}
        labels |= {"fingerprint"} if collector is metrics.RULES_ACTIVE else set()
        labels |= {"le"} if collector is metrics.STAGE else set()
        found |= dict.fromkeys(names, labels)
    return found


def parsed(query: str) -> promql.Expr:
    """A query whose variables are Grafana's."""
    return promql.parse(query.replace("$__rate_interval", "5m").replace("$namespace", "security"))


def selectors(expression: Any) -> Iterator[promql.VectorSelector]:  # noqa: ANN401, the parser has no common type
    """Every selector of series in an expression."""
    found: list[promql.Expr] = []

    def note(each: promql.Expr) -> None:
        found.append(each)

    promql.walk(expression, note)
    return (each for each in found if isinstance(each, promql.VectorSelector))


@pytest.mark.parametrize("query", [rule["expr"] for rule in RULES] + QUERIES)
def test_series_and_labels_exist(query: str) -> None:
    """A query parses, and names only series and labels that stages export."""
    known = declared()
    expression = parsed(query)

    for each in selectors(expression):
        assert each.name in known
        assert {one.name for one in each.matchers.matchers} <= known[each.name or ""] | TARGET
    groups = re.findall(r"\b(?:by|on|group_left|group_right) \(([^)]*)\)", query)
    grouped = {label.strip() for group in groups for label in group.split(",") if label.strip()}
    assert grouped <= TARGET | {label for each in selectors(expression) for label in known[each.name or ""]}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alert_is_explained(rule: dict[str, Any]) -> None:
    """An alert has a severity, a summary whose labels its expression keeps, and a section with an action."""
    named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))

    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert named <= {label for labels in declared().values() for label in labels} | TARGET
    [section] = re.findall(rf"^### {rule['alert']}\n\n(.+?)(?=\n\n###? |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert len(section) > 100


def test_page_explains_exactly_the_alerts() -> None:
    """The sections are those of the alerts, in their order."""
    assert [rule["alert"] for rule in RULES] == re.findall(r"^### (Betrace\w+)$", PAGE, re.MULTILINE)


def test_names_in_a_query_are_found() -> None:
    """The parser finds names wherever they occur in a query."""
    found = selectors(parsed('topk(3, sum(rate(a{x="y"}[5m]))) > 0 or (b unless c offset 1h)'))

    assert ["a", "b", "c"] == [each.name for each in found]


def test_legends_distinguish_the_series_of_a_panel() -> None:
    """A legend names only labels that its query keeps."""
    for panel in PANELS:
        for target in panel["targets"]:
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            kept = {
                label.strip() for group in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in group.split(",")
            }
            assert named <= (kept or TARGET)


def test_panels_do_not_overlap() -> None:
    """Each panel has an area of its own in the grid of 24 columns, a title and a description."""
    places = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]

    assert len(set(places)) == len(places)
    assert 23 == max(x for x, _ in places)
    assert all(panel["title"] and panel["description"].endswith(".") for panel in PANELS)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


STORIES = loaded(Path(__file__).with_name("series.yaml"))


@pytest.mark.go
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story["says"])
def test_alerts_fire(story: dict[str, Any]) -> None:
    """Prometheus' own engine decides which alerts fire on the series of a scenario."""
    try:
        program = fired()
    except GoMissingError as error:
        pytest.skip(str(error))
    series = "".join(f"  {name} {values}\n" for name, values in story["series"].items())

    done = subprocess.run(
        [program, CHART / "files" / "alerts.yaml", str(story["at"])],
        input=f"load 1m\n{series}",
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert story["fire"] == [json.loads(line)["alert"] for line in done.stdout.splitlines()]


def test_every_alert_has_a_scenario() -> None:
    """Each alert fires in one of the scenarios."""
    assert {rule["alert"] for rule in RULES} == {alert for story in STORIES for alert in story["fire"]}
