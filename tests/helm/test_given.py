"""What an operator gives: values that cannot work are refused with a reason, others do what the page says."""

from __future__ import annotations

import re
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.helm.chart import CHART, VALUES, Object, loaded, of_kind, rendered, run

pytestmark = pytest.mark.timeout(1800)

[MINIMAL] = [path for path in VALUES if path.stem == "minimal"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("settings.gap=half an hour", "settings/gap"),
        ("settings.bootstrap=kafka", "settings/bootstrap"),
        ("settings.windowMemory=2GB", "settings/windowMemory"),
        ("settings.factsPartitions=0", "settings/factsPartitions"),
        ("settings.metricsPort=0", "settings/metricsPort"),
        ("settings.colour=red", "colour"),
        ("ingest.replica=3", "replica"),
        ("rules.files.readme\\.txt=x", "readme.txt"),
        ("rules.existingConfigMap=mine", "exclude each other"),
        ("settings.securityProtocol=SASL_SSL", "set secrets.saslPassword.existingSecret"),
        ("ledger.enabled=true", "ledger.key.existingSecret"),
        ("strimzi.enabled=true", "strimzi.cluster"),
    ],
)
def test_invalid_values_are_refused(helm_path: Path, given: str, said: str) -> None:
    """Helm renders nothing, and names the value."""
    done = run(helm_path, "template", "betrace", CHART, "--values", MINIMAL, "--set", given)

    assert 0 != done.returncode
    assert said in done.stderr


@pytest.mark.parametrize("evidence", ["/evidence", "evidence", "/var/lib/betrace/evidence"])
def test_evidence_needs_a_volume(helm_path: Path, evidence: str) -> None:
    """Evidence in a directory is refused if it could not be mounted, or would be lost with the pod."""
    values = ["ledger.enabled=true", "ledger.key.existingSecret=key", "ledger.persistence.enabled=false"]
    words = [word for each in [*values, f"ledger.evidence={evidence}"] for word in ("--set", each)]

    done = run(helm_path, "template", "betrace", CHART, "--values", MINIMAL, *words)

    assert 0 != done.returncode
    assert "ledger.evidence" in done.stderr


def images(objects: list[Object]) -> dict[str, str]:
    """The image of each stage."""
    stages = of_kind(objects, "Deployment", "StatefulSet")
    return {
        container["name"]: container["image"]
        for each in stages
        for container in each["spec"]["template"]["spec"]["containers"]
    }


def test_sessions_is_upgraded_before_ingest(helm_path: Path) -> None:
    """A separate tag for ingest keeps it at the previous version; an empty one upgrades it."""
    held = rendered(helm_path, MINIMAL, "--set", "image.tag=v2", "--set", "ingest.image.tag=v1")
    let_go = rendered(helm_path, MINIMAL, "--set", "image.tag=v2", "--set", "ingest.image.tag=")

    assert {"ingest": "betrace:v1", "sessions": "betrace:v2"} == images(held)
    assert {"ingest": "betrace:v2", "sessions": "betrace:v2"} == images(let_go)


def job(objects: list[Object]) -> str:
    """The name of the setup Job."""
    [found] = of_kind(objects, "Job")
    name: str = found["metadata"]["name"]
    return name


def test_changed_rules_give_the_job_another_name(helm_path: Path) -> None:
    """A Job cannot be changed, so its name depends on what it does; unrelated settings leave it unchanged."""
    before = job(rendered(helm_path, MINIMAL))

    assert before != job(rendered(helm_path, MINIMAL, "--set", "rules.files.more\\.rules=x"))
    assert before != job(rendered(helm_path, MINIMAL, "--set", "image.tag=v2"))
    assert before == job(rendered(helm_path, MINIMAL, "--set", "ingest.replicas=5"))


def test_immutable_fields_stay_the_same_in_an_upgrade(helm_path: Path) -> None:
    """Selectors, claims and the names of Services are the same in every version of chart and image."""
    fixed = [
        (each["metadata"]["name"], each["spec"]["selector"], each["spec"].get("volumeClaimTemplates"))
        for each in of_kind(rendered(helm_path, MINIMAL, "--set", "image.tag=v2"), "Deployment", "StatefulSet")
    ]

    assert "0.1.0" not in str(fixed)
    assert "helm.sh/chart" not in str(fixed)


