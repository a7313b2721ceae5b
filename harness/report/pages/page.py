"""The page: sections of settings, then what failed and where everything comes from, put into the template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.report.analysis import ablation
from harness.report.analysis.claims import Claims, claims
from harness.report.analysis.leading import chosen, factors, left_out, listed
from harness.report.analysis.low_data import groups, leaders
from harness.report.analysis.power_card import Card, cards
from harness.report.analysis.summary import Found, summaries
from harness.report.figures import forest_plot, relations
from harness.report.figures.style.chart import Drawing
from harness.report.figures.style.palette import Look, looks
from harness.report.pages import appendix
from harness.report.pages.section import Across, Overview, Section, across, overview, section
from harness.report.pages.template import fill
from harness.report.study import published
from harness.report.study.study import Study
from harness.report.study.titles import BETWEEN
from harness.report.text import plan
from harness.report.text.formatting import listing


def page(study: Study) -> str:
    """The HTML of a study."""
    variants = list(dict.fromkeys(variant for setting in study.settings for variant in setting.variants))
    look = looks(variants, study.baseline)
    times = [when for when in study.rows["when"] if when]
    found = {setting.key: summaries(setting) for setting in study.settings}
    first, together = leaders(study.settings), groups(study.settings, found)
    places = {setting.key: number for number, setting in enumerate(study.settings, start=1)}
    overviews = [overview(group, look, number) for number, group in enumerate(together, start=1)]
    ablations = [
        across(one, found, look, number)
        for number, one in enumerate(ablation.of_recipes(study.settings, found), start=1)
    ]
    findings = claims(study.settings, found)
    known = published.read()
    sections = [
        section(setting, found[setting.key], look, places[setting.key], places[first[setting.key].key], known)
        for setting in study.settings
    ]
    every, probes = cards(study.settings, found), relations.entries(study, found)
    sentence, leads = opening([(one.name, one.headline) for one in sections], every)
    if learned := relations.sentence(probes):
        sentence, leads = f"{learned} {sentence}".strip(), True
    return fill(
        "page.html",
        study=study,
        title=listing(study.names),
        atlas=relations.draw(probes),
        picture=picture(study, found, look),
        sentence=sentence,
        leads=leads,
        contents=contents(findings, ablations, overviews, sections),
        cards=every,
        planned=plan.seeds(study.settings),
        findings=findings,
        ablations=ablations,
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
    )


def opening(headlines: Sequence[tuple[str, str]], every: Sequence[Card]) -> tuple[str, bool]:
    """The headline that a page is known by, and whether it opens with it; headlines: (setting, its headline).

    Where power cards fail, it is of the first setting whose card does not, and names that. Where all fail, the page
    opens with that.
    """
    said = [(name, words) for name, words in headlines if words]
    if not any(one.failed for one in every):
        return (said[0][1], True) if said else ("", False)
    ranking = [one.name for one in every if not one.failed]
    for name, words in said:
        if name in ranking:
            return f"{name}. {words}", True
    return (said[0][1] if said else ""), False


def picture(study: Study, found: Found, look: dict[str, Look]) -> Drawing | None:
    """The differences of the settings that lead, as in a README; None where nothing is compared."""
    shown = chosen(study, found)
    drawn = forest_plot.draw_factors(factors(shown), look, study.baseline, "differences", "Differences at a glance")
    if drawn is None:
        return None
    more = left_out(shown, listed(shown), "below")
    return replace(drawn, caption=f"{drawn.caption} {more}".strip())


def contents(
    findings: list[Claims], ablations: list[Across], overviews: list[Overview], sections: list[Section]
) -> list[tuple[str, str]]:
    """The id and the name of each section: the paper's findings, ablations across recipes, overviews, settings.

    A name leaves out what all sections have in common.
    """
    names = [section.name.split(BETWEEN) for section in sections]
    common = set.intersection(*map(set, names)) if len(names) > 1 else set()

    def own(name: str) -> str:
        return BETWEEN.join(part for part in name.split(BETWEEN) if part not in common)

    whole = "Top-1 by share of the training images"
    found = [("findings", "The paper's findings, tested here")] if findings else []
    found += [(one.id, ": ".join(filter(None, ["What the recipe changes", own(one.name)]))) for one in ablations]
    found += [(one.id, ": ".join(filter(None, [whole, own(one.name)]))) for one in overviews]
    return found + [(section.id, own(section.name)) for section in sections]
