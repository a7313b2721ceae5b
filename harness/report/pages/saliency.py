"""Where the variants look: the scores that say what a relevance is worth, means over seeds, and the panel of images."""

from __future__ import annotations

from dataclasses import dataclass

from harness.report import figures
from harness.report.figures.context import Context
from harness.report.figures.style.chart import Drawing
from harness.report.study.study import Setting
from harness.report.tables import means
from harness.report.tables.main import Table
from harness.report.text.formatting import plural


@dataclass(frozen=True)
class Saliency:
    """The table of scores, how it was measured, and the panel."""

    table: Table
    how: str
    drawings: list[Drawing]


def saliency(about: Context) -> Saliency | None:
    """None where no variant has a score."""
    whole = means.table(about.setting, "saliency")
    if whole is None:
        return None
    return Saliency(whole, how(about.setting), figures.draw("saliency", about))


def how(setting: Setting) -> str:
    """The caption of the table."""
    counts = set(setting.named("deletion")["n"].dropna())
    images = f" over {plural(int(counts.pop()), 'test image')}, the same for all" if len(counts) == 1 else ""
    covered = "" if setting.named("coverage").empty else (
        " Coverage is the share of relevance on the object; by chance it is what the object takes of the image."
    )  # fmt: skip
    return (
        "Relevance of a patch: gradient-weighted attention rollout (Chefer et al., arXiv 2103.15679). Patches are "
        f"replaced by the mean one after another; the area under the probability of the chosen class, a mean{images}. "
        "A map is worth something where deletion lies below the random order and insertion above it. Areas depend on "
        f"how sure a model is: compare a variant with its own random order first.{covered} In brackets: 95 % t "
        "intervals over seeds."
    )