def test_without_rules_nothing_is_pushed(helm_path: Path) -> None:
    """The Job then only creates topics; if it need not do that either, there is no Job."""
    only_topics = rendered(helm_path, CHART / "values.yaml")
    nothing = rendered(helm_path, CHART / "values.yaml", "--set", "setup.createTopics=false")

    [found] = of_kind(only_topics, "Job")
    pod = found["spec"]["template"]["spec"]
    assert [["topics", "create"]] == [container["args"] for container in pod["containers"]]
    assert "initContainers" not in pod
    assert [] == of_kind(nothing, "Job")


def test_notes_say_what_is_missing(helm_path: Path, tmp_path: Path) -> None:
    """After an installation without rules, Helm's notes say that nothing is judged."""
    copied = shutil.copytree(CHART, tmp_path / "betrace")
    template = '{{ dict "said" (include (print $.Template.BasePath "/NOTES.txt") .) | toJson }}'
    (copied / "templates" / "said.yaml").write_text(template)

    done = run(helm_path, "template", "betrace", copied, "--show-only", "templates/said.yaml")

    said = YAML(typ="safe").load(done.stdout)["said"]
    assert "No rules are given, so nothing is judged" in said
    assert "kubectl -n security exec deploy/betrace-ingest -- betrace status" in said


def test_documented_helm_commands_are_valid(helm_path: Path) -> None:
    """Helm accepts each of its commands on the page, with the values that the command sets."""
    page = (CHART / "README.md").read_text()
    lines = [line for block in re.findall(r"```sh\n(.+?)```", page, re.DOTALL) for line in block.splitlines()]
    commands = [line.split() for line in lines if line.startswith("helm ")]

    assert 3 == len(commands)
    for command in commands:
        words = ["--set=" + word for before, word in pairwise(command) if before == "--set"]
        done = run(helm_path, "template", "betrace", CHART, "--values", MINIMAL, *words)
        assert 0 == done.returncode, done.stderr


def test_documented_values_render(helm_path: Path, tmp_path: Path) -> None:
    """The values at the beginning of the page render."""
    page = (CHART / "README.md").read_text()
    [block] = re.findall(r"```yaml\n(.+?)```", page, re.DOTALL)
    (tmp_path / "my.yaml").write_text(block)

    objects = rendered(helm_path, tmp_path / "my.yaml")

    assert {"ConfigMap", "Deployment", "StatefulSet", "Job"} <= {each["kind"] for each in objects}


def test_page_names_only_existing_values() -> None:
    """Each dotted name on the page is a value in values.yaml."""
    page = (CHART / "README.md").read_text()
    values = loaded(CHART / "values.yaml")
    named = set(re.findall(rf"`((?:{'|'.join(values)})(?:\.\w+)+)[^`]*`", page))

    assert len(named) > 15
    for name in named:
        found = values
        for word in name.split("."):
            assert word in found, name
            found = found[word]


@pytest.mark.parametrize(
    ("given", "ports"),
    [
        ([], [53, 9092]),
        (["settings.bootstrap=kafka:9094"], [53, 9094]),
        (
            ["ledger.enabled=true", "ledger.key.existingSecret=key", "ledger.evidence=s3://audit/evidence"],
            [53, 443, 9092],
        ),
        (["ledger.enabled=true", "ledger.key.existingSecret=key"], [53, 9092]),
        (["settings.saslTokenUrl=https://login.example.com/token"], [53, 443, 9092]),
        (["settings.saslTokenUrl=https://login.example.com:8443/token"], [53, 8443, 9092]),
    ],
)
def test_network_policy_allows_only_required_traffic(helm_path: Path, given: list[str], ports: list[int]) -> None:
    """Unless it is switched off there is a policy: metrics in; DNS, Kafka and the hosts in the settings out."""
    words = [word for each in given for word in ("--set", each)]

    [policy] = of_kind(rendered(helm_path, MINIMAL, *words), "NetworkPolicy")
    without = rendered(helm_path, MINIMAL, "--set", "networkPolicy.enabled=false")

    assert [] == of_kind(without, "NetworkPolicy")
    assert [[{"port": "metrics", "protocol": "TCP"}]] == [each["ports"] for each in policy["spec"]["ingress"]]
    assert ports == sorted({port["port"] for each in policy["spec"]["egress"] for port in each["ports"]})
