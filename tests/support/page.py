"""A page as the tests read it: its text, elements and tables; rendered from made-up rows."""

import base64
import csv
import hashlib
import io
import re
from contextlib import contextmanager, nullcontext
from html.parser import HTMLParser
from unittest import mock
from urllib.parse import unquote

from tests.support import rows as made

VOID = {"meta", "link", "br", "hr", "img", "input", "col", "circle", "line", "path", "use", "rect"}


class Page(HTMLParser):
    """Text, elements and table rows of a page; fails on tags that do not match up."""

    def __init__(self, html):
        super().__init__()
        self.open, self.elements, self.words, self.rows, self.cell = [], [], [], [], None
        self.main, self.table = [], ""  # the lines of the main tables, without their headings
        self.feed(html)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.table = dict(attributes).get("class", "")
        if tag == "tr":
            self.rows.append([])
            if self.table == "main sortable" and "tbody" in self.open:
                self.main.append(self.rows[-1])
        if tag == "small" and self.cell is not None:
            self.cell[-1] += " "
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
            self.cell = self.rows[-1]

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self.open, f"closed and never opened: {tag}"
        assert self.open.pop() == tag
        if tag in ("td", "th"):
            self.cell = None

    def handle_data(self, data):
        if self.open and self.open[-1] in ("style", "script"):
            return
        self.words.append(data)
        if self.cell is not None:
            self.cell[-1] += data

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def named(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def no_figures(*_):
    return []


def undrawn():
    """While it lasts pages have no figures, which take half of a page's time: for who reads the rest, or nothing."""
    return mock.patch("harness.report.figures.draw", no_figures)


@contextmanager
def sketched():
    """While it lasts figures have their captions and their data, and nothing is drawn."""
    style = "harness.report.figures.style"
    with mock.patch(f"{style}.svg.inline", nothing_drawn), mock.patch(f"{style}.series.draw", no_figures):
        yield


def nothing_drawn(figure, name, title):
    return f'<svg aria-labelledby="{name}-title"><title id="{name}-title">{title}</title></svg>'


def render(tmp_path, rows, recipe=made.RECIPE, name="study", figures=True):
    """The page of the rows; figures=False: undrawn."""
    from harness.report import render

    folder = made.save(tmp_path / name, rows, recipe)
    with nullcontext() if figures else undrawn():
        report = render(folder, tmp_path / f"{name}.html")
    return report.path.read_text(encoding="utf-8")


HOSTILE = [
    "<script>alert(1)</script>", "\"quo'te\" onload=\"alert(2)\"", "$x^2$ $\\frac{1}", "n" * 300,
    "{{ 7 * 7 }}{% raw %}", "-->]]></svg><img src=x onerror=alert(3)>", "&lt;b&gt;", "новый 注意\n\x07",
]  # fmt: skip


def table_of(page, name):
    links = [a for a in page.named("a") if a.get("download") == name]
    assert len(links) == 1
    return list(csv.DictReader(io.StringIO(unquote(links[0]["href"].split(",", 1)[1]))))


def cells(page, variant, width):
    return [row for row in page.rows if len(row) == width and row[0].split()[:1] == [variant]]


def broken(html, old, new):
    """The page with a fault; its script, changed or not, is allowed to run."""
    assert old in html
    html = html.replace(old, new)
    script = html[html.rindex("<script>") + len("<script>") : html.rindex("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return re.sub(r"'sha256-[^']+'", f"'sha256-{digest}'", html)
