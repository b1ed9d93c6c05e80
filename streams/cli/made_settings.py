"""Builds `Settings` from options: defines, once for every command, which option sets which field.

In: the options of a command, parsed. Out: validated settings, or an error.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from streams.config.settings import Settings
from streams.decode.decoder import Format
from streams.errors import ConfigError
from streams.projection.redact import Redaction, read_key, treatments
from topics.records import sealed_box
from topics.records.sealed_box import BoxError
from topics.records.signals import SignalFormat


def _public_key(path: Path | None) -> bytes | None:
    try:
        return None if path is None else sealed_box.read_public_key(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"--dead-letter-key {path} cannot be read: {error.strerror}") from error
    except BoxError as error:
        raise ConfigError(f"--dead-letter-key {path}: {error}") from error


def _as_it_is(value: object) -> object:
    return value


FIELDS: dict[str, tuple[str, Callable[[Any], object]]] = {
    **{
        name: (name, _as_it_is)
        for name in (
            "bootstrap",
            "security",
            "state_dir",
            "source_topics",
            "prefix",
            "facts_partitions",
            "start",
            "allow_create_time",
            "identity",
            "signals_per_hour",
            "record_budget",
        )
    },
    **{
        name: (f"{name}_ms", _as_it_is)
        for name in ("gap", "lateness", "max_duration", "out_of_order", "idle_lag", "max_clock_skew", "flush", "step")
    },
    **{name: (f"{name}_bytes", _as_it_is) for name in ("window_memory", "window_disk")},
    "encoding": ("format", Format),
    "signal_format": ("signal_format", SignalFormat),
    "dead_letter_key": ("dead_letter_key", _public_key),
}
"""The field that an option sets, and what makes its value of the option's; `--redact` takes two options."""


def redaction(redact: str, redact_key_file: Path | None) -> Redaction:
    """Return what `--redact` and `--redact-key-file` say; raises `ConfigError`."""
    return Redaction(treatments(redact), read_key(redact_key_file))


def made_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that takes the options of `FIELDS` and `--redact` in place of `settings`.

    A command need not have all of them: the defaults apply to the others.
    """

    @wraps(command)
    def with_settings(**given: Any) -> None:  # noqa: ANN401, each option has its own type
        fields: dict[str, Any] = {"state_dir": Path()} | {
            field: convert(given.pop(name)) for name, (field, convert) in FIELDS.items() if name in given
        }
        if "redact" in given:
            fields["redaction"] = redaction(given.pop("redact"), given.pop("redact_key_file"))
        command(settings=Settings(**fields), **given)

    return with_settings
