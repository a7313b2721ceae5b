"""One colour and marker per variant, the same in every figure and list: colour-blind safe, the baseline always grey.

Figures are drawn with the light colours; in the page each becomes a CSS variable, so that both themes are readable. The
first hues are Okabe and Ito's, some darkened for contrast on white; markers differ too, since hue alone is not enough.
"""

from __future__ import annotations

from dataclasses import dataclass

INK, FAINT, RULE, PAPER = "#1c1f23", "#5b636d", "#dfe3e8", "#fefefd"
GREY = "#6f7780"
THEME = {  # CSS variable: (light, dark)
    "ink": (INK, "#e8eaed"),
    "faint": (FAINT, "#a3abb5"),
    "rule": (RULE, "#343a42"),
    "paper": (PAPER, "#15181c"),
    "c0": (GREY, "#98a1ab"),
    "c1": ("#0072b2", "#4aa3df"),
    "c2": ("#d55e00", "#f0772b"),
    "c3": ("#009e73", "#22b98c"),
    "c4": ("#bc5f95", "#dd8fbc"),
    "c5": ("#b07c00", "#e0ab2e"),
    "c6": ("#5a4fb0", "#a79df2"),
    "c7": ("#3c94c8", "#86cdf5"),
    "c8": ("#8b2252", "#e27aa3"),
}
HUES = [name for name in THEME if name.startswith("c")][1:]
MARKERS = ("s", "^", "D", "v", "P", "X", "p")  # the baseline has the circle; 8 hues and 7 markers: 56 pairs


@dataclass(frozen=True)
class Look:
    """How a variant is drawn: `slot` names the CSS variable, `color` is its light value."""

    slot: str
    color: str
    marker: str


def looks(variants: list[str], baseline: str) -> dict[str, Look]:
    """A look per variant, by its place among the others."""
    found = {}
    others = [variant for variant in variants if variant != baseline]
    if baseline in variants:
        found[baseline] = Look("c0", GREY, "o")
    for place, variant in enumerate(others):
        slot = HUES[place % len(HUES)]
        found[variant] = Look(slot, THEME[slot][0], MARKERS[place % len(MARKERS)])
    return found


def css_variables() -> tuple[str, str]:
    """The declarations for the light and for the dark theme."""
    light = " ".join(f"--{name}: {colors[0]};" for name, colors in THEME.items())
    dark = " ".join(f"--{name}: {colors[1]};" for name, colors in THEME.items())
    return light, dark
