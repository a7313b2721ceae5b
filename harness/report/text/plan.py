"""What was planned before the numbers were seen, in sentences: the primary family, and the seeds."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.study.primary import ALPHA, contrasts, looks
from harness.report.study.study import Setting
from harness.report.text.formatting import confidence, listing, plural

EXPLORATORY = "exploratory: their intervals hold together, and nothing is decided on them"
UNPLANNED = (
    "The recipes do not record how many seeds were planned. If seeds were added after a look at the results, the error "
    "rate is above 5\N{NO-BREAK SPACE}%."
)


def family(setting: Setting) -> str:
    """Which comparisons of a setting are decided, and over how many."""
    rule, base = setting.rule, setting.baseline
    decided = contrasts({v: setting.top1.get(v, {}) for v in [base, *setting.primary]}, base, setting.same)
    others = [v for v in setting.challengers if v not in setting.primary and setting.top1[v]]
    if not decided:
        return f"All differences here are {EXPLORATORY}." if others else ""
    are = f"{plural(decided, 'comparison')} here {'is' if decided == 1 else 'are'}"
    words = f"{are} in the page's primary family of {rule.compared}."
    return f"{words} The differences of {listing(others)} are {EXPLORATORY}." if others else words


def seeds(settings: Sequence[Setting]) -> str:
    """Whether the number of seeds was fixed in advance; "" where nothing is compared."""
    primary = [setting for setting in settings if setting.primary]
    if not primary:
        return ""
    if not all(looks(setting) for setting in primary):
        return UNPLANNED
    most = max(primary, key=lambda setting: len(looks(setting)))
    counts = [str(look.get("seeds")) for look in looks(most)]
    dates = sorted({str(look.get("when", ""))[:10] for setting in primary for look in looks(setting)[:1]})
    if len(counts) == 1:
        each = {one.key.recipe or one.name: str(looks(one)[0].get("seeds")) for one in primary}
        if len(set(each.values())) > 1:
            several = listing([f"{count} ({which})" for which, count in each.items()])
            return f"The numbers of seeds were fixed in advance: {several}, recorded on {listing(dates)}."
        return f"The number of seeds was fixed in advance: {counts[0]}, recorded on {listing(dates)}."
    level = confidence(1 - ALPHA / len(counts))
    which = f" of {most.key.recipe or most.name}" if len({len(looks(setting)) for setting in primary}) > 1 else ""
    return (
        f"The rows{which} were looked at {len(counts)} times, with {listing(counts)} seeds: the looks share the "
        f"5\N{NO-BREAK SPACE}%, so the primary family is judged at {level}."
    )
