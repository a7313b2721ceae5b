"""The templates beside this file: escaped, strict, and with what every page has: two themes and one script at most."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from urllib.parse import quote

import jinja2

from harness.report.figures.style.palette import css_variables
from harness.report.text.formatting import DASH, significant
from harness.results.store import MARK

HERE = Path(__file__).parent / "templates"


def fill(name: str, **values: object) -> str:
    """The page that a template makes of the values."""
    light, dark = css_variables()
    # A page runs this one script only, where it runs any: the policy in its head names the script's hash.
    script = templates().get_template("page.js").render()
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return templates().get_template(name).render(mark=MARK, light=light, dark=dark, script_hash=allowed, **values)


@cache
def templates() -> jinja2.Environment:
    """The templates, each of them compiled once."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    found.filters |= {"data_link": data_link, "number": number}
    return found


def data_link(csv: str) -> str:
    """A CSV as an address that needs no network."""
    return "data:text/csv;charset=utf-8," + quote(csv, safe="")


def number(value: float | None) -> str:
    """Three significant digits, or a dash."""
    return DASH if value is None else significant(value)
