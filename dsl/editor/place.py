"""Finds the rule text around the cursor, line by line, so that this works in incomplete files too.

In: a file and the place of the cursor. Out: what the text is (a rule, a condition, the definition of a subject, or a
line of a header), and its part before the cursor.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass

from dsl.files import headers
from dsl.syntax.continuation import COND, RULE, SUBJECT
from dsl.syntax.source import YAML_SUFFIXES, SourceFile, source_file

HEADER = "header"
"""The form of the key of a header line; the other forms are in `dsl.syntax.continuation`."""

_WORD_CHARACTERS = string.ascii_letters + string.digits + "_.-"
_HEADER_KEY = re.compile(r"\s*//\s*")
_COMMENT = re.compile(r"\s*//")
_YAML_KEY = re.compile(
    r"""(?P<indent>[\s-]*+)(?P<quote>["']?)(?P<key>[^\s"'#{}\[\],:][^"'{}\[\]]*?)(?P=quote):(?=\s|$)"""
)
_TEXT_KEY = re.compile(r"(?:^|[\s{,-])(condition|where):(?:\s+|$)")
_OPENING = re.compile(r"""\s*(?:[|>][-+0-9]*\s*(?:$|\n)|["'])?""")
_FORMS = {"condition": RULE, "where": COND}


@dataclass(frozen=True, slots=True)
class Place:
    """What is written at the cursor: the form of the text, the text before the word at the cursor, and the word."""

    form: str
    before: str
    word: str


def place_at(file: SourceFile, line: int, column: int) -> Place | None:
    """Return the place of the cursor; None outside rule texts."""
    written = file.lines[line][:column]
    head = written.rstrip(_WORD_CHARACTERS).removesuffix("@")
    word = written[len(head) :]
    if file.path.endswith(YAML_SUFFIXES):
        text = _yaml_text([*file.lines[:line], head])
        return None if text is None else Place(*text, word)
    if _COMMENT.match(written):
        return Place(HEADER, "", word) if _HEADER_KEY.fullmatch(head) else None
    return Place(RULE, _rule_text(file, [*file.lines[:line], head]), word)


def _rule_text(file: SourceFile, lines: Sequence[str]) -> str:
    """Return the text of the last rule in these lines of a `.rules` file."""
    follows = "x"  # so that there is a rule also directly below a header
    before = "\n".join(lines) + follows
    draft, _ = headers.read_file(source_file(file.path, before))
    return (draft.rules[-1].condition.text if draft.rules else before).removesuffix(follows)


def _yaml_text(lines: Sequence[str]) -> tuple[str, str] | None:
    """Return the form and text of the scalar that continues at the end of these lines; None for other texts."""
    last = lines[-1]
    if last.lstrip().startswith("#"):
        return None
    if found := [*_TEXT_KEY.finditer(last)]:
        return _FORMS[found[-1][1]], _content(last[found[-1].end() :])
    if (key := _YAML_KEY.match(last)) is not None:
        is_subject = _parent(lines[:-1], len(key["indent"])) == "subjects"
        return (SUBJECT, _content(last[key.end() :])) if is_subject else None
    return _continued(lines)


def _continued(lines: Sequence[str]) -> tuple[str, str] | None:
    """Return what `_yaml_text` does, for lines of which the last has no key."""
    for index in range(len(lines) - 2, -1, -1):
        key = _YAML_KEY.match(lines[index])
        if key is None:
            continue
        if _indent(lines[-1]) <= len(key["indent"]):
            return None
        is_subject = _parent(lines[:index], len(key["indent"])) == "subjects"
        form = SUBJECT if is_subject else _FORMS.get(key["key"])
        return None if form is None else (form, _content("\n".join([lines[index][key.end() :], *lines[index + 1 :]])))
    return None


def _parent(lines: Sequence[str], indent: int) -> str | None:
    """Return the key of the mapping that is indented less than `indent` and contains what follows the lines."""
    for line in reversed(lines):
        if (key := _YAML_KEY.match(line)) is not None and len(key["indent"]) < indent:
            return key["key"]
    return None


def _content(text: str) -> str:
    """Return a scalar without what opens it: a quote, or the indicator of a block."""
    opening = _OPENING.match(text)
    return text[opening.end() :] if opening is not None else text


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
