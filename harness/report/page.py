"""The page: sections of settings, then what failed and where everything comes from, put into the template."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import jinja2

from harness.report import appendix, captions, overtaking, resolution, tradeoff, transfer, verdict
from harness.report.chart import Drawing
from harness.report.condition import Condition, chosen
from harness.report.elsewhere import Elsewhere, elsewhere
from harness.report.palette import Look, css_variables, looks
from harness.report.study import Setting, Study
from harness.report.summary import summaries
from harness.report.table import Table, level, table
from harness.report.words import DASH, listing, plural, significant

HERE = Path(__file__).parent
KINDS = {"": "inference", "train_": "training", "latency_": "the latency of a single image"}


@dataclass(frozen=True)
class Section:
    """All that is shown of one setting."""

    id: str
    name: str
    intro: str
    headline: str
    verdicts: list[verdict.Verdict]
    bars: str
    table: Table
    level: str
    compared: int
    drawings: list[Drawing]
    timings: list[Drawing]
    legend: list[str]
    look: dict[str, Look]
    conditions: list[tuple[str, Condition]]
    crossings: list[tuple[str, list[tuple[str, str]]]]
    elsewhere: list[Elsewhere]


def section(setting: Setting, look: dict[str, Look], number: int) -> Section:
    found = summaries(setting)
    inference, training, alone = (chosen(setting, prefix) for prefix in KINDS)
    by_px = {prefix: overtaking.curves(setting, prefix) for prefix in ("", "train_")}
    curves = transfer.curves(setting)
    prefix = f"s{number}-"
    drawn = [
        tradeoff.draw(found, look, tradeoff.THROUGHPUT, prefix, captions.throughput(found, inference)),
        tradeoff.draw(found, look, tradeoff.GMAC, prefix, captions.macs(found)),
        transfer.draw(curves, look, setting.train_px, prefix + "transfer", captions.transfer(setting, curves)),
    ]
    timed = [
        resolution.draw(
            lines, look, setting.baseline, kind, f"{prefix}{kind}time", captions.overtaking(lines, setting.baseline)
        )
        for kind, lines in by_px.items()
    ]
    drawings = [drawing for drawing in drawn if drawing is not None]
    timings = [drawing for drawing in timed if drawing is not None]
    challengers = [s for s in found if not s.is_baseline]
    return Section(
        id=f"setting-{number}",
        name=setting.name,
        intro=", ".join(
            part
            for part in (
                plural(len(challengers), "variant") + f" against {setting.baseline}",
                captions.seeds_words(found),
            )
            if part
        ),
        headline=verdict.headline(setting, found),
        verdicts=verdict.verdicts(found, setting.baseline),
        bars=verdict.axis_words(found, setting.baseline),
        table=table(found, setting.baseline, inference, training, alone),
        level=level(found),
        compared=sum(s.difference is not None and s.difference.estimate.low is not None for s in challengers),
        drawings=drawings,
        timings=timings,
        legend=[name for name in setting.variants if any(name in d.unlabelled for d in drawings + timings)],
        look=look,
        conditions=[
            (what, c) for what, c in zip(KINDS.values(), (inference, training, alone), strict=True) if c is not None
        ],
        crossings=crossings(setting, by_px),
        elsewhere=elsewhere(setting, "") + elsewhere(setting, "train_"),
    )


def crossings(setting: Setting, by_px: dict[str, list[overtaking.Curve]]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Each variant with its sentences of overtaking: (inference or training, sentence)."""
    found: dict[str, list[tuple[str, str]]] = {}
    for prefix, lines in by_px.items():
        for curve in lines:
            if curve.variant != setting.baseline:
                words = overtaking.sentence(curve, setting.baseline)
                found.setdefault(curve.variant, []).append((KINDS[prefix], words))
    return [(variant, found[variant]) for variant in setting.variants if variant in found]


def page(study: Study) -> str:
    """The HTML of a study."""
    variants = list(dict.fromkeys(variant for setting in study.settings for variant in setting.variants))
    look = looks(variants, study.baseline)
    light, dark = css_variables()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters["data_link"] = data_link
    environment.filters["number"] = number
    # The page runs this one script only: the policy in its head names the script's hash.
    script = environment.get_template("page.js").render()
    times = [when for when in study.rows["when"] if when]
    return environment.get_template("page.html").render(
        study=study,
        title=listing(study.names),
        sections=[section(setting, look, number) for number, setting in enumerate(study.settings, start=1)],
        failures=appendix.failures(study),
        stale=appendix.stale(study),
        superseded=int(study.rows["superseded"].sum()),
        damaged=study.damaged[: appendix.MOST_LISTED],
        more_damaged=max(0, len(study.damaged) - appendix.MOST_LISTED),
        recipes=appendix.recipes(study),
        machines=appendix.records(study.rows, "machine"),
        versions=appendix.records(study.rows, "versions"),
        code=appendix.code(study),
        parity=appendix.parity(study),
        proved=appendix.proved(study),
        first=times[0] if times else "",
        newest=times[-1] if times else "",
        light=light,
        dark=dark,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def data_link(csv: str) -> str:
    """A CSV as an address that needs no network."""
    return "data:text/csv;charset=utf-8," + quote(csv, safe="")


def number(value: float | None) -> str:
    """Three significant digits, or a dash."""
    return DASH if value is None else significant(value)
