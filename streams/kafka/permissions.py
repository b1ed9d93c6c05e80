"""Checks before a start that the brokers allow what a role does.

In: a role. Out: nothing, or an error that lists every missing ACL, instead of the first refusal an hour later. Kafka
does not report permissions on transactional ids, so `require_transactions` tries one.
"""

from __future__ import annotations

import time

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from streams.config.settings import Settings
from streams.errors import ConfigError
from topics.cluster.acls import Kind, Role, missing_acls, required_acls

log = structlog.get_logger()

ANSWER_S = 1.0
TRANSACTIONS_S = 15.0

_REFUSED = frozenset({KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED})


def require_acls(admin: AdminClient, settings: Settings, role: Role) -> None:
    """Check the ACLs of the client's user.

    Raises:
        AdminError: the brokers do not answer.
        ConfigError: an ACL is missing.
    """
    if missing := missing_acls(admin, role, settings.layout()):
        user = settings.security.username or "this client"
        raise ConfigError(f"{user} lacks ACLs for {role.value}: {'; '.join(each.text() for each in missing)}")


def require_transactions(settings: Settings, role: Role) -> None:
    """Initialize a transactional id that the role's ACLs cover and that no worker uses, so that none is fenced.

    If the brokers do not answer in time, the start continues; the worker waits for them.

    Raises:
        ConfigError: the brokers refuse it.
    """
    for acl in required_acls(role, settings.layout()):
        if acl.kind is not Kind.TRANSACTIONAL_ID:
            continue
        refused = _refusal(settings, f"{acl.name}start")
        if refused is not None:
            user = settings.security.username or "this client"
            raise ConfigError(f"{user} lacks ACLs for {role.value}: {acl.text()}: {refused.str()}")


def _refusal(settings: Settings, transactional_id: str) -> KafkaError | None:
    producer = Producer({**settings.client(), "transactional.id": transactional_id})
    until_s = time.monotonic() + TRANSACTIONS_S
    while True:
        try:
            producer.init_transactions(ANSWER_S)
        except KafkaException as error:
            refusal: KafkaError = error.args[0]
            if refusal.code() in _REFUSED:
                return refusal
            if not refusal.retriable() or time.monotonic() > until_s:
                log.warning("permission to use transactions not verified", reason=refusal.str())
                return None
        else:
            return None
