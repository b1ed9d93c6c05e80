"""Watches `betrace.rules` for the activation of another rule set.

In: the topic. Out: the set to switch to. A set that cannot be read is logged and counted, and the last good one stays
in use. Nothing here blocks.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass

import structlog
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from dsl import RuleSet
from streams.config.settings import Settings
from streams.errors import BetraceError
from streams.kafka import background
from streams.observe import metrics
from streams.observe.logs import OncePerMinute
from streams.rules import registry
from topics.cluster import admin
from topics.errors import TopicsError

log = structlog.get_logger()

QUERY_INTERVAL_S = 1.0
RETRY_INTERVAL_S = 10.0
RULES_PARTITION = 0


@dataclass(frozen=True, slots=True)
class RulesSnapshot:
    """The end of the topic, and the active set; None when nothing was added since the last query."""

    end: int
    active: RuleSet | None


class RulesWatch:
    """The active set according to the topic; `rules` is the one in use."""

    def __init__(self, client: AdminClient, settings: Settings, rules: RuleSet) -> None:
        self.rules = rules
        self._client = client
        self._settings = settings
        self._query: Future[RulesSnapshot] | None = None
        self._end = -1
        self._due_s = 0.0
        self._repeated = OncePerMinute()
        self._next: RuleSet | None = None
        _show(rules)

    def step(self) -> None:
        """Continue as far as possible without waiting."""
        if self._query is None:
            if time.monotonic() >= self._due_s:
                end = self._end
                self._query = background.run_in_background(lambda: query_rules(self._client, self._settings, end))
            return
        if not self._query.done():
            return
        answer, self._query = self._query, None
        try:
            self._take(answer.result())
            self._due_s = time.monotonic() + QUERY_INTERVAL_S
        except (BetraceError, TopicsError) as error:
            self._due_s = time.monotonic() + RETRY_INTERVAL_S
            metrics.RULES_REFUSED.set(1)
            self._repeated.warning("active rules cannot be read, keeping the rules in use", reason=str(error))

    def take_next(self) -> RuleSet | None:
        """Return the set to switch to now, None when the active one is in use."""
        next_rules, self._next = self._next, None
        if next_rules is None:
            return None
        log.info("switching to the active rules", fingerprint=next_rules.fingerprint, rules=len(next_rules.rules))
        self.rules = next_rules
        _show(next_rules)
        return next_rules

    def _take(self, snapshot: RulesSnapshot) -> None:
        metrics.RULES_REFUSED.set(0)
        if snapshot.active is None:
            return
        self._end = snapshot.end
        self._next = None if snapshot.active.fingerprint == self.rules.fingerprint else snapshot.active


def query_rules(client: AdminClient, settings: Settings, known_end: int) -> RulesSnapshot:
    """Read the topic if its end is not `known_end`.

    Raises:
        ConfigError: no set is active.
        StateError: a set cannot be read, or records in which another set may have been activated.
        AdminError: the brokers do not answer.
    """
    topic = settings.topic("rules")
    at = TopicPartition(topic, RULES_PARTITION)
    # The end is queried first, so that what is added during the read is noticed by the next query.
    end = admin.end_offsets(client, [at])[topic, RULES_PARTITION]
    if end == known_end:
        return RulesSnapshot(end, None)
    known, active = registry.read(settings)
    registry.refuse_uncertain(known)
    return RulesSnapshot(end, registry.active_of(settings, known, active))


def _show(rules: RuleSet) -> None:
    metrics.RULES_PROJECTED.clear()
    metrics.RULES_PROJECTED.labels(rules.fingerprint).set(len(rules.rules))
