"""Defines what verification finds: a closed set of faults, each finding with its location."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Fault(Enum):
    """The kind of a finding."""

    MISSING = "missing"
    UNKNOWN = "unknown file"
    CHANGED = "changed"
    UNSIGNED = "not signed"
    TRUNCATED = "truncated"
    INCONSISTENT = "inconsistent"
    GAP = "gap"


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault at a location: a file of the evidence, and within it a topic partition if known."""

    location: str
    fault: Fault
    message: str

    def text(self) -> str:
        """Return the finding as a line.

        >>> Finding("seals/000/000/007.tlog", Fault.MISSING, "the seal does not exist").text()
        'seals/000/000/007.tlog: missing: the seal does not exist'
        """
        return f"{self.location}: {self.fault.value}: {self.message}"
