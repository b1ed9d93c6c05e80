"""Tests spans written as tests of rules: what is written is read back as it was."""

from __future__ import annotations

import math

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from dsl import library
from dsl.compile.compile import read_drafts
from dsl.compile.write_tests import TraceTest, yaml_text
from dsl.judge.span import Event, Span, Value
from dsl.judge.verdict import Verdict
from dsl.syntax.source import from_texts, source_file

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    [
        "",
        "no",
        "NULL",
        "~",
        "1e5",
        "0x1f",
        "0o7",
        ".iNf",
        "2026-01-05",
        "- a",
        "a: b",
        "#c",
        "'",
        '"',
        " x ",
        "\u2028",
        "!t",
    ]
)
scalars = texts | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats(allow_nan=False) | st.none()
values: st.SearchStrategy[Value] = st.recursive(
    scalars, lambda each: st.lists(each, max_size=3) | st.dictionaries(texts, each, max_size=3), max_leaves=5
)
attributes = st.dictionaries(texts, values, max_size=3)
times = st.none() | st.integers(-(1 << 63), (1 << 64) - 1).filter(bool)
spans = st.builds(
    Span,
    name=texts,
    span_id=st.binary(min_size=8, max_size=8),
    parent_id=st.just(b"") | st.just(b"parent12"),
    start_ns=times,
    end_ns=times,
    attributes=attributes,
    events=st.lists(st.builds(Event, name=texts, attributes=attributes, time_ns=times), max_size=2).map(tuple),
    resource=attributes,
    scope=attributes,
    scope_name=st.none() | texts.filter(bool),
    kind=st.sampled_from([None, "server", "client"]),
    status=st.sampled_from(["unset", "ok", "error"]),
    status_message=texts,
)
logs = st.builds(
    lambda span, body, severity: msgspec.structs.replace(
        span, is_log=True, log_body=body, log_severity=severity, parent_id=b""
    ),
    spans,
    values,
    st.none() | texts,
)


def read_back(*spans: Span) -> tuple[Span, ...]:
    """The spans, written as a test of a rule and read again, without their identities."""
    test = TraceTest(name="t", spans=spans, hit_max_duration=True, expect=Verdict.HELD)
    text = f"rules:\n  - id: a\n    condition: a\n{yaml_text([test])}"
    [file], problems = read_drafts([source_file("a.yaml", text)])
    assert [] == problems, text
    [read] = file.rules[0].tests
    assert ("t", True, Verdict.HELD) == (read.name, read.hit_max_duration, read.expect)
    return tuple(map(without_identity, read.spans))


def without_identity(span: Span) -> Span:
    """The span without its identity, which is a hash for a log record."""
    return msgspec.structs.replace(span, identity=b"")


@given(st.lists(spans | logs, min_size=1, max_size=3))
def test_any_span_is_read_back(written: list[Span]) -> None:
    """Whatever texts and values a span has, a test has the same."""
    assert tuple(map(without_identity, written)) == read_back(*written)


def test_what_yaml_has_no_words_for() -> None:
    """A number that is none stays none, bytes are text, and a lone surrogate is replaced."""
    [read] = read_back(Span("\ud800", bytes(8), attributes={"a": math.nan, "b": b"\x00\xff"}))

    assert ("\ufffd", "AP8=") == (read.name, read.attributes["b"])
    assert isinstance(read.attributes["a"], float)
    assert math.isnan(read.attributes["a"])


def test_every_test_of_the_library_is_read_back() -> None:
    """The traces of the library's tests are the same once they are written."""
    files, _ = from_texts(library.files())
    drafts, _ = read_drafts(files)
    tests = [test for draft in drafts for rule in draft.rules for test in rule.tests if test.spans]

    written = [span for test in tests for span in test.spans]
    assert written
    assert tuple(map(without_identity, written)) == read_back(*written)
