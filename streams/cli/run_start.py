"""Prepares `betrace run`: checks everything that can be checked, and only then pushes the rules.

In: the settings, rules and keys that were given. Out: an error to correct, or the active set. A start that fails
changes nothing that a running installation depends on.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import structlog
from confluent_kafka.admin import AdminClient

from dsl import RuleSet
from streams.cli.ledger import signers_in
from streams.config.settings import Settings
from streams.decode import backend
from streams.errors import ConfigError
from streams.evidence.ledger import log as ledgers
from streams.evidence.ledger import worker as ledger_worker
from streams.evidence.ledger.storage import open_storage
from streams.ingest import group
from streams.kafka import permissions
from streams.observe import health
from streams.rules import history, registry
from streams.sessions import start
from streams.sessions.worker import End, Ends
from topics.cluster import admin as kafka
from topics.cluster import timestamps
from topics.cluster.acls import Role
from topics.records.rules import Origin
from topics.spec import Layout

log = structlog.get_logger()


def check_ledger(evidence: str, keys: tuple[Path, ...]) -> None:
    """Raise what the ledger would raise about its keys and storage, before connecting to the brokers."""
    ledgers.resume(open_storage(evidence), signers_in(keys))


def check_stages(admin: AdminClient, workers: Sequence[Settings], evidence: str | None, keys: tuple[Path, ...]) -> None:
    """Raise the errors with which the stages would end at their start, as far as they can be detected now.

    Raises:
        AdminError, NotDoneError: the brokers do not answer.
        ConfigError: a permission is missing, or a setting does not fit.
        StateError: the stages cannot continue from what earlier runs left.
    """
    backend.selected_backend()
    start.check(admin, workers)
    permissions.require_transactions(workers[0], Role.SESSIONS)
    if evidence is not None:
        permissions.require_transactions(workers[0], Role.LEDGER)
        ledger_worker.check(workers[0], open_storage(evidence), signers_in(keys))


def ends_now(admin: AdminClient, settings: Settings, *, now_ms: int) -> Ends:
    """Return the end offsets of the source partitions; offsets read before a reset do not reach them.

    Raises:
        AdminError: the brokers do not answer.
        StateError: ingest could not start: some of its offsets were reset and others were not.
    """
    snapshot = group.fetch_snapshot(admin, settings)
    starts = group.start_positions(snapshot, start=settings.start, now_ms=now_ms)
    ends: Ends = {}
    for (topic, number), offsets in snapshot.logs.items():
        ends.setdefault(topic, {})[number] = End(offsets.high, starts[topic, number].epoch)
    return ends


def check_ports(address: str, ports: Iterable[int]) -> None:
    """Raise `ConfigError` when one of them is taken."""
    for port in ports:
        health.check_port(address, port)


def make_topics(admin: AdminClient, layout: Layout, settings: Settings, roles: Iterable[Role]) -> None:
    """Create the missing topics, once the roles are known to have the permissions they need on the existing ones.

    Raises:
        AdminError: the brokers do not answer, or do not create a topic.
        ConfigError: a permission is missing.
    """
    checked_roles = [*roles]
    for role in checked_roles:
        permissions.require_acls(admin, settings, role)
    check_time(admin, settings)
    creation = kafka.create(admin, layout)
    for status in creation.existing:
        for fault in status.faults:
            log.warning("a topic has unusable settings", topic=status.name, fault=fault)
    if creation.created:
        log.info("topics created", topics=creation.created)
        for role in checked_roles:
            permissions.require_acls(admin, settings, role)


def check_time(admin: AdminClient, settings: Settings) -> None:
    """Refuse source topics whose records are stamped by producers, unless the settings allow them.

    Raises:
        AdminError: the brokers do not answer.
        ConfigError: names the topics, and how to change them.
    """
    types = timestamps.types(admin, settings.source_topics)
    stamped = sorted(topic for topic, kind in types.items() if kind != timestamps.LOG_APPEND_TIME)
    if not stamped:
        return
    if not settings.allow_create_time:
        raise ConfigError(
            f"{timestamps.KEY} of {', '.join(stamped)} is CreateTime: producers set the record times, and wrong "
            "times delay verdicts or leave them undetermined. To have Kafka stamp records, run betrace topics "
            f"create --log-append-time --source-topics {','.join(stamped)}; to accept producers' times, give "
            "--allow-create-time"
        )
    log.warning("records are stamped by their producers", topics=stamped)


def push(settings: Settings, rules: RuleSet, *, revision: str | None, by: str | None, insists: bool) -> RuleSet:
    """Make the given rules active unless others were pushed in their place, and return the active ones.

    Raises:
        ConfigError: the brokers rejected them.
        StateError: the topic or the active set cannot be read.
    """
    known, active = registry.read(settings)
    reason = history.refusal(history.history(settings), rules.fingerprint)
    if active == rules.fingerprint and active in known.sets:
        return rules
    if not insists and active != rules.fingerprint:
        registry.refuse_unreadable(settings, known, active)
    if active is None or reason is None or insists or active in known.unreadable:
        now_ms = time.time_ns() // 1_000_000
        registry.push(settings, rules, now_ms=now_ms, revision=revision, by=by, origin=Origin.RUN)
        return rules
    log.warning(
        "the given rules were not pushed",
        reason=reason,
        given=rules.fingerprint,
        active=active,
        help="to push them anyway, give --push",
    )
    return known.sets[active]
