"""Reads an HTML page the way a strict reader would."""

from __future__ import annotations

import base64
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "link", "img", "br"}
PREFIX = "data:image/png;base64,"


class Page(HTMLParser):
    """What is on a page; wrongly nested or unclosed tags are an AssertionError."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.shown: list[dict[str, str]] = []
        self.links: list[str] = []
        self.text = ""
        self.table_rows: list[list[str]] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        self.tags.add(tag)
        self.links += [value for key, value in given.items() if key in ("src", "href")]
        if tag == "img":
            self.shown.append(given)
        if tag == "tr":
            self.table_rows.append([])
        if tag in ("td", "th"):
            self.table_rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.table_rows[-1][-1] += data
        if "style" not in self.open:
            self.text += data

    def images(self) -> list[bytes]:
        """The contents of the PNG files inside the page."""
        assert all(image["src"].startswith(PREFIX) for image in self.shown)
        return [base64.b64decode(i["src"][len(PREFIX) :], validate=True) for i in self.shown]


def read_page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))
