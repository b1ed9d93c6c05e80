"""Whether the brokers allow what a role does, asked before it begins.

In: a role. Out: nothing, or an error that names every ACL that is missing, instead of the first refusal that comes up
an hour later. Kafka does not say what is allowed on transactional ids: `check_transactions` tries one of its own.
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


def check(admin: AdminClient, settings: Settings, role: Role) -> None:
    """Asks what the client's user may do.

    Raises:
        AdminError: the brokers do not answer.
        ConfigError: something is not allowed.
    """
    if missing := missing_acls(admin, role, settings.layout()):
        user = settings.security.username or "this client"
        raise ConfigError(f"{user} lacks ACLs for {role.value}: {'; '.join(each.text() for each in missing)}")


def check_transactions(settings: Settings, role: Role) -> None:
    """Begins to use a transactional id that the role's ACLs cover and that no worker has, so none is fenced.

    Brokers that do not answer in time are no reason not to start: a worker waits for them.

    Raises:
        ConfigError: it is not allowed.
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
            found: KafkaError = error.args[0]
            if found.code() in _REFUSED:
                return found
            if not found.retriable() or time.monotonic() > until_s:
                log.warning("whether transactions are allowed is not known", reason=found.str())
                return None
        else:
            return None
