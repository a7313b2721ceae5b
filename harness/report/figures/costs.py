"""The figure of costs: by variant the GMACs over those of plain attention, a mark for each resolution."""

from __future__ import annotations

from collections.abc import Mapping

from harness.report.analysis.costs import Costs
from harness.report.figures.style.chart import Drawing, Record
from harness.report.figures.style.palette import Look
from harness.report.figures.style.series import Level, Line, Panel, Point, rows_drawing

TITLE = "What the bias adds"
SMALLEST, LARGEST = 4.0, 9.0  # a mark's size, from the lowest resolution to the highest


def draw(costs: Costs, look: Mapping[str, Look]) -> Drawing | None:
    """Larger marks are higher resolutions; None where nothing can be compared."""
    records: list[Record] = [
        {"variant": variant, "px": px, "gmac_over_sa": ratio}
        for variant in costs.variants
        for px in costs.pixels
        if variant != "sa" and (ratio := costs.ratio(variant, px)) is not None
    ]
    if not records:
        return None
    step = (LARGEST - SMALLEST) / max(1, len(costs.pixels) - 1)
    rows: dict[float, tuple[str, str]] = {}
    lines = []
    for variant in dict.fromkeys(one["variant"] for one in records):
        y, own = -len(rows), look[variant]
        rows[y] = (variant, own.color)
        points = {one["px"]: Point(100 * (one["gmac_over_sa"] - 1), y) for one in records if one["variant"] == variant}
        lines.append(Line(variant, own, list(points.values()), marked=[]))
        for px, point in points.items():
            lines.append(Line(variant, own, [point], size=SMALLEST + step * costs.pixels.index(px)))
    panel = Panel(lines, "GMACs beyond those of sa, %", "", rows=rows, level=Level(0.0), title=f"{TITLE}: {costs.size}")
    return rows_drawing(f"costs-{costs.size}", TITLE, caption(costs), records, panel)


def caption(costs: Costs) -> str:
    sizes = ", ".join(map(str, costs.pixels))
    return f"GMACs beyond those of plain attention; the larger the mark, the higher the resolution ({sizes} px)."
