"""The map: every stage in order, a few lines each.

    source record  ─ decode ──►  traces of spans                    streams.decode
    spans          ─ project ─►  facts                              streams.projection
    facts          ─ flush ───►  one message per facts partition    streams.ingest
    facts message  ─ apply ───►  closed windows                     streams.windows
    closed window  ─ judge ───►  verdicts                           dsl.judge
    verdict        ─ publish ─►  signals                            streams.windows.outcomes, topics.signals
    all of these   ─ seal ────►  signed evidence                    streams.evidence.ledger

The first three rows are run by `streams.ingest`, the others by `streams.sessions`. Where the scanner was compiled, it
reads records that follow one another in one step (`streams.decode.batches`) and counts their traces
(`streams.decode.touches`).

`streams.inspect.offline` is the same without Kafka.
"""

from __future__ import annotations

import asyncio

from confluent_kafka.admin import AdminClient

from streams.config.settings import Settings
from streams.ingest.loop import Ingest
from streams.observe.health import Health
from streams.rules import registry
from streams.sessions import recovery
from streams.sessions.app import SessionsApp
from streams.sessions.worker import Ends, SessionsWorker
from streams.supervisor.stopping import stopping


def run_ingest(settings: Settings, health: Health | None = None) -> Ingest:
    """Create an ingest worker with the active rules; call its `run`."""
    return Ingest(settings, registry.read_active(settings), health)


def run_sessions(settings: Settings, ends: Ends | None = None, health: Health | None = None) -> None:
    """Run sessions until a signal; with `ends`, report to the supervisor what is evaluated up to them.

    Raises:
        StateError: continuing would lose or invent a signal.
    """
    admin = AdminClient({**settings.client()})
    identity = recovery.identify(admin, settings)
    known, active = registry.read(settings)
    state = health or Health()
    if active is not None:
        state.use_rules(active)

    async def main() -> None:
        app = SessionsApp(settings, SessionsWorker(settings, known, identity, state), ends, state)
        with stopping(app.stop):
            await app.run()

    asyncio.run(main())
