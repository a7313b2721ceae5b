"""What a study decides on, and with how many seeds: fixed at its first start, kept in its recipe from then on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from harness.jobs.study import Study


def plan_of(study: Study, variants: Sequence[str], before: Mapping[str, Any] | None) -> dict[str, Any]:
    """`primary`, `delta` and `looks` for the recipe's file; `before`: what it holds, None at the first start.

    Primary variants and delta stay as they were first. More seeds than in the last plan are another look at the
    results, and are appended with their date. A study that recorded none began without a plan, and gets none later.
    Raises ValueError where other primary variants are asked for than at the first start.
    """
    asked = primary(study, variants)
    if before is None:
        return {"primary": asked, "delta": study.delta, "looks": [look(study)]}
    kept = {name: before[name] for name in ("primary", "delta", "looks") if name in before}
    if study.primary is not None and kept.get("primary", asked) != asked:
        raise ValueError(
            f"this study decides on {', '.join(kept['primary'])} since its first start; leave out --primary, or name "
            "another folder with --output"
        )
    if kept.get("looks") and len(study.seeds) > kept["looks"][-1]["seeds"]:
        kept["looks"] = [*kept["looks"], look(study)]
    return {"delta": study.delta} | kept


def primary(study: Study, variants: Sequence[str]) -> list[str]:
    """The variants that are named, else all that take part but for controls and ablations; never the baseline."""
    from harness.report.study.primary import without_arms
    from variants.registry import expand, family_of

    if study.primary is not None:
        return [variant for variant, _ in expand(study.primary) if variant in variants and variant != study.baseline]
    others = [variant for variant in variants if variant != study.baseline]
    return without_arms(others, {variant: family_of(variant) for variant in others})


def look(study: Study) -> dict[str, Any]:
    """How many seeds are planned from today on."""
    return {"seeds": len(study.seeds), "when": datetime.now(UTC).date().isoformat()}
