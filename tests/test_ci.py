"""What CI, a release and a commit run; workflows themselves cannot run here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.support import paths, tiers

WORKFLOWS = sorted((paths.ROOT / ".github" / "workflows").glob("*.yml"))
HOOKS = paths.ROOT / ".pre-commit-config.yaml"
BIN = Path(sys.executable).parent
PYTHON = "Programming Language :: Python :: 3."


def test_every_supported_python_is_tested() -> None:
    """The workflow's interpreters are those of the package's classifiers."""
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
    workflow = YAML(typ="safe").load(paths.ROOT / ".github" / "workflows" / "ci.yml")

    promised = [text.rpartition(" ")[2] for text in project["classifiers"] if text.startswith(PYTHON)]
    assert promised == workflow["jobs"]["check"]["strategy"]["matrix"]["python"]


def test_ci_runs_every_tier() -> None:
    """CI runs targets of the Makefile, among them `make test` with coverage and the slow tests."""
    [run] = re.findall(r"for tier in (.*); do", (paths.ROOT / ".ci" / "run").read_text())
    targets = re.findall(r"^([a-z-]+):", (paths.ROOT / "Makefile").read_text(), re.MULTILINE)

    assert {"coverage", "test-slow"} <= set(run.split()) <= set(targets)


@pytest.mark.parametrize("entry", [*tiers.MEDIUM, *tiers.SLOW])
def test_what_is_left_to_a_slower_tier_exists(entry: str) -> None:
    """A test that was renamed does not move to a quicker tier unnoticed."""
    file, _, test = entry.partition("::")
    path = paths.ROOT / "tests" / file

    assert path.exists()
    assert not test or f"def {test}(" in path.read_text()


@pytest.mark.parametrize("schema", ["vendor.github-workflows", "custom.github-workflows-require-timeout"])
def test_workflows_fit_their_schema(schema: str) -> None:
    """Each workflow is valid, and each of its jobs has a time limit."""
    done = subprocess.run(
        [BIN / "check-jsonschema", "--builtin-schema", schema, *WORKFLOWS], capture_output=True, text=True, check=False
    )

    assert 0 == done.returncode, done.stdout
    assert len(WORKFLOWS) > 1


def test_make_targets_of_workflows_exist() -> None:
    """Each target of make that a workflow, CONTRIBUTING.md or a hook names is in the Makefile."""
    texts = [path.read_text() for path in (*WORKFLOWS, paths.ROOT / "CONTRIBUTING.md")]
    made = {
        word
        for text in texts
        for line in re.findall(r"\bmake ((?:[a-z-]+ ?)+)$", text, re.MULTILINE)
        for word in line.split()
    }
    targets = re.findall(r"^([a-z-]+):", (paths.ROOT / "Makefile").read_text(), re.MULTILINE)

    assert made
    assert set() == made - set(targets)


def test_release_publishes_only_attested_artifacts() -> None:
    """A release has wheels, an sdist, an SBOM and an image, and publishes them once they are attested."""
    jobs = YAML(typ="safe").load(paths.ROOT / ".github" / "workflows" / "release.yml")["jobs"]
    uses = {name: [step.get("uses", "").partition("@")[0] for step in job["steps"]] for name, job in jobs.items()}

    assert "pypa/cibuildwheel" in uses["wheels"]
    assert "make sdist sbom audit PYTHON=python" in [step.get("run") for step in jobs["sdist"]["steps"]]
    assert {"actions/attest-build-provenance", "actions/attest-sbom"} <= {*uses["attest"]}
    assert {"docker/build-push-action", "actions/attest-build-provenance"} <= {*uses["image"]}
    assert {"attest", "image"} == set(jobs["publish"]["needs"])


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with this one's hooks and tools, and one file in the index."""
    place = tmp_path / "repository"
    place.mkdir()
    shutil.copy(HOOKS, place)
    shutil.copy(paths.ROOT / "pyproject.toml", place)
    (place / ".venv").symlink_to(BIN.parent)
    subprocess.run(["git", "init", "--quiet"], cwd=place, check=True)
    return place


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("tool.py", '"""A tool."""\n\nimport os\n', "F401"),
        ("tool.py", '"""A tool."""\n\nx = {  1}\n', "would be reformatted"),
        (".github/workflows/ci.yml", "on: push\njobs: {check: {steps: 1}}\n", "jobs.check"),
        ("tool.py", '"""A tool."""\n', None),
    ],
)
def test_hooks_refuse_what_ci_would_refuse(
    repository: Path, tmp_path: Path, name: str, text: str, complaint: str | None
) -> None:
    """The hooks refuse a commit of a file with bad style, or of an invalid workflow."""
    (repository / name).parent.mkdir(parents=True, exist_ok=True)
    (repository / name).write_text(text)
    subprocess.run(["git", "add", name], cwd=repository, check=True)

    done = subprocess.run(
        [BIN / "pre-commit", "run"],
        cwd=repository,
        env=os.environ | {"PRE_COMMIT_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0 if complaint is None else 1) == done.returncode, done.stdout + done.stderr
    assert (complaint or "Passed") in done.stdout


def git(*words: str | Path, cwd: Path) -> str:
    """What a command of git prints."""
    return subprocess.run(["git", *words], cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def hooks(tmp_path: Path) -> Path:
    """A repository with the hooks that this one offers."""
    place = tmp_path / "hooks"
    place.mkdir()
    shutil.copy(paths.ROOT / ".pre-commit-hooks.yaml", place)
    git("init", "--quiet", cwd=place)
    git("add", ".", cwd=place)
    git("-c", "user.name=A", "-c", "user.email=a@example.com", "commit", "--quiet", "-m", "Offer hooks", cwd=place)
    return place


@pytest.mark.parametrize(
    ("condition", "complaint"),
    [("when { tool.where(type in @risky) } never { a }", None), ("when { @risky } never { a }", "E222")],
)
def test_rule_hook_checks_the_set(hooks: Path, tmp_path: Path, condition: str, complaint: str | None) -> None:
    """A commit of a rule is checked with the names that other files define; without rules nothing is run."""
    rules = tmp_path / "user" / "rules"
    rules.mkdir(parents=True)
    git("init", "--quiet", cwd=rules.parent)
    # Installed is what runs the test; a user leaves the language out, and pre-commit installs BeTrace.
    hook = {"id": "betrace-check", "language": "system"}
    config = {"repos": [{"repo": str(hooks), "rev": git("rev-parse", "HEAD", cwd=hooks), "hooks": [hook]}]}
    (rules.parent / ".pre-commit-config.yaml").write_text(json.dumps(config))
    (rules / "names.yaml").write_text("lists: {risky: [run_shell]}\n")
    variables = os.environ | {"PRE_COMMIT_HOME": str(tmp_path / "cache"), "PATH": f"{BIN}:{os.environ['PATH']}"}

    def commit(*files: str) -> subprocess.CompletedProcess[str]:
        words: list[str | Path] = [BIN / "pre-commit", "run", "--files", *files]
        return subprocess.run(words, cwd=rules.parent, env=variables, capture_output=True, text=True, check=False)

    (rules / "a.rules").write_text(f"// id: a\n{condition}\n")
    git("add", ".", cwd=rules.parent)
    done = commit("rules/a.rules")

    assert (0 if complaint is None else 1) == done.returncode, done.stdout + done.stderr
    assert (complaint or "Passed") in done.stdout
    assert "Skipped" in commit(".pre-commit-config.yaml").stdout
