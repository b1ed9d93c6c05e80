"""Defines the options that several commands share; each that is a setting is also an environment variable.

They are decorators of a command; `setting` makes one more. An option of a single command is defined at that command.
An option that differs from call to call, such as a period or an output format, has no variable.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from streams.config.security import PASSWORD_VARIABLE, Mechanism, Protocol, Security, read_password
from streams.config.settings import Settings, milliseconds, moment_ms, size_bytes
from streams.config.units import duration_text
from streams.decode.decoder import Format
from streams.errors import ConfigError
from streams.projection.budget import FACTOR
from streams.projection.redact import KEY_VARIABLE
from topics.records.signals import SignalFormat
from topics.spec import Layout

TRACE_ID_CHARS = 32

_Command = TypeVar("_Command", bound=Callable[..., Any])


def setting(name: str, *parameter: str, **attributes: Any) -> Callable[[_Command], _Command]:  # noqa: ANN401 - click's own
    """Return an option `--some-name` that is also `BETRACE_SOME_NAME` in the environment, and says so in `--help`.

    `parameter` is the name of the command's argument, `some_name` if it is not given.
    """
    variable = "BETRACE_" + name.removeprefix("--").replace("-", "_").upper()
    usual: dict[str, Any] = {"envvar": variable, "show_envvar": True, "show_default": True}
    return click.option(name, *parameter, **usual | attributes)


def names(_: click.Context, __: click.Parameter, text: str) -> tuple[str, ...]:
    """Return the names in a comma-separated list."""
    topics = any_names(_, __, text)
    if not topics:
        raise click.BadParameter("no topic is named")
    return topics


def any_names(_: click.Context, __: click.Parameter, text: str) -> tuple[str, ...]:
    """Return the names in a comma-separated list that may be empty."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def default_of(field: str) -> Any:  # noqa: ANN401, each field has its own type
    """Return the default of a field of `Settings`, where the defaults of the options are defined."""
    return next(each.default for each in dataclasses.fields(Settings) if each.name == field)


def duration_setting(name: str, help_text: str) -> Callable[[_Command], _Command]:
    """Return the option of a duration of `Settings`, with the default of its field."""
    field = name.removeprefix("--").replace("-", "_") + "_ms"
    return duration(name, duration_text(default_of(field)), help_text)


def duration(name: str, default: str, help_text: str) -> Callable[[_Command], _Command]:
    """Return an option that takes a duration such as 30s and gives milliseconds."""
    return setting(name, default=default, callback=as_duration, metavar="DURATION", help=help_text)


def as_duration(_: click.Context, __: click.Parameter, text: str) -> int:
    """Parse a duration such as 30s into milliseconds."""
    try:
        return milliseconds(text)
    except ConfigError as error:
        raise click.BadParameter(str(error)) from error


def as_size(_: click.Context, __: click.Parameter, text: str) -> int:
    """Parse a size such as 2GiB into bytes."""
    try:
        return size_bytes(text)
    except ConfigError as error:
        raise click.BadParameter(str(error)) from error


