"""Defines the ACLs that each role of the program needs on a cluster with an authorizer, and no more.

In: a role and a layout. Out: its ACLs as data, or those that a connected client lacks. A cluster without an authorizer
allows everything.

Kafka's own implications apply: READ, WRITE, DELETE and ALTER on a topic imply DESCRIBE, and so does READ on a group.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient

from topics.errors import AdminError
from topics.spec import Layout

TIMEOUT_S = 10

_ABSENT_CODES = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.GROUP_ID_NOT_FOUND,
        # On a new cluster the coordinator is unavailable until the topic of the groups exists; the first request for a
        # group makes the brokers create it.
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
    }
)


class Role(Enum):
    """The role of a client.

    SETUP creates topics and pushes rules: `betrace topics create`, `betrace rules push`, and `betrace run` before it
    starts its stages. INGEST, SESSIONS and LEDGER are the stages, ARCHIVE is `betrace archive`, BACKFILL is `betrace
    rules backfill`. READER only reads: `betrace signals`, `status`, `explain`, `dead-letters`.
    """

    SETUP = "setup"
    INGEST = "ingest"
    SESSIONS = "sessions"
    LEDGER = "ledger"
    ARCHIVE = "archive"
    BACKFILL = "backfill"
    READER = "reader"


class Kind(Enum):
    """The type of the resource of an ACL."""

    TOPIC = "topic"
    GROUP = "group"
    TRANSACTIONAL_ID = "transactional id"


@dataclass(frozen=True, slots=True)
class Acl:
    """The operations allowed on one resource, or with `is_prefix` on all resources whose names start with `name`."""

    kind: Kind
    name: str
    operations: tuple[AclOperation, ...]
    is_prefix: bool = False

    def text(self) -> str:
        """Format the ACL for people.

        >>> Acl(Kind.TOPIC, "betrace.facts", (AclOperation.READ, AclOperation.DELETE)).text()
        'READ, DELETE on topic betrace.facts'
        """
        named = f"{self.name}*" if self.is_prefix else self.name
        return f"{', '.join(each.name for each in self.operations)} on {self.kind.value} {named}"


_READ, _WRITE, _DESCRIBE = AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE
_CREATE, _DELETE, _CONFIGS = AclOperation.CREATE, AclOperation.DELETE, AclOperation.DESCRIBE_CONFIGS


def required_acls(role: Role, layout: Layout) -> list[Acl]:
    """Return all ACLs that a role needs, topics first."""
    own = layout.prefix
    on = partial(_topic, own)

    sources = [Acl(Kind.TOPIC, topic, (_READ,)) for topic in layout.source_topics]
    # The timestamp type is a setting of the topic, hence DESCRIBE_CONFIGS.
    sources_with_configs = [Acl(Kind.TOPIC, topic, (_READ, _CONFIGS)) for topic in layout.source_topics]
    readers = Acl(Kind.GROUP, f"{own}readers", (_DESCRIBE,))
    if role is Role.SETUP:
        made = [Acl(Kind.TOPIC, topic, (_CREATE, _DESCRIBE, _CONFIGS)) for topic in layout.source_topics]
        every = Acl(Kind.TOPIC, own, (_CREATE, _DESCRIBE, _CONFIGS), is_prefix=True)
        # A push records which set it replaces, and a rollback looks for an earlier set.
        return [*made, every, on("rules", _READ, _WRITE), readers]
    if role is Role.INGEST:
        written = [on(name, _WRITE) for name in ("facts", "dead_letters", "audit")]
        return [*sources_with_configs, on("rules", _READ), *written, Acl(Kind.GROUP, f"{own}ingest", (_READ,)), readers]
    if role is Role.SESSIONS:
        return [
            on("facts", _READ, _DELETE),
            on("rules", _READ),
            on("checkpoints", _READ, _WRITE),
            on("signals", _WRITE),
            # If a facts partition has no checkpoint, recovery reads the counts to find out where their chain ends.
            on("verdicts", _READ, _WRITE),
            Acl(Kind.GROUP, f"{own}sessions", (_READ,)),
            readers,
            Acl(Kind.TRANSACTIONAL_ID, f"{own}sessions-", (_WRITE,), is_prefix=True),
        ]
    if role is Role.LEDGER:
        return [
            *(on(name, _READ) for name in ("rules", "verdicts", "signals", "audit")),
            on("tree_heads", _READ, _WRITE),
            Acl(Kind.GROUP, f"{own}ledger", (_DESCRIBE,)),
            readers,
            Acl(Kind.TRANSACTIONAL_ID, f"{own}ledger", (_WRITE,), is_prefix=True),
        ]
    if role is Role.ARCHIVE:
        return [*sources, Acl(Kind.GROUP, f"{own}archive", (_DESCRIBE,))]
    return _command_acls(role, layout)


def _command_acls(role: Role, layout: Layout) -> list[Acl]:
    """Return the ACLs of the commands that are not stages."""
    own = layout.prefix
    readers = Acl(Kind.GROUP, f"{own}readers", (_DESCRIBE,))
    on = partial(_topic, own)

    if role is Role.BACKFILL:
        # For an empty partition, only the retention tells since when it can have been empty.
        return [
            *(Acl(Kind.TOPIC, topic, (_READ, _CONFIGS)) for topic in layout.source_topics),
            on("rules", _READ),
            on("verdicts", _READ, _WRITE),
            on("signals", _WRITE),
            readers,
            Acl(Kind.TRANSACTIONAL_ID, f"{own}backfill-", (_WRITE,), is_prefix=True),
        ]
    own_topics = [on(name, _READ) for name in ("rules", "checkpoints", "signals", "dead_letters")]
    return [
        *(Acl(Kind.TOPIC, topic, (_READ,)) for topic in layout.source_topics),
        *own_topics,
        on("facts", _DESCRIBE),
        *(Acl(Kind.GROUP, own + group, (_DESCRIBE,)) for group in ("ingest", "sessions")),
        readers,
    ]


def _topic(prefix: str, name: str, *operations: AclOperation) -> Acl:
    return Acl(Kind.TOPIC, prefix + name, operations)


def missing_acls(admin: AdminClient, role: Role, layout: Layout) -> list[Acl]:
    """Return the ACLs on topics and groups that the client's user lacks; a client cannot query other resources.

    A topic or group that does not exist lacks nothing. Raises `AdminError` when the brokers do not answer.
    """
    required = [each for each in required_acls(role, layout) if not each.is_prefix]
    topics = _topic_operations(admin, [each.name for each in required if each.kind is Kind.TOPIC])
    groups = _group_operations(admin, [each.name for each in required if each.kind is Kind.GROUP])
    missing = []
    for acl in required:
        allowed = (topics if acl.kind is Kind.TOPIC else groups).get(acl.name)
        lacked = tuple(each for each in acl.operations if allowed is not None and each not in allowed)
        if lacked:
            missing.append(Acl(acl.kind, acl.name, lacked))
    return missing


def _topic_operations(admin: AdminClient, names: list[str]) -> dict[str, set[AclOperation] | None]:
    """Return the operations allowed on each topic; None for a topic that does not exist."""
    futures = admin.describe_topics(
        TopicCollection(names), include_authorized_operations=True, request_timeout=TIMEOUT_S
    )
    return {
        name: _authorized_operations(answer, KafkaError.TOPIC_AUTHORIZATION_FAILED) for name, answer in futures.items()
    }


def _group_operations(admin: AdminClient, names: list[str]) -> dict[str, set[AclOperation] | None]:
    """Return the operations allowed on each group; None for a group that does not exist."""
    if not names:
        return {}
    futures = admin.describe_consumer_groups(names, include_authorized_operations=True, request_timeout=TIMEOUT_S)
    return {
        name: _authorized_operations(answer, KafkaError.GROUP_AUTHORIZATION_FAILED) for name, answer in futures.items()
    }


def _authorized_operations(answer: Future[Any], refusal: int) -> set[AclOperation] | None:
    try:
        operations: Iterable[AclOperation] | None = answer.result().authorized_operations
    except KafkaException as error:
        code = error.args[0].code()
        if code == refusal:
            return set()
        if code in _ABSENT_CODES:
            return None
        raise AdminError(f"Kafka did not return the authorized operations: {error.args[0]}") from error
    return None if operations is None else {*operations}
