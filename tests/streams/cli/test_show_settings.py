"""Tests `betrace run --show-settings`."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streams.cli import main
from streams.config.security import PASSWORD_VARIABLE
from streams.projection.redact import KEY_VARIABLE
from tests.support.run_options import options


def call(*arguments: object, **environment: str) -> Result:
    """`betrace run --show-settings` with more options, in an environment without BeTrace's variables."""
    return CliRunner(env=environment).invoke(main, ["run", "--show-settings", *map(str, arguments)])


def rows(result: Result) -> dict[str, tuple[str, str]]:
    """The origin and the value of each setting that was printed."""
    head, *lines = result.stdout.splitlines()
    second, third = head.index("FROM"), head.index("VALUE")
    return {line[:second].rstrip(): (line[second:third].rstrip(), line[third:]) for line in lines}


def test_every_setting_is_shown() -> None:
    """The table has each option that has a variable, in the order of the page of settings, and exits with 0."""
    result = call()

    names = [option.opts[0] for option in options()]
    assert (0, names) == (result.exit_code, [*rows(result)][: len(names)])


def test_origin_of_a_value() -> None:
    """An option precedes its variable, which precedes the default; values are shown as one types them."""
    shown = rows(call("--gap", "90s", "--allow-create-time", BETRACE_GAP="45s", BETRACE_WINDOW_DISK="3072MiB"))

    assert {
        "--gap": ("option --gap", "90s"),
        "--allow-create-time": ("option --allow-create-time", "yes"),
        "--window-disk": ("environment variable BETRACE_WINDOW_DISK", "3GiB"),
        "--lateness": ("default", "10m"),
        "--until-idle": ("default", "no"),
        "--signals-per-hour": ("default", "-"),
    }.items() <= shown.items()


def test_a_value_that_is_shown_can_be_given(tmp_path: Path) -> None:
    """What the table prints is valid input, and means the same."""
    given = rows(call("--gap", "1500ms", "--step", "0.3s", "--window-memory", "1GiB", "--state-dir", tmp_path))

    again = rows(
        call(*(word for name, (_, value) in given.items() if name in {"--gap", "--step"} for word in (name, value)))
    )

    assert ("1500ms", "300ms") == tuple(again[name][1] for name in ("--gap", "--step"))


def test_secrets_are_masked(tmp_path: Path) -> None:
    """Of a secret only its source is shown, a file before a variable; credentials in a URL are masked."""
    secret = tmp_path / "key"
    secret.write_text("s3cr3t")
    variables = {PASSWORD_VARIABLE: "s3cr3t", KEY_VARIABLE: "s3cr3t"}

    result = call("--redact-key-file", secret, "--evidence", "s3://id:s3cr3t@host/bucket", **variables)

    shown = rows(result)
    assert "s3cr3t" not in result.output
    assert {
        "SASL password": (f"environment variable {PASSWORD_VARIABLE}", "***"),
        "redaction key": (f"file {secret}", "***"),
        "ledger private key": ("not set", "-"),
        "--evidence": ("option --evidence", "s3://***@host/bucket"),
    }.items() <= shown.items()


def test_an_incomplete_configuration_is_shown() -> None:
    """What `run` would refuse, such as SASL without a password, is shown, too: the table is there to find it."""
    shown = rows(call("--security-protocol", "SASL_SSL"))

    assert ("not set", "-") == shown["SASL password"]


@pytest.mark.parametrize("text", ["2", "1h30"])
def test_a_value_that_cannot_be_parsed_is_still_an_error(text: str) -> None:
    """A value that is none has nothing to show."""
    assert 2 == call("--gap", text).exit_code
