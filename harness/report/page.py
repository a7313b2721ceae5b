"""The page: sections of settings, then what failed and where everything comes from, put into the template."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import jinja2

from harness.report import appendix
from harness.report.fractions import groups, leaders
from harness.report.palette import css_variables, looks
from harness.report.section import Overview, Section, overview, section
from harness.report.study import BETWEEN, Study
from harness.report.summary import summaries
from harness.report.words import DASH, listing, significant

HERE = Path(__file__).parent


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
    found = {setting.key: summaries(setting) for setting in study.settings}
    first, together = leaders(study.settings), groups(study.settings, found)
    places = {setting.key: number for number, setting in enumerate(study.settings, start=1)}
    overviews = [overview(group, look, number) for number, group in enumerate(together, start=1)]
    sections = [
        section(setting, found[setting.key], look, places[setting.key], places[first[setting.key].key])
        for setting in study.settings
    ]
    return environment.get_template("page.html").render(
        study=study,
        title=listing(study.names),
        contents=contents(overviews, sections),
        overviews=overviews,
        sections=sections,
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


@dataclass(frozen=True)
class Entry:
    """A line of the contents: the id of a section, and its name without what all sections have in common."""

    id: str
    words: str


def contents(overviews: list[Overview], sections: list[Section]) -> list[Entry]:
    """The overviews, then the settings."""
    names = [section.name.split(BETWEEN) for section in sections]
    common = set.intersection(*map(set, names)) if len(names) > 1 else set()

    def own(name: str) -> str:
        return BETWEEN.join(part for part in name.split(BETWEEN) if part not in common)

    whole = "Top-1 by share of the training images"
    found = [Entry(one.id, ": ".join(filter(None, [whole, own(one.name)]))) for one in overviews]
    return found + [Entry(section.id, own(section.name)) for section in sections]


def data_link(csv: str) -> str:
    """A CSV as an address that needs no network."""
    return "data:text/csv;charset=utf-8," + quote(csv, safe="")


def number(value: float | None) -> str:
    """Three significant digits, or a dash."""
    return DASH if value is None else significant(value)
