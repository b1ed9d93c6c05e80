"""The ACLs of each role, and the page that lists them; tests/broker/test_security.py tests them on a real broker."""

from __future__ import annotations

import re

import pytest
from confluent_kafka.admin import AclOperation, AdminClient

from tests.support import paths
from topics import FLOW
from topics.cluster.acls import Kind, Role, missing_acls, required_acls
from topics.spec import Layout

PAGE = (paths.ROOT / "topics" / "cluster" / "README.md").read_text()


def rows() -> list[str]:
    """Return the lines of the page's table."""
    return [
        f"| {role.value} | {acl.kind.value} | `{acl.name}{'*' if acl.is_prefix else ''}` | "
        f"{', '.join(each.name for each in acl.operations)} |"
        for role in Role
        for acl in required_acls(role, Layout())
    ]


def test_page_lists_every_acl() -> None:
    """The page's table lists exactly the ACLs that the program requires."""
    kinds = "|".join(kind.value for kind in Kind)

    table = re.findall(rf"^\| \w+ \| (?:{kinds}) \|.*$", PAGE, re.MULTILINE)

    assert rows() == table


def test_every_written_topic_has_a_writer() -> None:
    """Some role may write each topic that a stage writes, and no role may write a source topic."""
    written = {
        acl.name for role in Role for acl in required_acls(role, Layout()) if AclOperation.WRITE in acl.operations
    }

    own = {f"betrace.{spec.name}" for spec in FLOW if not spec.name.startswith("otlp") and "/" not in spec.name}
    assert set() == {name for name in written if name.startswith("otlp")}
    assert {"betrace.facts", "betrace.signals", "betrace.tree_heads", "betrace.rules"} <= written & own


@pytest.mark.broker
@pytest.mark.parametrize("role", Role)
def test_without_an_authorizer_no_acl_is_missing(role: Role, kafka: str, fresh_prefix: str) -> None:
    """A cluster without an authorizer allows every role everything, even before topics and groups exist."""
    admin = AdminClient({"bootstrap.servers": kafka})

    assert [] == missing_acls(admin, role, Layout(prefix=fresh_prefix))
