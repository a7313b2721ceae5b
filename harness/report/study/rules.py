"""What becomes of a variant at a resolution it was not trained at, as the rows' notes say it, once a variant."""

from __future__ import annotations

import re

from harness.report.study.rows import side
from harness.report.study.study import Setting
from harness.report.text.formatting import listing

OPENING = re.compile(r"\b(?:zero-shot|fine-tuned[^:;]*):\s*")


def rules(setting: Setting) -> list[tuple[list[str], str]]:
    """(variants, what is done with their tables and embeddings), variants with the same words together.

    A rule that does not hold at all resolutions names those where it does.
    """
    rows = setting.rows[setting.rows["metric"].isin(["top1", "finetuned_top1"]) & setting.rows["value"].notna()]
    rows = rows[(rows["note"] != "") & (rows["test_px"] != setting.train_px)]
    by_rule: dict[str, list[str]] = {}
    for variant in setting.variants:
        mine = rows[rows["variant"] == variant]
        where: dict[str, set[str]] = {}
        for note, px in zip(mine["note"], mine["test_px"], strict=True):
            where.setdefault(rule(note), set()).add(px)
        everywhere = len(where) < 2
        parts = [words if everywhere else f"{words} ({_px(sizes)})" for words, sizes in where.items() if words]
        if parts:
            by_rule.setdefault("; ".join(parts), []).append(variant)
    return [(variants, words) for words, variants in by_rule.items()]


def rule(note: str) -> str:
    """What a note says after "zero-shot: " or "fine-tuned 5 epochs at 12 px: "; "" where it says no such thing."""
    found = OPENING.search(note)
    return note[found.end() :] if found else ""


def beside(note: str) -> str:
    """What a note says before that, such as how a control is paired."""
    found = OPENING.search(note)
    return (note[: found.start()] if found else note).strip(" ;")


def _px(sizes: set[str]) -> str:
    return f"{listing(sorted(sizes, key=lambda px: (side(px), px)))} px"
