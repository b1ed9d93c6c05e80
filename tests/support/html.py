"""Pages of evidence as a program reads them."""

from __future__ import annotations

from html.parser import HTMLParser


class Figures(HTMLParser):
    """Collects the text of each figure by its path, and the text of the whole page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self.values: dict[str, str] = {}
        self.text = ""
        self._path: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes where a figure begins."""
        given = dict(attrs)
        self._path = given.get("data-figure") if tag == "span" else self._path
        if self._path is not None and "data-value" in given:
            self.values[self._path] = given["data-value"] or ""

    def handle_endtag(self, tag: str) -> None:
        """A figure has no tags within."""
        self._path = None if tag == "span" else self._path

    def handle_data(self, data: str) -> None:
        """Collects."""
        self.text += data
        if self._path is not None:
            self.found[self._path] = data
