"""Which relation each bias learns: variants by generated tasks, with and without a position embedding."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.report.analysis.learning import learnings, reach
from harness.report.analysis.summary import Found
from harness.report.figures.style import labels, svg
from harness.report.figures.style.chart import Drawing, Record
from harness.report.figures.style.heatmaps import paper, put
from harness.report.figures.style.palette import FAINT, THEME, rgb
from harness.report.study.study import Setting, Study
from harness.report.text.formatting import grouped, listing, plural, tick

TITLE = "Which relation each bias learns"
TARGET = 90.0  # % of the validation split
LEFT, TOP, WIDE, HIGH, GAP, EDGE = 0.95, 0.62, 0.6, 0.36, 0.18, 0.06  # inches
HUE, STRONGEST = rgb(THEME["c2"][0]), 150  # opacity at 100 %: words on it are readable in both themes
NONE, UNKNOWN = "no position embedding", "position embedding not known"
MOST_NAMED = 4  # in the sentence


@dataclass(frozen=True)
class Entry:
    """A variant on a task: mean top-1, chance and what symmetry allows, in %; updates to TARGET where seeds get there.

    allowed: None where it is not known. reached: how many of the seeds get there, None where that is not known. seeds:
    those that were tried. stale: of older source.
    """

    task: str
    position: str
    variant: str
    top1: float
    chance: float
    allowed: float | None
    updates: float | None
    reached: int | None
    seeds: int
    stale: bool = False

    @property
    def learned(self) -> float:
        """0 at chance or below, 1 at 100 %."""
        return max(0.0, (self.top1 - self.chance) / (100 - self.chance))

    @property
    def certain(self) -> bool:
        """Whether every seed learned it."""
        return self.reached == self.seeds and self.top1 >= TARGET

    @property
    def upper(self) -> str:
        return f"{self.top1:.0f}{'*' if self.stale else ''}"

    @property
    def lower(self) -> str:
        """Updates to TARGET, the bound that forbids it, or a dash where it is neither forbidden nor reached."""
        some = "" if self.reached == self.seeds else f" ({self.reached}/{self.seeds})"
        bound = f"≤ {math.ceil(round(self.allowed, 6))}" if self.allowed is not None and self.allowed < TARGET else ""
        taken = f"{grouped(self.updates, 0)}{some}" if self.updates is not None else "—" if self.reached == 0 else ""
        return f"{taken}, {bound}" if bound and self.updates is not None else bound or taken


def entries(study: Study, found: Found) -> list[Entry]:
    """The variants of all settings of probes."""
    return [one for setting in study.settings for one in entries_of(setting, found)]


def draw(every: Sequence[Entry]) -> Drawing | None:
    """A column for each task, those of one position embedding together.

    None where fewer than two tasks are there, and where two settings are of the same task and position embedding.
    """
    cells = {(one.variant, one.position, one.task): one for one in every}
    if len({one.task for one in every}) < 2 or len(cells) < len(every):
        return None
    columns = list(dict.fromkeys((one.position, one.task) for one in every))
    columns.sort(key=lambda column: (column[0] != NONE, column[0]))
    scores: dict[str, list[float]] = {}
    for one in every:
        scores.setdefault(one.variant, []).append(one.learned)
    variants = sorted(scores, key=lambda variant: -float(np.mean(scores[variant])))
    return Drawing(
        "relations", picture(variants, columns, cells), TITLE, caption(every), table(variants, columns, cells)
    )


def sentence(every: Sequence[Entry]) -> str:
    """Who learns all relations and who none, by position embedding; "" where nothing is known of probes."""
    by_position: dict[str, dict[str, list[Entry]]] = {}
    for one in every:
        by_position.setdefault(one.position, {}).setdefault(one.variant, []).append(one)
    positions = sorted(by_position, key=lambda position: (position != NONE, position))
    return " ".join(filter(None, (outcome(position, by_position[position]) for position in positions)))


def outcome(position: str, by_variant: Mapping[str, Sequence[Entry]]) -> str:
    """Of one position embedding; a variant counts where it was tried on all tasks and its epochs are known."""
    tasks = list(dict.fromkeys(one.task for own in by_variant.values() for one in own))
    whole = {
        name: own
        for name, own in by_variant.items()
        if len(own) == len(tasks) and all(one.reached is not None for one in own)
    }
    if not whole:
        return ""
    every = [name for name, own in whole.items() if all(one.certain for one in own)]
    nothing = [name for name, own in whole.items() if all(one.reached == 0 for one in own)]
    lead = {NONE: "Without a position embedding", UNKNOWN: "With a position embedding that is not known"}
    it, none_of_it = (tasks[0], "it with no seed") if len(tasks) == 1 else (f"all {len(tasks)} relations", "none")
    words = f"{lead.get(position, f'With a {position}')}, {who(every, len(whole))} {it} with every seed"
    return f"{words}; {who(nothing, len(whole))} {none_of_it}." if nothing else f"{words}."


def who(names: Sequence[str], of: int) -> str:
    """ "sa and uniform learn", or how many where they are more than four."""
    if len(names) > MOST_NAMED:
        return f"{len(names)} of {of} variants learn"
    return f"{listing(list(names)) or 'no variant'} {'learn' if len(names) > 1 else 'learns'}"


def entries_of(setting: Setting, found: Found) -> list[Entry]:
    """The variants of a setting of a probe."""
    about = setting.probe
    if about is None:
        return []
    rows = setting.named("symmetry_top1")
    rows = rows[rows["value"].notna()]
    batch = (setting.recipe or {}).get("batch_size")
    curves = {one.variant: one for one in learnings(setting)}
    made = []
    for summary in found[setting.key]:
        if summary.top1.value is None:
            continue
        own = rows[rows["variant"] == summary.variant]["value"]
        first = reach(curves[summary.variant], TARGET) if summary.variant in curves and batch else None
        updates = None
        if first is not None and first.epochs.value is not None:
            updates = first.epochs.value * (int(about["epoch_images"]) // int(batch))  # type: ignore[arg-type]
        task, allowed = setting.key.dataset.rpartition(":")[2], float(own.iloc[-1]) if len(own) else None
        reached, seeds = None if first is None else first.reached, len(summary.seeds) + len(summary.failed_seeds)
        made.append(
            Entry(task, position(setting), summary.variant, summary.top1.value, float(about["chance"]), allowed,
                  updates, reached, seeds, summary.stale)
        )  # fmt: skip
    return made


def position(setting: Setting) -> str:
    """Which position embedding a setting has, in words."""
    if setting.recipe is None:
        return UNKNOWN
    kind = setting.recipe.get("pos_embed") or "learned"
    return NONE if kind == "none" else f"{kind} position embedding"


def picture(
    variants: Sequence[str], columns: Sequence[tuple[str, str]], cells: Mapping[tuple[str, str, str], Entry]
) -> str:
    """The SVG: a row a variant, its cells the more orange the more is learned."""
    groups = list(dict.fromkeys(name for name, _ in columns))
    lefts = [LEFT + number * WIDE + groups.index(name) * GAP for number, (name, _) in enumerate(columns)]
    width, height = lefts[-1] + WIDE + 0.4, TOP + len(variants) * HIGH + EDGE
    with svg.style():
        figure, ax = paper(width, height)
        for name in groups:
            own = [left for left, column in zip(lefts, columns, strict=True) if column[0] == name]
            middle = (own[0] + own[-1] + WIDE) / 2
            ax.text(middle, height - 0.14, name, ha="center", va="center", fontsize=9, color=FAINT)
        for left, (_, task) in zip(lefts, columns, strict=True):
            ax.text(left + WIDE / 2, height - TOP + 0.07, labels.short(task), ha="center", fontsize=7.6)
        for row, variant in enumerate(variants):
            top = height - TOP - row * HIGH
            ax.text(LEFT - 0.08, top - HIGH / 2, labels.short(variant), ha="right", va="center", fontsize=9)
            for left, column in zip(lefts, columns, strict=True):
                one = cells.get((variant, *column))
                if one is None:
                    continue
                shade = np.array([[[*HUE, round(STRONGEST * one.learned)]]], np.uint8)
                put(ax, shade, (left + 0.015, left + WIDE - 0.015, top - HIGH + 0.015, top - 0.015))
                middle, lower = left + WIDE / 2, bool(one.lower)
                ax.text(middle, top - HIGH * (0.34 if lower else 0.5), one.upper, ha="center", va="center", fontsize=9)
                if lower:
                    ax.text(middle, top - HIGH * 0.75, one.lower, ha="center", va="center", fontsize=6.6)
        return svg.inline(figure, "relations", TITLE)


def table(
    variants: Sequence[str], columns: Sequence[tuple[str, str]], cells: Mapping[tuple[str, str, str], Entry]
) -> list[Record]:
    return [
        {"variant": one.variant, "task": one.task, "position": one.position, "top1": one.top1, "chance": one.chance,
         "allowed": one.allowed, "updates_to_90": one.updates, "seeds_that_reach_90": one.reached, "seeds": one.seeds}
        for variant in variants
        for column in columns
        if (one := cells.get((variant, *column))) is not None
    ]  # fmt: skip


def caption(every: Sequence[Entry]) -> str:
    seeds = sorted({one.seeds for one in every})
    number = plural(seeds[0], "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    chances = dict.fromkeys(f"{one.task} {tick(round(one.chance))}" for one in every)
    old = " * is of older source." if any(one.stale for one in every) else ""
    return (
        f"Top-1 on the test split, mean over {number}, %: the more orange, the further from chance "
        f"({', '.join(chances)}). Under it the updates after which {tick(TARGET)} % of the validation split are right, "
        "by whole epochs, mean over the seeds that get there; in brackets how many where not all do. ≤ is the most "
        "that the symmetry of a variant allows, whatever its weights, but for the chance of a finite test split. "
        f"— is neither forbidden by symmetry nor learned in this time.{old}"
    )
