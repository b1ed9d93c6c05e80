"""Implements `--show-settings`: prints each setting in force with its origin, and does nothing else.

In: the options of a command in click's context, and the environment. Out: a table on stdout. It is built from the
options themselves, so it cannot lack one. Secrets are masked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any

import click
from click.core import ParameterSource

from streams.cli.ledger import KEY_VARIABLE as LEDGER_VARIABLE
from streams.cli.run_settings import as_text
from streams.cli.table import table
from streams.config.security import PASSWORD_VARIABLE
from streams.decode import backend
from streams.projection.redact import KEY_VARIABLE as REDACT_VARIABLE

NONE = "-"
MASK = "***"
DEFAULT = "default"

_HEAD = ("SETTING", "FROM", "VALUE")
_SECRETS = {
    "SASL password": (PASSWORD_VARIABLE, "sasl_password_file"),
    "redaction key": (REDACT_VARIABLE, "redact_key_file"),
    "ledger private key": (LEDGER_VARIABLE, "ledger_keys"),
}
"""The secrets, each with its variable and with the option for a file, which precedes the variable."""
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_FLAG = "streams.cli.show_settings"


def shown_on_request(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with the option `--show-settings`; it must be outermost, as it reads what was typed."""

    @wraps(command)
    def show_or_run(**params: Any) -> None:  # noqa: ANN401, the command's
        context = click.get_current_context()
        if not context.meta.get(_FLAG):
            command(**params)
            return
        for line in table(_HEAD, rows(context, os.environ)):
            click.echo(line)

    option = click.option(
        "--show-settings",
        is_flag=True,
        expose_value=False,
        callback=_note,
        help="Print every setting in force and where it comes from, then exit.",
    )
    return option(show_or_run)


def _note(context: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001, click passes it by position
    context.meta[_FLAG] = value


def rows(context: click.Context, environment: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield the name of each setting, where its value comes from, and the value."""
    for option in context.command.params:
        if isinstance(option, click.Option) and option.envvar is not None and option.name is not None:
            yield option.opts[0], _origin(context, option), _value(option.name, context.params[option.name])
    requested = environment.get(backend.VARIABLE)
    yield (
        backend.VARIABLE,
        f"environment variable {backend.VARIABLE}" if requested else DEFAULT,
        requested or backend.Backend.AUTO.value,
    )
    for name, (variable, files) in _SECRETS.items():
        if context.params[files]:
            yield name, f"file {as_text(files, context.params[files])}", MASK
        elif environment.get(variable):
            yield name, f"environment variable {variable}", MASK
        else:
            yield name, "not set", NONE


def _value(name: str, value: object) -> str:
    if value is None or value in ("", ()):
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    # A URL may contain credentials.
    return _USER_INFO.sub(MASK, as_text(name, value))


def _origin(context: click.Context, option: click.Option) -> str:
    source = context.get_parameter_source(option.name or "")
    if source is ParameterSource.COMMANDLINE:
        return f"option {option.opts[0]}"
    return f"environment variable {option.envvar}" if source is ParameterSource.ENVIRONMENT else DEFAULT
