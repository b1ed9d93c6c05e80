"""Rules written in canonical form, and read again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsl import Rule
from dsl.compile.compile import CompiledRule, compile_files
from dsl.compile.write import rules_text
from dsl.problems import has_errors
from dsl.syntax.source import from_texts, read_files
from tests.support import paths
from tests.support.fixtures import ROOT, Block, verdict_blocks

_FULL = """\
rules:
  - condition: |
      // a comment
      when { (phi.access) } never { b } always { trace.has(audit.log).where((log_type == "hipaa_audit")) }
    name: "HIPAA 164.312(b): PHI access"
    owner: privacy
    tags: [a, 'b, c']
    references: https://example.com/a
    risk_score: 0
    attack: T1059.001,TA0001
    atlas: [AML.T0051]
    version: 1.10
    author: me
    date: 2026-01-05
    modified: 2026-02-01
    related: [other]
    runbook: call them
    false_positives: exports, at night
    dedup: {for: 5400s, by: 'user.id, tenant.id'}
    timezone: Europe/Berlin
    mode: shadow
    enabled: false
    severity: critical
    description: |
      Two
      lines.
    exceptions:
      - {where: (x exists) and not (y), owner: me, reason: "ticket: 1", expires: 2027-01-31}
      - {where: service.name == "batch"}
"""

_CANONICAL = """\
rules:
- id: hipaa-164-312-b-phi-access
  title: 'HIPAA 164.312(b): PHI access'
  description: "Two\\nlines."
  kind: conditional
  severity: critical
  controls:
  - HIPAA/164.312(b)
  owner: privacy
  tags:
  - a
  - b, c
  references:
  - https://example.com/a
  author: me
  version: '1.10'
  date: '2026-01-05'
  modified: '2026-02-01'
  related:
  - other
  attack:
  - T1059.001
  - TA0001
  atlas:
  - AML.T0051
  runbook: call them
  false_positives:
  - exports, at night
  risk_score: 0
  dedup:
    by:
    - tenant.id
    - user.id
    for: 90m
  enabled: false
  mode: shadow
  timezone: Europe/Berlin
  condition: when { phi.access } always { audit.log.where(log_type == hipaa_audit) } never { b }
  exceptions:
  - where: x exists and not y
    owner: me
    reason: 'ticket: 1'
    expires: '2027-01-31'
  - where: service.name == batch
"""


def _compiled(texts: dict[str, str]) -> list[CompiledRule]:
    files, reported = from_texts(texts)
    compiled, more = compile_files(files)
    assert not has_errors([*reported, *more]), [*reported, *more]
    return sorted(compiled, key=lambda each: each.rule.id)


def _without_text(rules: list[CompiledRule]) -> list[tuple[Rule, object]]:
    """The rules without their texts as written, which names of lists and subjects are a part of."""
    return [(replace(each.rule, text="", definitions=()), each.atom_specs) for each in rules]


def test_canonical_form_has_all_metadata() -> None:
    """Every key but the tests is written, in a fixed order, with its default when it is missing."""
    assert _CANONICAL == rules_text(_compiled({"t.yaml": _FULL}))


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(block, id=f"{path.stem}: {block.title}")
        for path in sorted((ROOT / "verdicts").glob("*.txt"))
        for block in verdict_blocks(path)
    ],
)
def test_written_rule_is_read_as_the_same_rule(block: Block) -> None:
    """A written rule has the atoms, formula, fingerprint and metadata of the original."""
    rule: dict[str, object] = {"id": "r", "condition": block.text, "timezone": block.setting("timezone") or "UTC"}
    if not block.text.startswith("when"):
        rule["kind"] = block.setting("kind") or "pattern"
    day = {"expires": block.setting("until")} if block.setting("until") else {}
    rule["exceptions"] = [{"where": value, **day} for key, value in block.settings if key == "except"]
    compiled = _compiled({"t.yaml": json.dumps({"rules": [rule]})})

    written = rules_text(compiled)

    again = _compiled({"t.yaml": written})
    assert _without_text(compiled) == _without_text(again)
    assert written == rules_text(again)


@pytest.mark.parametrize("path", sorted(paths.LIBRARY.glob("*.yaml")))
def test_library_survives_being_written(path: Path) -> None:
    """The library's rules are the same after writing."""
    files, _ = read_files([path])
    compiled, _ = compile_files(files)

    again = _compiled({"t.yaml": rules_text(compiled)})

    assert _without_text(sorted(compiled, key=lambda each: each.rule.id)) == _without_text(again)


_metadata = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    metadata=st.fixed_dictionaries(dict.fromkeys(("title", "owner", "description", "tag", "reason", "name"), _metadata))
)
def test_any_text_survives_being_written(metadata: dict[str, str]) -> None:
    """Any metadata, and any name and text of a condition, is read back unchanged."""
    name = json.dumps(metadata["name"] + "x")
    rule: dict[str, object] = {key: metadata[key] for key in ("title", "owner", "description") if metadata[key].strip()}
    rule |= {"id": "r", "kind": "pattern", "condition": f"trace.has({name}).where(x == {name})"}
    rule |= {"tags": [metadata["tag"]], "exceptions": [{"where": "y", "reason": metadata["reason"] + "."}]}
    files, _ = from_texts({"t.yaml": json.dumps({"rules": [rule]})})
    compiled, reported = compile_files(files)

    again = _compiled({"t.yaml": rules_text(compiled)}) if not has_errors(reported) else compiled

    assert _without_text(compiled) == _without_text(again)
