"""One colour and marker per variant, the same in every figure and list: colour-blind safe, `sa` always grey.

The variants and the paper's ablations have a look of their own. Any other name (a setting, a sum, one's own variant)
gets the hue and the marker that its letters ask for, in every study; where another has both, the marker is moved on.
Figures are drawn with the light colours; in the page each becomes a CSS variable, so that both themes are readable. The
first hues are Okabe and Ito's, some darkened for contrast on white; markers differ too, since hue alone is not enough.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.study.rows import natural

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
    "c8": ("#8b2252", "#f0647f"),
}
HUES = [name for name in THEME if name.startswith("c")][1:]
SHAPES = {  # matplotlib's marker: the same as an SVG path around 0, 0; the circle is sa's
    "o": "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z",
    "s": "M-4.5-4.5h9v9h-9z",
    "^": "M0-5.5 5.5 4.5h-11z",
    "v": "M0 5.5-5.5-4.5h11z",
    "D": "M0-6 6 0 0 6-6 0z",
    "P": "M-2-5.5h4v3.5h3.5v4H2v3.5h-4V2h-3.5v-4H-2z",
    "X": "M-5-2.5-2.5-5 0-2.5 2.5-5 5-2.5 2.5 0 5 2.5 2.5 5 0 2.5-2.5 5-5 2.5-2.5 0z",
    "p": "M0-5.8 5.5-1.8 3.4 4.7h-6.8L-5.5-1.8z",
    "<": "M-5.5 0 4.5-5.5v11z",
    ">": "M5.5 0-4.5-5.5v11z",
}
MARKERS = [marker for marker in SHAPES if marker != "o"]
PAIRS = [(hue, marker) for hue in HUES for marker in MARKERS]
KNOWN = {  # the variants, and the settings of the paper's ablations
    "sp_sa": ("c1", "s"), "psa": ("c3", "D"), "gpsa": ("c2", "^"), "rpe_1d": ("c5", "P"), "rpe_2d": ("c8", "X"),
    "swin": ("c6", "p"), "cswin": ("c4", "v"), "window": ("c7", "<"), "no_content": ("c2", ">"),
    "uniform": ("c5", "D"), "position_only": ("c3", "v"),
    "sp_sa[hidden=16]": ("c2", "v"), "sp_sa[hidden=64]": ("c3", "^"), "sp_sa[scope=layer]": ("c5", "p"),
    "sp_sa[scope=network]": ("c8", "<"), "sp_sa[form=linear]": ("c6", "P"), "sp_sa[form=table]": ("c4", "D"),
    "sp_sa[combine=add]": ("c7", ">"), "rpe_1d[mode=bias]": ("c2", "P"), "rpe_2d[mode=bias]": ("c7", "X"),
    "psa[init=normal]": ("c4", "s"), "psa[init=convit]": ("c6", "<"),
    "rel_bias": ("c2", "s"), "log_cpb": ("c3", "P"), "cosine": ("c8", "P"), "irpe": ("c6", ">"),
    "decomposed": ("c4", ">"), "rope_axial": ("c7", "^"), "rope_mixed": ("c1", "D"), "neighborhood": ("c5", "X"),
    "lepe": ("c1", "<"), "t5": ("c4", "^"), "levit": ("c7", "v"), "crossformer": ("c6", "X"),
    "alibi_2d": ("c3", "p"), "kerple": ("c8", ">"), "fire": ("c2", "D"), "gaussian": ("c5", "<"),
    "lookhere": ("c1", "X"),
}  # fmt: skip
TEXT = 4.5  # the contrast that WCAG asks of text; what is drawn needs 3


@dataclass(frozen=True)
class Look:
    """How a variant is drawn: `slot` names the CSS variable, `color` is its light value, `shape` an SVG path."""

    slot: str
    color: str
    marker: str

    @property
    def shape(self) -> str:
        return SHAPES[self.marker]


def looks(variants: Sequence[str], baseline: str) -> dict[str, Look]:
    """A look per variant, whatever their order: known names first, then the others by name."""
    found = {"sa": ("c0", "o")} if "sa" in variants or baseline == "sa" else {}
    found |= {name: KNOWN[name] for name in variants if name in KNOWN}
    for name in sorted(set(variants) - set(found), key=natural):
        found[name] = _free(name, list(found.values()))
    return {name: Look(hue, THEME[hue][0], marker) for name, (hue, marker) in found.items() if name in variants}


def _free(name: str, taken: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The pair that a name's letters ask for, or the next one, of that hue first, that fewest others have."""
    start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % len(PAIRS)
    used = Counter(taken)
    return min([*PAIRS[start:], *PAIRS[:start]], key=lambda pair: used[pair])


def css_variables() -> tuple[str, str]:
    """The declarations for the light and for the dark theme: the colours, and each hue as text, t0 to t8."""
    return _declared(0), _declared(1)


def _declared(theme: int) -> str:
    colors = {name: pair[theme] for name, pair in THEME.items()}
    texts = {f"t{hue[1:]}": readable(colors[hue], colors["ink"], colors["paper"]) for hue in ("c0", *HUES)}
    return " ".join(f"--{name}: {color};" for name, color in (colors | texts).items())


def readable(color: str, ink: str, paper: str) -> str:
    """The colour with as much ink in it as text on this paper needs."""
    mixed = (_mixed(color, ink, share / 20) for share in range(21))
    return next(one for one in mixed if contrast(one, paper) >= TEXT + 0.1)


def contrast(one: str, two: str) -> float:
    """WCAG's contrast of two colours, 1 to 21."""
    low, high = sorted((_luminance(one), _luminance(two)))
    return (high + 0.05) / (low + 0.05)


def rgb(color: str) -> list[int]:
    """Red, green and blue of "#rrggbb", 0 to 255."""
    return [int(color[at : at + 2], 16) for at in (1, 3, 5)]


def _luminance(color: str) -> float:
    parts = [part / 255 for part in rgb(color)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _mixed(one: str, two: str, share: float) -> str:
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in zip(rgb(one), rgb(two), strict=True))


def alone(svg: str) -> str:
    """An inline figure as a file of its own: both themes inside, since no page gives it colours."""
    light, dark = css_variables()
    style = f"<style>:root{{{light}--sans:sans-serif;}}@media (prefers-color-scheme: dark){{:root{{{dark}}}}}</style>"
    return re.sub(r"(<svg[^>]*>)", lambda match: match[1] + style, svg, count=1) + "\n"