def as_optional_size(context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    """Parse as `as_size`; None if no text was given."""
    return None if text is None else as_size(context, parameter, text)


def trace_id(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    """Return a trace id in lower-case hex."""
    if text is not None and (len(text) != TRACE_ID_CHARS or set(text.lower()) - set("0123456789abcdef")):
        raise click.BadParameter(f"{text!r} is not a trace id: give 32 hex characters")
    return text and text.lower()


def moment(name: str, **attributes: Any) -> Callable[[_Command], _Command]:  # noqa: ANN401, as above
    """Return an option `--name` that takes a point in time and gives `name_ms`; None if it is not set."""
    parameter = name.removeprefix("--").replace("-", "_") + "_ms"
    return click.option(name, parameter, callback=_moment, metavar="TIME", show_default=True, **attributes)


def search_from(default: str, help_text: str) -> Callable[[_Command], _Command]:
    """Return an option `--from` that takes a point in time or `latest`, given as the text `begin`."""
    return click.option(
        "--from", "begin", callback=_begin, metavar="TIME", default=default, show_default=True, help=help_text
    )


def output_format(first: str, *others: str, help_text: str = "Output format.") -> Callable[[_Command], _Command]:
    """Return the option `--format`, given as `form`; the first format is the default."""
    return click.option(
        "--format", "form", type=click.Choice([first, *others]), default=first, show_default=True, help=help_text
    )


html = click.option(
    "--html", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write the page to this file."
)


def write_page(path: Path, text: str) -> None:
    """Write the page of `--html`; raises `ConfigError`."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"the page cannot be written: {error}") from error


def _begin(context: click.Context, parameter: click.Parameter, text: str) -> str:
    if text != "latest":
        _moment(context, parameter, text)
    return text


def _moment(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    try:
        return None if text is None else moment_ms(text, time.time_ns() // 1_000_000)
    except ConfigError as error:
        raise click.BadParameter(str(error)) from error


prefix = setting("--prefix", default=default_of("prefix"), help="Prefix of the names of BeTrace's own topics.")
source_topics = setting(
    "--source-topics",
    default=",".join(default_of("source_topics")),
    callback=names,
    help="The topics that Collectors write, separated by commas.",
)
facts_partitions = setting(
    "--facts-partitions",
    type=click.IntRange(min=1),
    default=default_of("facts_partitions"),
    help="Partitions of the facts topic; cannot be changed later.",
)
replication = setting(
    "--replication",
    type=click.IntRange(min=1),
    help="Replication factor of each topic; the brokers' default if omitted.",
)

encoding = setting(
    "--encoding",
    type=click.Choice([each.value for each in Format]),
    default=default_of("format").value,
    help="Encoding of source records.",
)
gap = duration_setting("--gap", "A trace's window closes after this long without a record.")
lateness = duration_setting("--lateness", "How long after that a late span still amends the verdict.")
max_duration = duration_setting(
    "--max-duration",
    "A window is closed after this long even if its trace continues.",
)
max_clock_skew = duration_setting(
    "--max-clock-skew",
    "Accept producers' timestamps up to this far ahead of the local clock.",
)
out_of_order = duration_setting("--out-of-order", "How far record times may go back within a source partition.")
signal_format = setting(
    "--signal-format",
    type=click.Choice([each.value for each in SignalFormat]),
    default=default_of("signal_format").value,
    help="Format of signals.",
)
identity = setting(
    "--identity",
    default=",".join(default_of("identity")),
    callback=any_names,
    metavar="NAMES",
    help="Attributes that a signal shows even if no rule names them, separated by commas.",
)
record_budget = setting(
    "--record-budget",
    type=click.IntRange(min=FACTOR),
    default=default_of("record_budget"),
    help="Ingest writes at most this many times the size of a source record, or 64 KiB if that is more; then "
    "it truncates what signals show.",
)
redact = setting(
    "--redact",
    default="",
    metavar="NAME=hash|drop|mask",
    help="What to do with an attribute's value before it leaves ingest; several are separated by commas.",
)
redact_key_file = setting(
    "--redact-key-file",
    type=click.Path(path_type=Path),
    help=f"File with the key of the hashes; {KEY_VARIABLE} in the environment if omitted.",
)

as_test = click.option(
    "--as-test", is_flag=True, help="Print traces as tests of the rule, in YAML, redacted as signals are."
)
one_rule = click.option(
    "--rule", "rule_id", metavar="ID", help="Only the rule with this id; --as-test needs it where there are several."
)


def refuse_without_as_test(*names: str) -> None:
    """Refuse parameters that only --as-test uses; what comes from the environment is for other commands as well.

    Raises:
        UsageError: one of them is on the command line.
    """
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        if name in names and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[0]} needs --as-test: nothing else uses it")


dead_letter_key = setting(
    "--dead-letter-key",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with a public key: dead letters then contain their records, encrypted for its owner.",
)


revision = setting(
    "--revision", metavar="TEXT", help="Source revision of the rule files, such as a commit; recorded with the push."
)
by = setting(
    "--pushed-by",
    "--by",
    "by",
    metavar="NAME",
    help="Who pushes the rules; recorded with the push. The user of this process if omitted.",
)


_SECURITY = (
    setting("--bootstrap", default="localhost:9092", help="Kafka bootstrap servers, as host:port[,host:port...]."),
    setting(
        "--security-protocol",
        type=click.Choice([each.value for each in Protocol]),
        default=Protocol.PLAINTEXT.value,
        help="Security protocol of the brokers.",
    ),
    setting(
        "--sasl-mechanism",
        type=click.Choice([each.value for each in Mechanism]),
        default=Mechanism.SCRAM_SHA_512.value,
        help="SASL mechanism.",
    ),
    setting("--sasl-username", help="SASL user name; with OAUTHBEARER the client id."),
    setting(
        "--sasl-password-file",
        type=click.Path(path_type=Path),
        help=f"File with the password or client secret; {PASSWORD_VARIABLE} in the environment if omitted.",
    ),
    setting("--sasl-token-url", metavar="URL", help="Token endpoint for OAUTHBEARER (client credentials grant)."),
    setting(
        "--ssl-ca-file",
        type=click.Path(path_type=Path),
        help="CA certificates that sign the brokers' certificates, as PEM.",
    ),
    setting("--ssl-cert-file", type=click.Path(path_type=Path), help="Client certificate, as PEM."),
    setting(
        "--ssl-key-file",
        type=click.Path(path_type=Path),
        help="Private key of the client certificate, as PEM without a password.",
    ),
)


def cluster(command: Callable[..., None]) -> Callable[..., None]:
    """Return the options of the connection to Kafka, given to the command as `bootstrap` and `security`."""

    @wraps(command)
    def with_security(
        security_protocol: str,
        sasl_mechanism: str,
        sasl_username: str | None,
        sasl_password_file: Path | None,
        sasl_token_url: str | None,
        ssl_ca_file: Path | None,
        ssl_cert_file: Path | None,
        ssl_key_file: Path | None,
        **others: object,
    ) -> None:
        protocol = Protocol(security_protocol)
        security = Security(
            protocol=protocol,
            mechanism=Mechanism(sasl_mechanism),
            username=sasl_username,
            password=read_password(sasl_password_file) if protocol.has_sasl else None,
            token_url=sasl_token_url,
            ca_file=ssl_ca_file,
            cert_file=ssl_cert_file,
            key_file=ssl_key_file,
        )
        command(security=security, **others)

    decorated: Callable[..., None] = with_security
    for option in reversed(_SECURITY):
        decorated = option(decorated)
    return decorated


def evidence(command: _Command) -> _Command:
    """Return the options for evidence storage and private keys, given as `evidence` and `ledger_keys`."""
    where = setting("--evidence", help="Evidence storage: a directory, or a URL such as s3://bucket/path.")
    keys = setting(
        "--ledger-key",
        "ledger_keys",
        multiple=True,
        type=click.Path(dir_okay=False, path_type=Path),
        help="File with the ledger's private key; during a key rotation two, the new one first.",
    )
    return where(keys(command))


def metrics(command: _Command) -> _Command:
    """Return the options for the metrics server, given as `metrics_port` and `metrics_address`."""
    port = setting(
        "--metrics-port",
        type=click.IntRange(0, 65_533),
        default=0,
        help="Serve /metrics, /healthz and /readyz on this port; with several stages, ingest uses it, sessions "
        "the next port and the ledger the one after. Each further worker's ports are three higher. 0 "
        "disables the server.",
    )
    address = setting("--metrics-address", default="127.0.0.1", help="Address to serve them on.")
    return port(address(command))


def layout(command: Callable[..., None]) -> Callable[..., None]:
    """Return the options that make a `Layout`, given to the command as `layout`."""

    @prefix
    @source_topics
    @facts_partitions
    @replication
    @wraps(command)
    def with_layout(
        prefix: str, source_topics: tuple[str, ...], facts_partitions: int, replication: int | None, **others: object
    ) -> None:
        try:
            made = Layout(prefix, source_topics, facts_partitions, replication)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        command(layout=made, **others)

    return with_layout
