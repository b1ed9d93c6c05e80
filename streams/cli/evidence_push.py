"""Implements `betrace evidence push`: sends a report's figures to Drata or Vanta.

In: a directory or URL of evidence; secrets from the environment. Out: what was sent, or would be, on stdout.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import click
import msgspec

from streams.cli import commands, options
from streams.cli.evidence_report import build
from streams.cli.keys import key_files, verifiers
from streams.errors import ConfigError
from streams.evidence.report.push import DRATA_URL, VANTA_URL, Drata, Platform, Vanta, records


@commands.command(
    "push",
    short_help="Push the figures of a period to a compliance platform.",
    epilog="\b\nExample:\n  betrace evidence push evidence/ --platform drata --connection 12 --resource 34",
)
@click.argument("evidence")
@click.option("--platform", type=click.Choice(["drata", "vanta"]), required=True, help="Compliance platform.")
@options.moment("--from", default="90d", help="Start of the period.")
@options.moment("--to", help="End of the period, exclusive; by default the time up to which everything is judged.")
@click.option("--control", help="Include only rules for this control, such as SOC2/CC6.1.")
@key_files(required=False)
@click.option("--connection", type=int, help="Drata: id of the custom connection.")
@click.option("--resource", required=True, help="Id of the resource on the platform.")
@click.option("--link", help="Vanta: address at which a person finds the report.")
@click.option("--url", help="Another address of the API, such as that of another region.")
@click.option("--dry-run", is_flag=True, help="Print what would be sent, and send nothing.")
def command(
    evidence: str,
    platform: str,
    from_ms: int,
    to_ms: int | None,
    control: str | None,
    keys: tuple[Path, ...],
    connection: int | None,
    resource: str,
    link: str | None,
    url: str | None,
    *,
    dry_run: bool,
) -> None:
    """Push the figures of a period to a compliance platform: one record per rule, which replaces an earlier one.

    With --key the evidence is verified first, and nothing is pushed if it was changed; without it each record says that
    the evidence was not verified.

    Secrets come from the environment: DRATA_API_KEY, or VANTA_CLIENT_ID and VANTA_CLIENT_SECRET.
    """
    secret = _nothing if dry_run else _secret
    target: Platform
    if platform == "drata":
        if connection is None or not resource.isdecimal():
            raise click.UsageError("drata needs --connection and --resource, each a number")
        target = Drata(
            token=secret("DRATA_API_KEY"),
            connection=connection,
            resource=int(resource),
            url=(url or DRATA_URL).rstrip("/"),
        )
    else:
        if link is None:
            raise click.UsageError("vanta needs --link, an address for each record")
        target = Vanta(
            client_id=secret("VANTA_CLIENT_ID"),
            client_secret=secret("VANTA_CLIENT_SECRET"),
            resource=resource,
            link=link,
            url=(url or VANTA_URL).rstrip("/"),
        )
    figures = records(build(evidence, from_ms, to_ms, control, verifiers(keys)))
    if dry_run:
        for method, address, body in target.bodies(figures):
            click.echo(f"{method} {address}")
            click.echo(msgspec.json.format(msgspec.json.encode(body), indent=1))
        return
    target.push(figures)
    click.echo(f"pushed {len(figures)} records to {platform}")


def _secret(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ConfigError(f"{name} is not set in the environment")
    return value


_nothing: Callable[[str], str] = str
