"""Low data: settings that differ in the share of the training images alone, told together.

The numbers are the settings' own: means over seeds, and differences to the baseline paired seed by seed, simultaneous
over the variants of a share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.analysis.summary import Found, Summary
from harness.report.study.study import Key, Setting, alike
from harness.report.text.formatting import listing, plural, points, share
from harness.report.text.verdict import BETTER, EQUAL, OPEN, SUGGESTS, WORSE, outcome


@dataclass(frozen=True)
class Member:
    """What was found with one share of the training images, `fraction` of 1."""

    fraction: float
    setting: Setting
    found: Sequence[Summary]

    @property
    def share(self) -> str:
        return share(self.setting.train_fraction)


@dataclass(frozen=True)
class Group:
    """Settings that are one but for the share of the images, by growing share; `name` says what they have in common."""

    name: str
    baseline: str
    variants: list[str]
    members: list[Member]


def groups(settings: Sequence[Setting], found: Found) -> list[Group]:
    """The groups of two shares and more in which something has a top-1; `found` by the key of its setting."""
    shown = {
        setting.key: Member(fraction, setting, found[setting.key])
        for setting in settings
        if (fraction := _number(setting.train_fraction)) is not None
        and any(s.top1.value is not None for s in found[setting.key])
    }
    together = []
    for name, these in alike([member.setting for member in shown.values()], "train_fraction"):
        members = [shown[setting.key] for setting in these]
        if len({member.fraction for member in members}) > 1:
            ordered = sorted(members, key=lambda member: member.fraction)
            names = list(dict.fromkeys(v for member in reversed(ordered) for v in member.setting.variants))
            together.append(Group(name, ordered[0].setting.baseline, names, ordered))
    return together


def leaders(settings: Sequence[Setting]) -> dict[Key, Setting]:
    """By its key, the first setting that has the same speeds: that of the largest share of the images."""
    first: dict[Key, Setting] = {}
    return {one.key: first.setdefault(one.key._replace(train_fraction=""), one) for one in settings}


def sentences(group: Group) -> list[tuple[str, str]]:
    """For each share, the smallest first: who is told from the baseline, or only seems to be, by how many points."""
    return [(member.share, _sentence(member, group.baseline)) for member in group.members]


def _sentence(member: Member, baseline: str) -> str:
    if not any(s.difference for s in member.found):
        return f"nothing is compared with {baseline}."
    parts: list[str] = []
    than = {False: "than", True: "to"}
    for word in (BETTER, WORSE, EQUAL, *(SUGGESTS + word for word in (BETTER, WORSE, EQUAL))):
        sizes = {s.variant: s.difference.estimate.center for s in member.found if s.difference and outcome(s) == word}
        names = [f"{name} ({points(sizes[name])})" for name in sorted(sizes, key=lambda name: -abs(sizes[name]))]
        if names:
            parts.append(f"{word}{'' if parts else f' {than[word.endswith(EQUAL)]} {baseline}'}: {listing(names)}")
    left = sum(outcome(s) == OPEN for s in member.found)
    if parts and left:
        parts.append(f"{OPEN}: {plural(left, 'variant')}")
    return f"{'; '.join(parts) or f'no variant is told from {baseline}'}."


def _number(text: str) -> float | None:
    """A share above 0, which a logarithmic axis needs."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value <= 1 and math.isfinite(value) else None
