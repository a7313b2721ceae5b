"""The label maps or the teacher of an experiment, as a plan and a page know them: their digest, and how they were made.

What a training takes is `Experiment.lesson`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.training.recipe import ANNOTATE, WEIGHTS

if TYPE_CHECKING:
    from harness.jobs.experiment import Experiment


def known(experiment: Experiment) -> str:
    """What stands for their content, "" where it is not made yet. Raises ValueError for a folder that is none."""
    from harness.supervision import sources

    assert experiment.words is not None
    sources.check(experiment.words, maps=experiment.study.teacher is None)
    return sources.digest(experiment.words, experiment.data, experiment.own)


def described(experiment: Experiment) -> dict[str, str]:
    """What they are, by whom and how they were made; {} for labels alone. Files go by their own names."""
    from harness.supervision import sources

    if experiment.words is None:
        return {}
    study, by = experiment.study, experiment.words.removeprefix(ANNOTATE)
    what = "token labels" if study.teacher is None else f"{study.recipe.distill} distillation"
    if by.endswith(WEIGHTS) or (study.teacher is None and by == experiment.words):
        by = Path(by).resolve().name
    made = sources.described(experiment.lesson, experiment.data)
    return {"lessons": f"{what} by {by} ({study.taught})", "lessons_made": made}
