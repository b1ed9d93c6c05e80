"""The map: every stage in order, a few lines each.

    source record  ─ decode ─►  traces of spans  ─ project ─►  facts       streams.decode.decoder, streams.projection.project
    facts          ─ flush ──►  one message per facts partition            streams.ingest
    facts message  ─ apply ──►  closed windows                             streams.windows
    closed window  ─ judge ──►  verdicts                                   dsl.judge.verdict
    verdict        ─ deliver ►  signals                                    streams.windows.outcomes, topics.records.signals
    all of these   ─ seal ───►  signed evidence                            streams.evidence.ledger

The first two rows are run by `streams.ingest`, the others by `streams.sessions`. Where the scanner was compiled, it
reads records that follow one another in one step (`streams.decode.batches`) and counts their traces
(`streams.decode.touches`).

`judge_spans` is the same without Kafka: what `betrace eval` runs, and what tests compare the real thing with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping

from confluent_kafka.admin import AdminClient

from dsl import Judgement, RuleSet, judge
from streams.config.settings import Settings
from streams.decode.decoder import TraceSpans
from streams.ingest.loop import Ingest
from streams.observe.health import Health
from streams.projection.project import IDENTITY_ATTRIBUTES, Projector
from streams.rules import registry
from streams.sessions import takeover
from streams.sessions.app import SessionsApp
from streams.sessions.worker import Ends, SessionsWorker
from streams.windows.chain import Bounds
from streams.windows.close import Close
from streams.windows.reorder import Arrival
from streams.windows.sessions import Sessions
from topics.records.facts import Entry

FILE = "file"
"""The source topic's name where the source is a file."""


def run_ingest(settings: Settings, health: Health | None = None) -> Ingest:
    """An ingest worker with the active rules; call its `run`."""
    return Ingest(settings, registry.read_active(settings), health)


def run_sessions(settings: Settings, ends: Ends | None = None, health: Health | None = None) -> None:
    """Runs sessions until a signal; with `ends` it tells the supervisor what below them is judged.

    Raises:
        StateError: going on would lose or invent a signal.
    """
    admin = AdminClient({**settings.client()})
    identity = takeover.identify(admin, settings)
    known, active = registry.read(settings)
    state = health or Health()
    if active is not None:
        state.use_rules(active)

    async def main() -> None:
        await SessionsApp(settings, SessionsWorker(settings, known, identity, state), ends, state).run()

    asyncio.run(main())


def judge_spans(
    traces: Iterable[Mapping[bytes, TraceSpans]], rules: RuleSet, identity: tuple[str, ...] = IDENTITY_ATTRIBUTES
) -> Iterator[tuple[Close, Judgement]]:
    """The verdicts on traces from a file: one window a trace, closed by the end of the input.

    `traces` are decoded records in any order. Judgements come by trace id, then in the order of the rules.
    """
    projector = Projector(rules, identity)
    counted = {fingerprint: atom.counted for fingerprint, atom in rules.atoms.items() if atom.counted}
    sessions = Sessions(Bounds(gap=1, lateness=0, max_duration=1), counted)
    for offset, record in enumerate(traces):
        for trace_id, trace in record.items():
            facts = projector.facts(trace)
            if facts:
                entry = Entry(trace_id, offset, offset, 0, trace.span_count, trace.root_seen, facts)
                sessions.waiting.add(0, Arrival(FILE, 0, entry), 0)
    for close in sessions.end():
        for judgement in judge(rules, close.chain.facts, whole=close.whole):
            yield close, judgement
