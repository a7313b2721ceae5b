"""What becomes of a variant at a resolution it was not trained at, as the rows say it, once a variant."""

from __future__ import annotations

from harness.report.study.rows import side
from harness.report.study.study import Setting
from harness.report.text.formatting import listing
from harness.report.text.sentences import at_another_resolution


def rules(setting: Setting) -> list[tuple[list[str], str]]:
    """(variants, what is done with their tables and embeddings), variants with the same words together.

    A rule that does not hold at all resolutions names those where it does.
    """
    rows = setting.rows[setting.rows["metric"].isin(["top1", "finetuned_top1"]) & setting.rows["value"].notna()]
    rows = rows[rows["params"].map(lambda params: "transfer" in params) & (rows["test_px"] != setting.train_px)]
    by_rule: dict[str, list[str]] = {}
    for variant in setting.variants:
        mine = rows[rows["variant"] == variant]
        where: dict[str, set[str]] = {}
        for params, px in zip(mine["params"], mine["test_px"], strict=True):
            where.setdefault(at_another_resolution(variant, params), set()).add(px)
        everywhere = len(where) < 2
        parts = [words if everywhere else f"{words} ({_px(sizes)})" for words, sizes in where.items() if words]
        if parts:
            by_rule.setdefault("; ".join(parts), []).append(variant)
    return [(variants, words) for words, variants in by_rule.items()]


def _px(sizes: set[str]) -> str:
    return f"{listing(sorted(sizes, key=lambda px: (side(px), px)))} px"
