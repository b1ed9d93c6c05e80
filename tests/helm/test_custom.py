"""The objects of Strimzi, KEDA and the Prometheus operator: their fields, and that they say what BeTrace says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from tests.helm.chart import CHART, VALUES, Object, containers, environment, of_kind, pods, rendered
from topics import FLOW
from topics.cluster.acls import Acl, Role, required_acls
from topics.spec import Layout, topic_plans

pytestmark = pytest.mark.timeout(1800)

HERE = Path(__file__).parent
FIELDS = YAML(typ="safe").load(HERE / "custom.yaml")
STRIMZI = HERE / "values" / "strimzi.yaml"
LAYOUT = Layout("eu_West.", ("otlp_spans", "Shop_Logs"), 24, 3)


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_fields(helm_path: Path, values: Path) -> None:
    """Each object has the fields that its definition requires, of their types, and no others."""
    objects = [each for each in rendered(helm_path, values) if each["kind"] in FIELDS["kinds"]]

    for each in objects:
        kind = FIELDS["kinds"][each["kind"]]
        assert kind["apiVersion"] == each["apiVersion"]
        jsonschema.validate(each["spec"], {"$defs": FIELDS["$defs"], **kind["spec"]})


def test_every_kind_is_rendered(helm_path: Path) -> None:
    """The values of these tests render each kind at least once."""
    made = {each["kind"] for values in VALUES for each in rendered(helm_path, values)}

    assert set(FIELDS["kinds"]) <= made


def test_topics_match_those_of_betrace(helm_path: Path) -> None:
    """Each topic of the flow has its partitions and settings, and the settings that protect its data."""
    found = [each["spec"] for each in of_kind(rendered(helm_path, STRIMZI), "KafkaTopic")]

    safety = {"unclean.leader.election.enable": "false", "min.insync.replicas": "2"}
    wanted = [
        {
            "topicName": topic.name,
            "partitions": topic.partition_count,
            "replicas": 3,
            "config": {**topic.config, **safety},
        }
        for spec in FLOW
        for topic in topic_plans(spec, LAYOUT)
    ]
    assert sorted(wanted, key=str) == sorted(found, key=str)


def test_topic_names_become_object_names(helm_path: Path) -> None:
    """Kafka allows underscores and capitals in a topic's name, Kubernetes allows neither in an object's."""
    topics = of_kind(rendered(helm_path, STRIMZI), "KafkaTopic")

    assert all(re.fullmatch(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?", each["metadata"]["name"]) for each in topics)
    assert all(each["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"} for each in topics)


def said(acl: Acl) -> tuple[str, ...]:
    """An ACL as Strimzi says it."""
    kind = re.sub(" (.)", lambda found: found[1].upper(), acl.kind.value)
    operations = (each.name.title().replace("_", "") for each in acl.operations)
    return (kind, acl.name, "prefix" if acl.is_prefix else "literal", *operations)


@pytest.mark.parametrize("role", [Role.SETUP, Role.INGEST, Role.SESSIONS, Role.LEDGER, Role.READER])
def test_users_have_the_acls_of_their_role(helm_path: Path, role: Role) -> None:
    """The user of a role has the role's ACLs, and no more."""
    users = {each["metadata"]["name"]: each["spec"] for each in of_kind(rendered(helm_path, STRIMZI), "KafkaUser")}

    found = [
        (acl["resource"]["type"], acl["resource"]["name"], acl["resource"]["patternType"], *acl["operations"])
        for acl in users[f"betrace-{role.value}"]["authorization"]["acls"]
    ]
    assert sorted(said(acl) for acl in required_acls(role, LAYOUT)) == sorted(found)


@pytest.mark.parametrize(
    ("values", "keys"),
    [("strimzi", {"password", "ca.crt"}), ("strimzi-tls", {"ca.crt", "user.crt", "user.key"})],
)
def test_stages_connect_as_their_users(helm_path: Path, values: str, keys: set[str]) -> None:
    """Each role mounts the Secret that Strimzi creates for its user, and authenticates with SCRAM as that user."""
    objects = rendered(helm_path, HERE / "values" / f"{values}.yaml")
    users = {each["metadata"]["name"] for each in of_kind(objects, "KafkaUser")} - {"betrace-reader"}

    for pod in pods(objects):
        [volume] = [each for each in pod["spec"]["volumes"] if each["name"] == "secrets"]
        secrets = [each["secret"] for each in volume["projected"]["sources"] if each["secret"]["name"] != "ledger"]
        assert keys == {item["key"] for secret in secrets for item in secret["items"]}
        assert {secret["name"] for secret in secrets} <= users | {"events-cluster-ca-cert"}
    names = {environment(objects, each).get("BETRACE_SASL_USERNAME") for _, each in containers(objects)}
    assert names == (users if "password" in keys else {None})


def test_each_trigger_names_its_topic(helm_path: Path) -> None:
    """KEDA queries the lag of one topic at a time, in the group of the role that reads it, as that role's user."""
    objects = rendered(helm_path, HERE / "values" / "keda.yaml")
    asked = [
        (each["metadata"]["name"], trigger["metadata"]["consumerGroup"], trigger["metadata"]["topic"])
        for each in of_kind(objects, "ScaledObject")
        for trigger in each["spec"]["triggers"]
        if trigger["type"] == "kafka"
    ]

    assert asked == [
        ("betrace-ingest", "betrace.ingest", "otlp_spans"),
        ("betrace-ingest", "betrace.ingest", "otlp_logs"),
        ("betrace-sessions", "betrace.sessions", "betrace.facts"),
    ]
    assert ["betrace-ingest", "betrace-sessions"] == names(objects, "TriggerAuthentication")
    assert [] == names(objects, "HorizontalPodAutoscaler")


def test_without_keda_cpu_usage_scales(helm_path: Path) -> None:
    """A workload that is scaled has no replica count of its own, which an upgrade would restore."""
    objects = rendered(helm_path, HERE / "values" / "everything.yaml")

    assert ["betrace-traces-ingest", "betrace-traces-sessions"] == names(objects, "HorizontalPodAutoscaler")
    scaled = [each["spec"] for each in of_kind(objects, "Deployment", "StatefulSet")]
    assert [1] == [spec["replicas"] for spec in scaled if "replicas" in spec]


def names(objects: list[Object], kind: str) -> list[str]:
    """The names of the objects of a kind."""
    return [each["metadata"]["name"] for each in of_kind(objects, kind)]


def test_rules_and_dashboard_are_the_files_of_the_chart(helm_path: Path) -> None:
    """The cluster gets the files that the tests of alerts and dashboard read."""
    objects = rendered(helm_path, HERE / "values" / "everything.yaml")

    [alerts] = of_kind(objects, "PrometheusRule")
    assert YAML(typ="safe").load(CHART / "files" / "alerts.yaml") == alerts["spec"]
    [dashboard] = [
        each for each in of_kind(objects, "ConfigMap") if each["metadata"]["name"] == "betrace-traces-dashboard"
    ]
    shown: Any = dashboard["data"]["betrace.json"]
    assert (CHART / "files" / "dashboard.json").read_text().strip() == shown.strip()
