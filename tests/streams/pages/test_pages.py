"""Tests what all pages share: the templates' environment and the style."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from streams.cli import waterfall_html
from streams.inspect.waterfall import rows
from streams.pages import SHARED, render
from tests.support import chromium
from tests.support.findings import SIGNAL
from tests.support.spans import span

STYLE = (SHARED / "style.css").read_text()
LIGHT, DARK = (dict(re.findall(r"--(\w+): (#\w{6})", root)) for root in re.findall(r":root \{([^}]*)\}", STYLE))
TEXTS = ("ink", "soft", "good", "bad", "doubt")
GRAPHICS = ("held", "broken", "bar", "doubt", "soft")


def luminance(colour: str) -> float:
    """Returns the relative luminance of a colour, as in WCAG 2.2."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(*colours: str) -> float:
    """Returns the contrast of two colours, as in WCAG 2.2."""
    dark, light = sorted(map(luminance, colours))
    return (light + 0.05) / (dark + 0.05)


def template(folder: Path, text: str) -> Path:
    """Writes a template."""
    file = folder / "a.html.j2"
    file.write_text(text)
    return file


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_charts_have_contrast(colours: dict[str, str]) -> None:
    """Text has 4.5 : 1 on the page and on a statement, what a chart draws 3 : 1, and held and broken between them."""
    texts = {name: min(contrast(colours[name], colours[under]) for under in ("paper", "wash")) for name in TEXTS}
    graphics = {name: contrast(colours[name], colours["paper"]) for name in GRAPHICS}

    assert {} == {name: ratio for name, ratio in texts.items() if ratio < 4.5}
    assert {} == {name: ratio for name, ratio in graphics.items() if ratio < 3}
    assert 3 <= contrast(colours["held"], colours["broken"])


def test_values_are_escaped(tmp_path: Path) -> None:
    """A value is neither markup nor the end of an attribute."""
    made = render(template(tmp_path, '<p title="{{ value }}">{{ value }}</p>'), value="\"'><b>&")

    assert made == '<p title="&#34;&#39;&gt;&lt;b&gt;&amp;">&#34;&#39;&gt;&lt;b&gt;&amp;</p>'


@pytest.mark.parametrize("char", ["\x00", "\x1b", "\r", "\x85", "\x9b", "\u202e", "\u2066", "\ufeff"])
def test_what_does_not_print_is_a_space(tmp_path: Path, char: str) -> None:
    """Control characters and marks that turn text around are spaces, also in a list that a template joins."""
    made = render(template(tmp_path, "{{ value }}{{ [value, 1] | join }}{{ value ~ '' }}"), value=f"a{char}b\tc\nd")

    assert made == "a b\tc\nd" + "a b\tc\nd1" + "a b\tc\nd"


def test_a_value_that_is_not_given_is_an_error(tmp_path: Path) -> None:
    """A page is never made with an empty place where a value belongs."""
    with pytest.raises(UndefinedError, match="'value' is undefined"):
        render(template(tmp_path, "{{ value }}"))


@pytest.mark.skipif(chromium.PROGRAM is None, reason="needs Chromium")
def test_a_narrow_screen_shows_a_page_whole(tmp_path: Path) -> None:
    """A page is no broader than a window of 400 pixels: its tables scroll."""
    file = tmp_path / "signal.html"
    file.write_text(waterfall_html.page(SIGNAL, rows([span("a" * 300), span("b", "a" * 300)], {}), []))

    assert 0 == chromium.overflow(file, tmp_path, 400)
