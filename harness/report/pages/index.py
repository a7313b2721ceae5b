"""A page of all pages in a folder: of each its title, what it says of itself, its date, its first figure."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from html import unescape
from pathlib import Path

from harness.report.figures.style.palette import alone
from harness.report.pages.template import fill
from harness.results.targets import written_here

NAME = "index.html"
TITLE = re.compile(r"<title>(.*?)</title>", re.DOTALL)
SENTENCE = re.compile(r'<meta name="description" content="([^"]*)">')
DATE = re.compile(r'<time datetime="(\d{4}-\d\d-\d\d)')
FIGURE = re.compile(r'<svg[^>]*role="img".*?</svg>', re.DOTALL)


@dataclass(frozen=True)
class Entry:
    """A page: its file's name, and what stands in it; "" for what does not. picture: a data URI."""

    file: str
    title: str
    sentence: str
    date: str
    picture: str


def page(folder: Path) -> str:
    """The HTML of the index. Raises ValueError for a folder that has no page of this project."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; name the one that has the pages, such as reports")
    files = [file for file in sorted(folder.glob("*.html")) if file.name != NAME and written_here("report", file)]
    if not files:
        raise ValueError(f"{folder} has no page that this project wrote; render a study into it first")
    entries = sorted((entry(file) for file in files), key=lambda one: one.date, reverse=True)
    return fill("index.html", entries=entries)


def entry(file: Path) -> Entry:
    """What a page says of itself."""
    text = file.read_text(encoding="utf-8")

    def first(pattern: re.Pattern[str]) -> str:
        found = pattern.search(text)
        return unescape(found[1]) if found else ""

    drawn = FIGURE.search(text)
    picture = base64.b64encode(alone(drawn[0]).encode()).decode() if drawn else ""
    return Entry(
        file=file.name,
        title=first(TITLE).partition(":")[0] or file.stem,
        sentence=first(SENTENCE),
        date=first(DATE),
        picture=f"data:image/svg+xml;base64,{picture}" if picture else "",
    )
