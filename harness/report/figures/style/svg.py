"""Matplotlib figures as inline SVG: themed by CSS variables, ids of their own, nothing but shapes and text inside."""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as xml
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.figure import Figure

from harness.report.figures.style.palette import FAINT, HUES, INK, RULE, THEME

SCALE = 1.34  # pixels an SVG unit, at most: letters are of one size in all figures where there is room
SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
EMBEDDED = "data:image/png;base64,"  # the only picture that a figure may hold
DRAWN = {"svg", "g", "defs", "path", "use", "text", "tspan", "clipPath", "rect", "line", "circle", "title", "image"}
FIXED: dict[
    Any, Any
] = {  # of the rcParams: text stays text, names are never parsed as formulas, ids do not depend on the day
    "svg.fonttype": "none",
    "image.composite_image": False,  # small pictures stay as they are, each a pixel a value
    "svg.hashsalt": "report",
    "text.parse_math": False,
    "text.usetex": False,
    "axes.formatter.use_mathtext": False,
    "figure.dpi": 72,  # one pixel is one SVG unit, so measured text boxes are in SVG units
    "font.family": ["DejaVu Sans"],  # comes with matplotlib; wider than the page's own font, so labels keep their room
    "font.size": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "axes.linewidth": 0.8,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": FAINT,
    "ytick.labelcolor": FAINT,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "axes.spines.left": False,
}


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's settings while a report's figures are drawn; the reader's own matplotlibrc plays no part."""
    with mpl.rc_context(), warnings.catch_warnings():
        # A name may hold letters that the measuring font lacks; the page's fonts draw them.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        mpl.rcdefaults()
        mpl.rcParams.update(sns.axes_style("white"))
        mpl.rcParams.update(FIXED)
        yield


def inline(figure: Figure, name: str, title: str) -> str:
    """The figure as an `<svg>` element for an HTML page; `name` makes its ids its own, `title` is read aloud."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = xml.fromstring(buffer.getvalue())
    _prune(root)
    used = _references(root)
    for element in root.iter():
        _rename(element, name, used)
        _recolor(element, TEXTS if element.tag == f"{{{SVG}}}text" else VARIABLES)
        _round(element)
    for length in ("width", "height"):
        root.attrib.pop(length, None)
    root.set("style", f"max-width: {SCALE * 72 * figure.get_figwidth() / 16:.2f}rem")
    heading = xml.Element(f"{{{SVG}}}title", {"id": f"{name}-title"})
    heading.text = title
    root.insert(0, heading)
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title")
    xml.register_namespace("", SVG)
    xml.register_namespace("xlink", XLINK)
    return xml.tostring(root, encoding="unicode")


def _round(element: xml.Element) -> None:
    """Two decimals of an SVG unit are finer than any screen."""
    if element.tag == f"{{{SVG}}}image":  # its transform scales pixels
        return
    for key in ("d", "x", "y", "transform"):
        value = element.get(key)
        if value is not None:
            element.set(key, re.sub(r"-?\d+\.\d{3,}", lambda match: f"{float(match[0]):.2f}", value).replace("\n", ""))


def _prune(element: xml.Element) -> None:
    """Takes out everything that draws nothing: metadata, and a style sheet that would reach the whole page."""
    for child in list(element):
        if child.tag.removeprefix(f"{{{SVG}}}") not in DRAWN:
            element.remove(child)
        else:
            _prune(child)


def _references(root: xml.Element) -> set[str]:
    found: set[str] = set()
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == f"{{{XLINK}}}href" and not value.startswith(EMBEDDED):
                found.add(value.removeprefix("#"))
            else:
                found.update(re.findall(r"url\(#([^)]+)\)", value))
    return found


def _rename(element: xml.Element, name: str, used: set[str]) -> None:
    """Prefixes the ids that something refers to, and drops the others."""
    for key, value in list(element.attrib.items()):
        if key == "id":
            if value == "label":  # text over lines: the page gives it a rim of paper
                element.set("class", value)
            if value in used:
                element.set(key, f"{name}-{value}")
            else:
                del element.attrib[key]
        elif key == f"{{{XLINK}}}href" and not value.startswith(EMBEDDED):
            element.set(key, f"#{name}-{value.removeprefix('#')}")
        elif "url(#" in value:
            element.set(key, re.sub(r"url\(#", f"url(#{name}-", value))


VARIABLES = {light: f"var(--{name}, {light})" for name, (light, _) in THEME.items()}
TEXTS = VARIABLES | {THEME[hue][0]: f"var(--t{hue[1:]}, {THEME[hue][0]})" for hue in ("c0", *HUES)}


def _recolor(element: xml.Element, variables: dict[str, str]) -> None:
    """Colours become the page's variables and fonts the page's own. Raises ValueError for a colour without one."""
    style = element.get("style")
    if not style:
        return
    style = re.sub(r"font-family: [^;]+", "font-family: var(--sans, sans-serif)", style)
    unknown = sorted(set(re.findall(r"#[0-9a-f]{6}\b", style)) - variables.keys())
    if unknown:
        raise ValueError(f"the colour {unknown[0]} has no CSS variable, so it would stay light in the dark theme; draw "
                         "with palette's colours: a variant's Look, INK, FAINT, RULE or PAPER")  # fmt: skip
    element.set("style", re.sub(r"#[0-9a-f]{6}\b", lambda match: variables[match[0]], style))


assert len(VARIABLES) == len(THEME)  # two variables of one light colour could not be told apart
