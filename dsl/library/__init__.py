"""Provides the rules that come with BeTrace: one YAML file per framework, each rule with its tests.

In: nothing, or names: a framework (the name of its file, `soc2`) or the id of a rule. Out: the rules, and the texts of
rule files that contain them. Unknown names are rejected. Users adapt copies of the rules; the files in this package
never change. A framework's file can define lists and subjects; a rule that is copied alone has them written out, so
that any rules can be copied into one set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources

from dsl.compile.compile import compile_files, read_drafts
from dsl.compile.definitions import read_names
from dsl.judge.ruleset import Rule
from dsl.syntax.names import Names
from dsl.syntax.source import SourceFile, source_file

_SUFFIX = ".yaml"
_HEAD = "rules:\n"
_NAMED = re.compile(r"@([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True, slots=True)
class LibraryRule:
    """A rule, its framework, and its lines in the framework's file with the names of lists and subjects written out."""

    framework: str
    rule: Rule
    text: str


class UnknownNameError(LookupError):
    """The name is neither a framework nor the id of a library rule."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        nearest_name = get_close_matches(name, known, n=1)
        advice = f"did you mean `{nearest_name[0]}`?" if nearest_name else f"frameworks are: {', '.join(frameworks())}"
        super().__init__(f"`{name}` is neither a framework nor a rule of the library; {advice}")


def frameworks() -> tuple[str, ...]:
    """Return the frameworks, sorted.

    >>> frameworks()
    ('ai-agents', 'gdpr', 'hipaa', 'iso27001', 'owasp-agentic', 'pci-dss', 'reliability', 'soc2')
    """
    return tuple(_texts())


def rules(names: Iterable[str] = ()) -> list[LibraryRule]:
    """Return the rules selected by name, or all, by framework and in file order.

    Raises `UnknownNameError`.
    """
    selection = _selection(names)
    return [each for each in _rules() if not selection or {each.framework, each.rule.id} & selection]


def files(names: Iterable[str] = ()) -> dict[str, str]:
    """Return rule files by name that contain the selected rules, each rule once.

    A framework is its whole file; a rule is a file of its own. Raises `UnknownNameError`.

    >>> sorted(files(["gdpr", "gdpr-art-17-erasure-reaches-every-store", "soc2-cc6-1-access-is-authorized"]))
    ['gdpr.yaml', 'soc2-cc6-1-access-is-authorized.yaml']
    """
    selection = _selection(names)
    whole = {name: text for name, text in _texts().items() if not selection or name in selection}
    single_rules = [each for each in _rules() if each.rule.id in selection and each.framework not in whole]
    single = {each.rule.id: _HEAD + each.text for each in single_rules}
    return {name + _SUFFIX: text for name, text in (whole | single).items()}


def _selection(names: Iterable[str]) -> frozenset[str]:
    selection = tuple(names)
    known = {*frameworks(), *(each.rule.id for each in _rules())}
    for name in selection:
        if name not in known:
            raise UnknownNameError(name, sorted(known))
    return frozenset(selection)


@cache
def _texts() -> dict[str, str]:
    """Return the files by framework, sorted."""
    entries = (entry for entry in resources.files(__name__).iterdir() if entry.name.endswith(_SUFFIX))
    return {each.name.removesuffix(_SUFFIX): each.read_text("utf-8") for each in sorted(entries, key=lambda e: e.name)}


@cache
def _rules() -> tuple[LibraryRule, ...]:
    return tuple(each for name, text in _texts().items() for each in _read(name, source_file(name + _SUFFIX, text)))


def _read(framework: str, file: SourceFile) -> Iterator[LibraryRule]:
    """Yield the rules of a file; the text of a rule ends where the next one starts."""
    compiled, _ = compile_files([file])
    names, _ = read_names(read_drafts([file])[0], {})
    starts = [each.draft.spot.location.line - 1 for each in compiled]
    for each, start, end in zip(compiled, starts, [*starts[1:], None], strict=True):
        text = "\n".join(file.lines[start:end]).rstrip() + "\n"
        yield LibraryRule(framework, each.rule, _written_out(text, names))


def _written_out(text: str, names: Names) -> str:
    """Return the text with each name of a list or subject replaced; other words that start with `@` stay."""
    definitions = names.definitions
    return _NAMED.sub(lambda found: definitions[found[1]].text if found[1] in definitions else found[0], text)
