"""Compares what the workers of an installation left with what they must have said and kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from confluent_kafka import Message, TopicPartition

from streams.kafka import reader
from streams.rules import registry
from streams.sessions import recovery
from streams.sessions.last_checkpoint import last_checkpoint
from tests.crash.site import FACTS_PARTITIONS, Site
from tests.crash.truth import State, Truth, expected, published, recovered
from topics.cluster import admin


@dataclass(frozen=True, slots=True)
class Found:
    """What came of it; all but `signals`, `amended` and `open_windows` must be 0, `stores_compared` not.

    `states_different` counts the chains that differ in what was built again from a checkpoint without a disk, or with
    one of the disks that the workers left, however long ago. `honest_missing` and `honest_false` compare with what must
    be said where there are honest records alone, of traces that no hostile sender named.
    """

    signals: int
    amended: int
    open_windows: int
    facts_cut: int
    stores_compared: int
    missing: int
    too_many: int
    twice: int
    counts_different: int
    states_different: int
    honest_signals: int
    honest_missing: int
    honest_false: int

    @property
    def faults(self) -> int:
        """All that is wrong."""
        of_all = self.missing + self.too_many + self.twice + self.counts_different + self.states_different
        return of_all + self.honest_missing + self.honest_false


def judged(site: Site) -> Found:
    """Compares; no worker runs any more."""
    states = {number: list(_states(site, number)) for number in range(FACTS_PARTITIONS)}
    clocks_ms = {at: found[0].clock_ms for at, found in states.items()}
    settings = site.settings(site.directory)
    truth = expected(settings, site.rules, clocks_ms)
    said = published(settings)
    alone = expected(settings, site.rules, clocks_ms, honest_only=True)
    honest = {signal for signal in alone.signals if signal.trace_id not in truth.touched}
    honest_traces = alone.traces - truth.touched
    said_of_honest = {signal for signal in said.signals if signal.trace_id in honest_traces}
    return Found(
        signals=len(said.signals),
        amended=sum(signal.revision > 1 for signal in said.signals),
        open_windows=sum(state.open_windows for state in truth.states.values()),
        facts_cut=site.facts_cut(),
        stores_compared=sum(len(found) - 1 for found in states.values()),
        missing=len(truth.signals.keys() - said.signals.keys()),
        too_many=len(said.signals.keys() - truth.signals.keys()),
        twice=_twice(said),
        counts_different=len((truth.verdicts - said.verdicts) + (said.verdicts - truth.verdicts)),
        states_different=sum(truth.states[at].differing(state) for at, found in states.items() for state in found),
        honest_signals=len(honest),
        honest_missing=len(honest - said_of_honest),
        honest_false=len(said_of_honest - honest),
    )


def _twice(said: Truth) -> int:
    """How many signals have the uid and revision of another one."""
    copies = Counter((signal.uid, signal.revision) for signal in said.signals.elements())
    return copies.total() - len(copies)


def _states(site: Site, number: int) -> Iterator[State]:
    """A facts partition as a worker without a disk builds it again, and as one does with each disk that knows of it."""
    begin, log = _facts(site, number)
    disks = [site.directory / "no-disk", *(worker.state_dir for worker in site.fleet.workers)]
    for at, disk in enumerate(disks):
        settings = site.settings(disk)
        if at and not recovery.store_path(settings, number).exists():
            continue
        identity = recovery.identify(site.client, settings)
        known, _ = registry.read(settings)
        last = recovery.of_log(last_checkpoint(settings, number, lambda: False), identity.topic_id)
        with identity.store(settings, number) as store:
            found = recovery.open_partition(settings, known, number, store, last, begin)
            found.sessions.counted = known.counted()
            yield recovered(settings, site.rules, found, log)


def _facts(site: Site, number: int) -> tuple[int, list[Message]]:
    """Where the log of a facts partition begins, and what is on it: nothing, when all windows were closed and cut."""
    settings = site.settings(site.directory)
    at = TopicPartition(settings.topic("facts"), number)
    begin = admin.earliest_offsets(site.client, [at])[at.topic, number]
    end = admin.end_offsets(site.client, [at])[at.topic, number]
    place = TopicPartition(at.topic, number, begin)
    return begin, list(reader.between(settings, place, end, lambda: False))
