"""Writes rules in canonical form, with their metadata.

In: compiled rules. Out: a YAML rule file, because headers cannot express exceptions. Defaults are written out; tests
are left out. What must hold: the file loads to the same rules, atoms and formulas, unless canonical spaces and
parentheses take a rule beyond the limits of `dsl.syntax.tokens`. `Rule.text` becomes the canonical text, in which
lists and subjects are written out, so that `Rule.definitions` is empty.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from io import StringIO

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter

from dsl.compile.compile import CompiledRule
from dsl.files.dedup import written
from dsl.files.triage import KEYS
from dsl.judge.ruleset import Rule, RuleException, Triage
from dsl.syntax.printer import body_text


def rules_text(rules: Iterable[CompiledRule]) -> str:
    r"""Return the rules as a YAML rule file.

    >>> from dsl.compile.compile import compile_files
    >>> from dsl.syntax.source import source_file
    >>> compiled, _ = compile_files([source_file("t.rules", "// Signal: LEAK (low)\ntrace.has(a) and (not b)")])
    >>> print(rules_text(compiled), end="")
    rules:
    - id: LEAK
      title: LEAK
      kind: pattern
      severity: low
      enabled: true
      mode: live
      timezone: UTC
      condition: a and not b
    """
    written = StringIO()
    _yaml().dump({"rules": [_fields(each) for each in rules]}, written)
    return written.getvalue()


class _Representer(SafeRepresenter):
    """Quotes text with characters that are not printable: YAML 1.1 and 1.2 disagree on U+0085 and U+2028."""

    def represent_str(self, data: str) -> ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=None if data.isprintable() else '"')


_Representer.add_representer(str, _Representer.represent_str)


def _yaml() -> YAML:
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # ruamel declares it None
    yaml.width = sys.maxsize
    return yaml


def _fields(compiled: CompiledRule) -> dict[str, object]:
    """Return the YAML fields of a rule, without those that have no value."""
    rule = compiled.rule
    fields = {**_metadata(rule), "condition": body_text(compiled.body)}
    fields["exceptions"] = [_exception(each) for each in rule.exceptions]
    return {key: value for key, value in fields.items() if value not in (None, [])}


def _metadata(rule: Rule) -> dict[str, object]:
    return {
        "id": rule.id,
        "title": rule.title,
        "description": rule.description,
        "kind": rule.kind.value,
        "severity": rule.severity.value,
        "controls": list(rule.controls),
        "owner": rule.owner,
        "tags": list(rule.tags),
        "references": list(rule.references),
        **_triage(rule.triage),
        "dedup": None if rule.dedup is None else written(rule.dedup),
        "enabled": rule.enabled,
        "mode": rule.mode.value,
        "timezone": rule.timezone,
    }


def _triage(triage: Triage) -> dict[str, object]:
    """Return the YAML fields of what a rule's signals are triaged by, in the order of `dsl.files.triage.KEYS`."""
    fields = ((key, getattr(triage, key)) for key in KEYS)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in fields}


def _exception(exception: RuleException) -> dict[str, object]:
    expires = None if exception.expires is None else exception.expires.isoformat()
    fields = {"where": exception.where, "owner": exception.owner, "reason": exception.reason, "expires": expires}
    return {key: value for key, value in fields.items() if value is not None}
