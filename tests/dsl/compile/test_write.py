"""Rules written in their canonical form, and read again."""

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
    files, found = from_texts(texts)
    compiled, more = compile_files(files)
    assert not has_errors([*found, *more]), [*found, *more]
    return sorted(compiled, key=lambda each: each.rule.id)


def _without_text(rules: list[CompiledRule]) -> list[tuple[Rule, object]]:
    return [(replace(each.rule, text=""), each.atom_specs) for each in rules]


def test_canonical_form_has_everything_that_is_said_of_a_rule() -> None:
    """Every key but the tests is written, in one order, with its default when it was not given."""
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
    """What is written has the atoms, the formula, the fingerprint and the metadata of what was read."""
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
    """Rules as people write them are the same after writing."""
    files, _ = read_files([path])
    compiled, _ = compile_files(files)

    again = _compiled({"t.yaml": rules_text(compiled)})

    assert _without_text(sorted(compiled, key=lambda each: each.rule.id)) == _without_text(again)


_said = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(said=st.fixed_dictionaries(dict.fromkeys(("title", "owner", "description", "tag", "reason", "name"), _said)))
def test_any_text_survives_being_written(said: dict[str, str]) -> None:
    """Whatever people say of a rule, and whatever its names and texts hold, is read again as it was."""
    name = json.dumps(said["name"] + "x")
    rule: dict[str, object] = {key: said[key] for key in ("title", "owner", "description") if said[key].strip()}
    rule |= {"id": "r", "kind": "pattern", "condition": f"trace.has({name}).where(x == {name})"}
    rule |= {"tags": [said["tag"]], "exceptions": [{"where": "y", "reason": said["reason"] + "."}]}
    files, _ = from_texts({"t.yaml": json.dumps({"rules": [rule]})})
    compiled, found = compile_files(files)

    again = _compiled({"t.yaml": rules_text(compiled)}) if not has_errors(found) else compiled

    assert _without_text(compiled) == _without_text(again)
