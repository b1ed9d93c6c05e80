"""values.yaml: every setting of `betrace run` under its own name, with what it does and its default."""

from __future__ import annotations

import re
from typing import Any

import click
import pytest

from tests.helm.chart import CHART, loaded
from tests.support.run_options import options

TEXT = (CHART / "values.yaml").read_text()

THE_CHARTS_OWN = {
    "bootstrap": "kafka:9092",
    "stateDir": "/var/lib/betrace",
    "metricsPort": 9464,
    "metricsAddress": "0.0.0.0",  # noqa: S104, who probes a pod is outside of it
}
"""Where a pod's default is another than a person's at a terminal."""


PUSH = {"--push", "--pushed-by", "--revision"}
"""Of a run that pushes its rules: the chart's stages never do."""


def camel(option: click.Option) -> str:
    """`--metrics-port` as a value is named."""
    first, *others = option.opts[0].removeprefix("--").split("-")
    return first + "".join(word.title() for word in others)


def default(option: click.Option) -> object:
    """What values.yaml has for an option that the chart leaves as it is."""
    return option.default if isinstance(option.default, str | int) else None


def test_each_setting_is_described() -> None:
    """Above each value is its option, with the description of `betrace run --help`."""
    described = dict(re.findall(r"^ *# (--[a-z-]+): (.+)$", TEXT, re.MULTILINE))

    assert {option.opts[0]: option.help for option in options() if option.opts[0] not in PUSH} == described


def test_each_description_precedes_its_value() -> None:
    """The line after a description is the value of that name."""
    pairs = re.findall(r"^ *# --([a-z-]+): .+\n *(\w+):", TEXT, re.MULTILINE)

    named = {option: re.sub(r"(?<!^)([A-Z])", r"-\1", value).lower() for option, value in pairs}
    elsewhere = {"rules", "role", "workers", "until-idle", "redact", "redact-key-file", "ledger-key"}
    ours = {option.opts[0].removeprefix("--") for option in options() if option.opts[0] not in PUSH}
    assert ours - elsewhere - files() == {option for option, value in named.items() if option == value}


def files() -> set[str]:
    """The options whose value is the key of a Secret."""
    return {f"{name}-file" for name in ("sasl-password", "ssl-ca", "ssl-cert", "ssl-key")}


@pytest.mark.parametrize(("name", "value"), loaded(CHART / "values.yaml")["settings"].items())
def test_default(name: str, value: Any) -> None:  # noqa: ANN401, whatever YAML holds
    """A setting that nobody sets has the same default as without the chart."""
    [option] = [option for option in options() if camel(option) == name]

    assert THE_CHARTS_OWN.get(name, default(option)) == value
