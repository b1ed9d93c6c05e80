"""Writes traces as the tests of a rule, to be pasted under the rule in a YAML file.

In: spans of single traces, and the verdicts that are expected. Out: YAML text that `dsl.files.yaml_rules` reads back.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from io import StringIO
from textwrap import indent

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter

from dsl.compile.review import judge_trace
from dsl.files.spans import read_span
from dsl.files.write_spans import span_fields
from dsl.judge.ruleset import RuleSet
from dsl.judge.span import Span, Value
from dsl.judge.verdict import Verdict

INDENT = " " * 4
"""The indentation of the keys of a rule, as in the library."""

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
"""Texts that need no quotes unless they are words of YAML, which ruamel quotes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceTest:
    """A test: the spans of a trace, the verdict, and whether the window of the trace hit `max_duration`."""

    name: str
    spans: tuple[Span, ...]
    hit_max_duration: bool
    expect: Verdict

    def verdict(self, rules: RuleSet) -> Verdict:
        """Return the verdict of the only rule in a set on the test as written, which is that of `betrace check`."""
        spans = [read_span(span_fields(span)) for span in self.spans]
        judgements = judge_trace(rules, spans, whole=not self.hit_max_duration)
        return judgements[0].verdict if judgements else Verdict.NOT_APPLICABLE


def yaml_text(tests: Iterable[TraceTest]) -> str:
    r"""Return the key `tests` of a rule, indented as the keys of a rule in a list are.

    >>> test = TraceTest(name="t 1", spans=(Span("a", bytes([1] * 8)),), hit_max_duration=False, expect=Verdict.HELD)
    >>> print(yaml_text([test]), end="")
        tests:
          - name: "t 1"
            expect: held
            spans:
              - name: a
                span_id: "0101010101010101"
                start: null
    """
    written = StringIO()
    _yaml().dump({"tests": [_fields(each) for each in tests]}, written)
    return indent(written.getvalue(), INDENT)


def _fields(test: TraceTest) -> dict[str, Value]:
    close: dict[str, Value] = {"close": "max_duration"} if test.hit_max_duration else {}
    spans: list[Value] = [span_fields(span) for span in test.spans]
    return {"name": test.name, "expect": test.expect.value, **close, "spans": spans}


class _Representer(SafeRepresenter):
    """Quotes texts that could be read as another type, and repeats equal values: rule files allow no aliases."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002, ruamel's
        return True

    def represent_str(self, data: str) -> ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=None if _PLAIN.fullmatch(data) else '"')

    def represent_none(self, data: None) -> ScalarNode:  # noqa: ARG002, ruamel's
        return self.represent_scalar("tag:yaml.org,2002:null", "null")


_Representer.add_representer(str, _Representer.represent_str)
_Representer.add_representer(type(None), _Representer.represent_none)


def _yaml() -> YAML:
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # ruamel declares it None
    yaml.width = sys.maxsize
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml
