"""Reads and validates `dedup`: by which attributes, and for how long, the signals of a rule are grouped.

    YAML      dedup: {by: [user.id, tenant.id], for: 1h}
    a header  // dedup: user.id, tenant.id for 1h

In: a header line or a YAML mapping, as fields `dedup.by` and `dedup.for`. Out: `Dedup` and problems; it is left out
when one of its values is invalid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dsl import problems
from dsl.files.field import Field
from dsl.files.yaml_nodes import YamlEntry, YamlNode, YamlScalar, YamlSequence
from dsl.files.yaml_reader import YamlReader
from dsl.judge.ruleset import Dedup
from dsl.problems import Location, Problem, Spot
from dsl.syntax.nodes import Duration, TextRange
from dsl.syntax.printer import duration_text
from dsl.syntax.source import replace_surrogates
from dsl.syntax.tokens import UNIT_NS, quantity

KEY = "dedup"
KEYS = ("by", "for")

MAX_NAMES = 8
MIN_MS = 1000
MAX_MS = 30 * 86_400_000

_BY, _FOR = (f"{KEY}.{key}" for key in KEYS)
_MS_NS = UNIT_NS["ms"]
_HEADER_PARTS = 3
_HEADER_FORM = "a list of names and a duration, such as `user.id, tenant.id for 1h`"
_PERIOD = "a duration of whole milliseconds from 1s to 30d"
_NAME = "the name of an attribute without brackets"


def header_fields(field: Field, reported: list[Problem]) -> Iterator[tuple[str, Field]]:
    """Yield the two fields of a header line; an empty line yields one that is empty."""
    if not field.text:
        yield KEY, field
    elif len(parts := field.text.rsplit(maxsplit=2)) < _HEADER_PARTS or parts[1] != "for":
        reported.append(problems.wrong_type(field.spot, field.text, _HEADER_FORM))
    else:
        by, _, period = parts
        names = tuple(name.strip() for name in by.split(","))
        yield _BY, Field(names, _part(field.spot, 0, len(by)))
        yield _FOR, Field((period,), _part(field.spot, len(field.text) - len(period), len(period)))


def _part(spot: Spot, start: int, length: int) -> Spot:
    """Return the spot of a part of the text at a spot."""
    at = spot.location
    return Spot(Location(at.path, at.line, at.column + start), spot.excerpt, length)


def yaml_fields(reader: YamlReader, node: YamlNode) -> dict[str, Field]:
    """Return the two fields of a mapping, without those that have a value of the wrong type."""
    if isinstance(node, YamlScalar) and node.value is None:
        return {KEY: Field((), node.spot)}
    if (mapping := reader.mapping(node, KEY, KEYS)) is None:
        return {}
    fields = {f"{KEY}.{key}": _field(reader, entry, key) for key, entry in mapping.entries.items() if key in KEYS}
    reader.reported.extend(problems.missing_key(mapping.spot, key) for key in KEYS if key not in mapping.entries)
    return {key: field for key, field in fields.items() if field is not None}


def read_dedup(filled: Mapping[str, Field], reported: list[Problem]) -> Dedup | None:
    """Read the fields that have a value."""
    if _BY not in filled and _FOR not in filled:
        return None
    names = _names(filled[_BY], reported) if _BY in filled else None
    for_ms = _for_ms(filled[_FOR], reported) if _FOR in filled else None
    return None if names is None or for_ms is None else Dedup(names, for_ms)


def written(dedup: Dedup) -> dict[str, object]:
    """Return the value of `dedup` as YAML has it."""
    return {"by": list(dedup.by), "for": duration_text(dedup.for_ms * _MS_NS)}


def text(dedup: Dedup) -> str:
    """Return the value of `dedup` as a header has it.

    >>> text(Dedup(("tenant.id", "user.id"), 5_400_000))
    'tenant.id, user.id for 90m'
    """
    return f"{', '.join(dedup.by)} for {duration_text(dedup.for_ms * _MS_NS)}"


def _field(reader: YamlReader, entry: YamlEntry, key: str) -> Field | None:
    """Return the texts of a key; if it has other values, report a problem and return None."""
    node = entry.node
    items = node.items if isinstance(node, YamlSequence) and key == "by" else (node,)
    scalars = [item for item in items if isinstance(item, YamlScalar)]
    if len(scalars) < len(items):
        reader.reported.append(problems.wrong_type(node.spot, key, "a list of texts" if key == "by" else "text"))
        return None
    texts = ["" if each.value is None else each.text.strip() for each in scalars]
    if isinstance(node, YamlScalar) and key == "by":
        texts = [name.strip() for name in texts[0].split(",")]
    return Field(tuple(texts), node.spot if any(texts) else entry.key.spot)


def _names(field: Field, reported: list[Problem]) -> tuple[str, ...] | None:
    """Return the names in order, each once."""
    wrong = [name for name in field.texts if not name or "[" in name]
    reported += [
        problems.wrong_type(field.spot, name, _NAME) if name else problems.empty_value(field.spot, _BY)
        for name in wrong
    ]
    names = tuple(sorted(map(replace_surrogates, {*field.texts})))
    if len(names) > MAX_NAMES:
        reported.append(problems.wrong_type(field.spot, ", ".join(field.texts), f"a list of at most {MAX_NAMES} names"))
    return None if wrong or len(names) > MAX_NAMES else names


def _for_ms(field: Field, reported: list[Problem]) -> int | None:
    value = quantity(field.text, TextRange(0, len(field.text)))
    if isinstance(value, Duration) and value.value_ns % _MS_NS == 0 and MIN_MS <= value.value_ns // _MS_NS <= MAX_MS:
        return int(value.value_ns) // _MS_NS
    reported.append(problems.wrong_type(field.spot, field.text, _PERIOD))
    return None
