"""A setting in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.report.text.formatting import share

if TYPE_CHECKING:
    from harness.report.study.study import Key

WORDS = {"study": "study {}", "train_px": "{} px", "train_fraction": "{} training images"}
BETWEEN = " · "


def title(key: Key, several: Mapping[str, bool], limit: int | None = None) -> str:
    """A setting in words; study and training fraction are named where there are `several`.

    limit: of how many training images the fraction is, None for all that the dataset has.
    """
    parts, whole = [], f"{limit:,}" if limit else "the"
    for column, part in key._asdict().items():
        if not part or (column == "study" and not several[column]):
            continue
        if column != "train_fraction":
            parts.append(WORDS.get(column, "{}").format(part))
        elif part != "1":
            parts.append(WORDS[column].format(f"{share(part)} of {whole}"))
        elif several[column]:
            parts.append(WORDS[column].format(f"all {limit:,}" if limit else "all"))
    return BETWEEN.join(parts) or "all rows"
