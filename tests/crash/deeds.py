"""What the chaos test does to an installation.

In: how often each deed is to be done, and a source of chance. Out: the deeds, one after the other in an order that
chance gives, and a quiet end: ingest reads all and is asked to end, then sessions.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from tests.crash.fleet import Exit, Worker
from tests.crash.site import Site

FEWEST, MOST = 1, 4


class Deed(Enum):
    """Something that is done to workers or the broker."""

    KILL_INGEST = "kill_ingest"
    KILL_INGEST_BARE = "kill_ingest_bare"
    KILL_SESSIONS = "kill_sessions"
    KILL_SESSIONS_BARE = "kill_sessions_bare"
    MOVE_INGEST = "move_ingest"
    MOVE_SESSIONS = "move_sessions"
    PAUSE_INGEST = "pause_ingest"
    PAUSE_SESSIONS = "pause_sessions"
    PAUSE_BROKER = "pause_broker"
    RESTART_BROKER = "restart_broker"


@dataclass(frozen=True, slots=True)
class Plan:
    """How often each deed is done, how long a worker or the broker stands still, and the time between two deeds."""

    deeds: Mapping[Deed, int]
    pause_s: float
    broker_pause_s: float
    between_s: tuple[float, float]


class Chaos:
    """The deeds; `exits` are the workers that were asked to end."""

    def __init__(self, site: Site, plan: Plan, chance: random.Random) -> None:
        self.done: Counter[str] = Counter()
        self.exits: list[Exit] = []
        self._site = site
        self._fleet = site.fleet
        self._plan = plan
        self._chance = chance
        self._order = [deed for deed, count in plan.deeds.items() for _ in range(count)]
        chance.shuffle(self._order)

    def run(self) -> None:
        """Starts two workers of each role and does all deeds."""
        for role in ("ingest", "sessions"):
            self._fleet.add(role)
            self._fleet.add(role)
        for deed in self._order:
            time.sleep(self._chance.uniform(*self._plan.between_s))
            self._fleet.revive()
            self._do(deed)
            self.done[deed.value] += 1

    def end(self) -> list[Exit]:
        """All is read and judged, and the workers are asked to end; returns all that ever were."""
        for role in ("ingest", "sessions"):
            waited_s = self._site.wait_until_read(role)
            self._say(f"{role} has read all, {waited_s:.1f} s")
            self.exits += [self._fleet.leave(worker) for worker in self._fleet.running(role)]
        return self.exits

    def _do(self, deed: Deed) -> None:
        doing: dict[Deed, Callable[[], None]] = {
            Deed.KILL_INGEST: lambda: self._kill("ingest", bare=False),
            Deed.KILL_INGEST_BARE: lambda: self._kill("ingest", bare=True),
            Deed.KILL_SESSIONS: lambda: self._kill("sessions", bare=False),
            Deed.KILL_SESSIONS_BARE: lambda: self._kill("sessions", bare=True),
            Deed.MOVE_INGEST: lambda: self._move("ingest"),
            Deed.MOVE_SESSIONS: lambda: self._move("sessions"),
            Deed.PAUSE_INGEST: lambda: self._pause("ingest"),
            Deed.PAUSE_SESSIONS: lambda: self._pause("sessions"),
            Deed.PAUSE_BROKER: self._pause_broker,
            Deed.RESTART_BROKER: self._restart_broker,
        }
        doing[deed]()

    def _kill(self, role: str, *, bare: bool) -> None:
        worker = self._one(role)
        self._say(f"kill -9 {worker.name}{', its disk is lost' * bare}")
        self._fleet.kill(worker, bare=bare)

    def _move(self, role: str) -> None:
        """A worker more or a worker less: partitions move."""
        count = len(self._fleet.running(role))
        if self._chance.random() < (MOST - count) / (MOST - FEWEST):
            self._say(f"{self._fleet.add(role).name} joins")
            return
        ended = self._fleet.leave(self._one(role))
        self._say(f"{ended.worker} leaves, {ended.seconds:.1f} s")
        self.exits.append(ended)

    def _pause(self, role: str) -> None:
        """Long enough for its partitions to move, which it does not know when it goes on."""
        worker = self._one(role)
        self._say(f"{worker.name} stands still")
        with self._fleet.paused(worker):
            time.sleep(self._plan.pause_s)

    def _pause_broker(self) -> None:
        self._say("the broker stands still")
        with self._site.broker_paused():
            time.sleep(self._plan.broker_pause_s)

    def _restart_broker(self) -> None:
        self._say("the broker starts again")
        self._site.restart_broker()

    def _one(self, role: str) -> Worker:
        return self._chance.choice(self._fleet.running(role))

    def _say(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)  # noqa: T201, it is a command
