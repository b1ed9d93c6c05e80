"""The chart: Helm renders it, Kubernetes' own schemas accept it, and BeTrace accepts what its containers start with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest

from streams.cli import ledger, options, rules, topics
from streams.cli import run as cli_run
from streams.cli.run_settings import run_settings
from tests.helm.chart import CHART, VALUES, containers, environment, of_kind, pods, rendered, run
from tests.support.gotools import KUBERNETES
from topics.records import sealed_box

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem),
]

CUSTOM = ("keda.sh/", "kafka.strimzi.io/", "monitoring.coreos.com/")
COMMANDS = {
    ("run",): (cli_run.command, run_settings),
    ("ledger",): (ledger.command, options.cluster),
    ("topics", "create"): (topics.create, lambda body: options.cluster(options.layout(body))),
    ("rules", "push"): (rules.push, options.cluster),
}
"""The commands of containers, each with what makes its options into settings."""
KNOWN = {option.envvar for command, _ in COMMANDS.values() for option in command.params}


def test_lint(helm_path: Path, values: Path) -> None:
    """`helm lint --strict` reports nothing but the missing icon."""
    done = run(helm_path, "lint", "--strict", CHART, "--values", values)

    assert (0, "") == (done.returncode, done.stderr)
    assert "[WARNING]" not in done.stdout


@pytest.mark.parametrize("version", ["1.27", KUBERNETES])
def test_kubernetes_accepts_each_object(helm_path: Path, values: Path, version: str) -> None:
    """Each object of Kubernetes' own kinds is valid under its schema, without additional fields."""
    objects = [each for each in rendered(helm_path, values) if not each["apiVersion"].startswith(CUSTOM)]

    for each in objects:
        kubernetes_validate.validate(each, version, strict=True)

    assert len(objects) > 5


def test_names_are_unique(helm_path: Path, values: Path) -> None:
    """No two objects of a kind have one name, and all are in the release's namespace."""
    objects = rendered(helm_path, values)

    names = [(each["kind"], each["metadata"]["name"]) for each in objects]
    assert len(set(names)) == len(names)
    assert {"security"} == {each["metadata"]["namespace"] for each in objects}


def test_containers_have_no_needless_privileges(helm_path: Path, values: Path) -> None:
    """No container runs as root, writes outside volumes, has capabilities, or mounts a token of the cluster."""
    for pod, container in containers(rendered(helm_path, values)):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]


def test_stages_have_probes(helm_path: Path, values: Path) -> None:
    """Each stage is probed at its metrics port, which is reachable from outside the pod."""
    objects = rendered(helm_path, values)
    stages = [container for pod, container in containers(objects) if pod.get("restartPolicy") != "Never"]

    for stage in stages:
        variables = environment(objects, stage)
        assert [{"name": "metrics", "containerPort": int(variables["BETRACE_METRICS_PORT"])}] == stage["ports"]
        assert variables["BETRACE_METRICS_ADDRESS"] in {"0.0.0.0", "::"}  # noqa: S104, as above
        paths = {name: stage[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
        assert {
            "startupProbe": {"path": "/healthz", "port": "metrics"},
            "livenessProbe": {"path": "/healthz", "port": "metrics"},
            "readinessProbe": {"path": "/readyz", "port": "metrics"},
        } == paths
    assert len(stages) >= 2


def test_each_pod_has_its_selectors_labels(helm_path: Path, values: Path) -> None:
    """A Deployment, a StatefulSet, a Service and a disruption budget select the pods of one role."""
    objects = rendered(helm_path, values)
    labels = [pod["metadata"]["labels"].items() for pod in pods(objects)]
    selectors = [
        each["spec"]["selector"].get("matchLabels", each["spec"]["selector"])
        for each in of_kind(objects, "Deployment", "StatefulSet", "Service", "PodDisruptionBudget")
    ]

    for selector in selectors:
        assert 1 == sum(selector.items() <= each for each in labels)
        assert set(selector) == {f"app.kubernetes.io/{name}" for name in ("name", "instance", "component")}


def test_mounts_have_volumes(helm_path: Path, values: Path) -> None:
    """Each mount of a container is a volume or a claim of its pod, and has each file that the settings name."""
    objects = rendered(helm_path, values)
    claims = {
        claim["metadata"]["name"]
        for each in of_kind(objects, "StatefulSet")
        for claim in each["spec"].get("volumeClaimTemplates", [])
    }
    for pod, container in containers(objects):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes.keys() | claims
        sources = volumes.get("secrets", {}).get("projected", {}).get("sources", [])
        mounted = {f"/etc/betrace/secrets/{item['path']}" for each in sources for item in each["secret"]["items"]}
        told = environment(objects, container).values()
        assert {path for text in told for path in text.split(":") if path.startswith("/etc/betrace/secrets")} <= mounted


def accepted(words: list[str]) -> dict[str, Any]:
    """What a command's body would be called with, after its own options and decorators have read the environment."""
    name = next(name for name in COMMANDS if words[: len(name)] == list(name))
    command, decorated = COMMANDS[name]
    taken: dict[str, Any] = {}
    click.Command("", params=command.params, callback=decorated(lambda **given: taken.update(given))).main(
        words[len(name) :], standalone_mode=False
    )
    return taken


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """Where the files of Secrets are; each is a text that is long enough for a key."""
    for name in ("sasl-password", "ca.crt", "tls.crt", "tls.key", "redact-key", "ledger-key", "new-ledger-key"):
        (tmp_path / name).write_text("0123456789abcdef")
    (tmp_path / "dead-letter-key").write_bytes(sealed_box.generate()[1])
    return tmp_path


def test_betrace_accepts_the_settings_of_each_container(
    helm_path: Path, values: Path, secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The arguments and variables of each container make settings that the program's own classes accept."""
    objects = rendered(helm_path, values)

    for _, container in containers(objects):
        with monkeypatch.context() as patch:
            for name, value in environment(objects, container).items():
                patch.setenv(name, value.replace("/etc/betrace/secrets", str(secrets)))
            taken = accepted(container["args"])

        protocol = environment(objects, container)["BETRACE_SECURITY_PROTOCOL"]
        security = taken["settings"].security if "settings" in taken else taken["security"]
        assert protocol == security.protocol.value
        assert security.protocol.has_tls == (security.ca_file is not None)


def test_no_container_has_settings_that_a_stage_refuses(helm_path: Path, values: Path) -> None:
    """Settings that apply to a single process only are in no container's environment."""
    objects = rendered(helm_path, values)

    for _, container in containers(objects):
        variables = environment(objects, container).keys()
        assert not variables & {"BETRACE_RULES", "BETRACE_ROLE", "BETRACE_UNTIL_IDLE"}
        assert {name for name in variables if name.startswith("BETRACE_")} <= KNOWN
