"""Renders pages: HTML files that are complete in themselves, without scripts, fonts or network access.

In: a template (`*.html.j2`) that lies beside the module that renders it, and its values. Out: HTML. All pages extend
`page.html.j2`, which has the one stylesheet, `style.css`, and share the macros of `parts.html.j2`.

What must hold: every value is escaped, whatever a span or a rule has in it; characters that do not print become spaces;
a value that a template names and does not get is an error.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from streams.observe.terminal import printable_lines
from streams.pages import words
from topics.times import rfc3339_clamped

SHARED = Path(__file__).parent


def render(template: Path, **values: object) -> str:
    """Return the page that a template makes of values."""
    return environment(template.parent).get_template(template.name).render(values)


@cache
def environment(folder: Path) -> Environment:
    """Return the environment of the templates in a folder."""
    made = Environment(
        loader=FileSystemLoader([folder, SHARED]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "amount": words.amount,
        "day": words.day,
        "duration": words.duration,
        "minute": words.minute,
        "moment": rfc3339_clamped,
        "number": "{:,}".format,
        "percent": words.percent,
        "repr": repr,
        "was": words.was,
    }
    made.globals |= {"span": words.span}
    return made


def _printable(value: object) -> object:
    """Return what is printed for a value; markup is what templates made, in which the values are printable already."""
    return printable_lines(value) if isinstance(value, str) and not isinstance(value, Markup) else value
