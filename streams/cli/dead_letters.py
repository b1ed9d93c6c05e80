"""Implements `betrace dead-letters`: lists the source records that could not be read, and decrypts them with a key.

In: the dead letters topic, and a private key. Out: a JSON object per dead letter on stdout, or a file per record.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
from confluent_kafka import Message

from streams.cli import commands, options
from streams.cli.ledger import read_text
from streams.config.security import Security
from streams.config.settings import Settings
from streams.errors import ConfigError
from streams.kafka import follow
from streams.observe import logs
from topics.records import dead_letters, sealed_box
from topics.records.sealed_box import BoxError

FOUND = 1

_FILE = click.Path(dir_okay=False, path_type=Path)


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """The output of `list` for a dead letter; `time_ms` is its Kafka timestamp. None means unknown."""

    topic: str
    partition: int
    offset: int
    time_ms: int
    reason: str
    length: int | None
    sha256: str | None
    encryption: str | None


@commands.group("dead-letters", epilog="\b\nExample:\n  betrace dead-letters list --bootstrap localhost:9092")
def command() -> None:
    """List the source records that could not be read, and decrypt them."""
    logs.configure()


@command.command(epilog="\b\nExample:\n  betrace dead-letters keygen --key letters.key --pub letters.pub")
@click.option("--key", type=_FILE, required=True, help="File to write the private key to.")
@click.option("--pub", type=_FILE, required=True, help="File to write the public key to.")
def keygen(key: Path, pub: Path) -> None:
    """Generate a key pair for betrace run --dead-letter-key. Existing files are never overwritten."""
    if there := [str(path) for path in (key, pub) if path.exists()]:
        raise ConfigError(f"no key was generated: {', '.join(there)} already exist; give names of new files")
    private, public = sealed_box.generate()
    for path, content, mode in ((key, private, 0o600), (pub, public, 0o644)):
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(content)
        except OSError as error:
            raise ConfigError(f"no key was generated: {path}: {error.strerror}") from error


@command.command(
    "list",
    short_help="Print a JSON object per dead letter.",
    epilog="\b\nExample:\n  betrace dead-letters list --bootstrap localhost:9092",
)
@options.cluster
@options.prefix
def list_letters(*, bootstrap: str, security: Security, prefix: str) -> None:
    """Print a JSON object per dead letter: its source offset, reason, length and hash."""
    for message in _letters(bootstrap, security, prefix):
        click.echo(msgspec.json.encode(_letter(message)))


@command.command(
    short_help="Write the records of encrypted dead letters to files.",
    epilog="\b\nExample:\n  betrace dead-letters decrypt letters/ --key letters.key",
)
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--key", type=_FILE, required=True, help="File with the private key.")
@options.cluster
@options.prefix
def decrypt(directory: Path, key: Path, *, bootstrap: str, security: Security, prefix: str) -> None:
    """Write the bytes of each encrypted dead letter to DIRECTORY, as TOPIC-PARTITION-OFFSET; print the names.

    Reports letters that this key does not decrypt on stderr, and exits with 1.
    """
    try:
        private = sealed_box.read_private_key(read_text(key).encode())
    except BoxError as error:
        raise ConfigError(f"{key}: {error}") from error
    directory.mkdir(0o700, parents=True, exist_ok=True)
    failed = False
    for message in _letters(bootstrap, security, prefix):
        headers = _headers(message)
        if "encryption" not in headers:
            continue
        letter = _letter(message)
        # The name comes from a header that anybody may have written: only a valid topic name becomes a path.
        name = f"{letter.topic}-{letter.partition}-{letter.offset}"
        try:
            content = dead_letters.content(message.value() or b"", headers, private)
        except BoxError as error:
            click.echo(f"{name}: {error}", err=True)
            failed = True
            continue
        path = directory / name
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
        click.echo(path)
    if failed:
        raise click.exceptions.Exit(FOUND)


def _letters(bootstrap: str, security: Security, prefix: str) -> Iterator[Message]:
    settings = Settings(bootstrap=bootstrap, security=security, state_dir=Path(), prefix=prefix)
    messages = follow.follow(
        settings.reader(), settings.topic("dead_letters"), follow.since("earliest", 0), until_end=True
    )
    return (message for message in messages if _is_letter(message))


def _is_letter(message: Message) -> bool:
    headers = _headers(message)
    numbers = (headers.get("partition", ""), headers.get("offset", ""))
    return dead_letters.is_topic(headers.get("topic", "")) and all(each.isdecimal() for each in numbers)


def _letter(message: Message) -> Letter:
    headers = _headers(message)
    length = headers.get("length", "")
    return Letter(
        topic=headers["topic"],
        partition=int(headers["partition"]),
        offset=int(headers["offset"]),
        time_ms=message.timestamp()[1],
        reason=headers.get("reason", ""),
        length=int(length) if length.isdecimal() else None,
        sha256=headers.get("sha256"),
        encryption=headers.get("encryption"),
    )


def _headers(message: Message) -> dict[str, str]:
    headers = message.headers() or []
    pairs = [*headers.items()] if isinstance(headers, dict) else headers
    return {
        name: value.decode(errors="replace") if isinstance(value, bytes) else value
        for name, value in pairs
        if value is not None
    }
