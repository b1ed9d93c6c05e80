"""What verification finds: a closed list of faults, each finding with its place."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Fault(Enum):
    """What is wrong."""

    MISSING = "missing"
    UNKNOWN = "unknown file"
    CHANGED = "changed"
    UNSIGNED = "not signed"
    CUT = "cut"
    INCONSISTENT = "inconsistent"
    GAP = "gap"


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault at a place, which is a file of the evidence, and in it a topic partition where that is known."""

    place: str
    fault: Fault
    message: str

    def text(self) -> str:
        """The finding as a line.

        >>> Finding("seals/000/000/007.tlog", Fault.MISSING, "the seal is not there").text()
        'seals/000/000/007.tlog: missing: the seal is not there'
        """
        return f"{self.place}: {self.fault.value}: {self.message}"
