"""Whether the brokers allow what a role does, asked before it begins.

In: a role. Out: nothing, or an error that names every ACL that is missing, instead of the first refusal that comes up
an hour later. What cannot be asked for beforehand (transactional ids) is named when it is refused.
"""

from __future__ import annotations

from confluent_kafka.admin import AdminClient

from streams.config.settings import Settings
from streams.errors import ConfigError
from topics.cluster.acls import Role, lacking


def check(admin: AdminClient, settings: Settings, role: Role) -> None:
    """Asks what the client's user may do.

    Raises:
        AdminError: the brokers do not answer.
        ConfigError: something is not allowed.
    """
    if missing := lacking(admin, role, settings.layout()):
        user = settings.security.username or "this client"
        raise ConfigError(f"{user} lacks ACLs for {role.value}: {'; '.join(each.text() for each in missing)}")
