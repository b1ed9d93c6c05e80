"""Finds which of some names occur in an archive, with DuckDB.

In: a database with the view `archive` (rows with a span), and names. Out: those of the names that a span, an event or
an attribute has.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import duckdb

from streams.archive.schema import BETWEEN_NAMES

FETCHED_ROWS = 10_000

# Spans of one kind have the same names, so there are few different rows.
_CARRIED = "SELECT DISTINCT name, names FROM archive"
_OF_EVENTS = "SELECT DISTINCT unnest(map_keys(event.attributes)), '' FROM (SELECT unnest(events) AS event FROM archive)"


def seen_names(database: duckdb.DuckDBPyConnection, names: AbstractSet[str]) -> frozenset[str]:
    """Return those of the names that occur; the events' attributes are read only if some are still missing."""
    unseen = set(names)
    for statement in (_CARRIED, _OF_EVENTS):
        rows = database.execute(statement) if unseen else None
        while rows is not None and unseen and (fetched := rows.fetchmany(FETCHED_ROWS)):
            for name, carried in fetched:
                unseen.discard(name)
                unseen.difference_update(carried.split(BETWEEN_NAMES))
    return frozenset(names - unseen)
