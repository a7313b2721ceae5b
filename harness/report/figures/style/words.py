"""What several captions say."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.analysis.summary import Summary
from harness.report.text.formatting import grouped
from harness.report.text.sentences import at_places
from harness.results.stats import FEWEST_SEEDS

NO_INTERVALS = f"; no intervals of accuracy, since none is formed below {FEWEST_SEEDS} seeds or without spread"


def intervals(words: str, drawn: bool) -> str:
    """The words that say what the lines of intervals are, or why there are none."""
    return words if drawn else NO_INTERVALS


def over_seeds(number: int, singles: str = "") -> str:
    """What marks are, and how `singles` are shown: "means over seeds, faint dots single seeds"; "of one seed"."""
    return f"means over seeds{singles}" if number > 1 else "of one seed"


def tested_images(found: Sequence[Summary]) -> str:
    """ " Accuracy on 360 test images.", or "" where the variants do not agree on a number."""
    images = {(s.images, s.places) for s in found if s.images}
    if len(images) != 1:
        return ""
    number, places = images.pop()
    each = at_places({"places": places})
    return f" Accuracy on {grouped(number, 0)} test {'image' if number == 1 else 'images'}{each}."
