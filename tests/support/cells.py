"""What tests of cells share: a small study on the digits, and its cells run one after another in this process."""

from dataclasses import replace

from harness.jobs.cell import execute
from harness.jobs.experiment import Experiment
from harness.jobs.plan import cells_of, device_of
from harness.presets import digits
from tests.support.bodies import SMALL
from tests.support.trainings import digits as images

RECIPE = replace(digits().recipe, epochs=3, warmup_epochs=1, batch_size=128)


def experiment(data=None, **changes):
    """A study of a few seconds on 300 of the digits, or on other images."""
    few = {**SMALL, "recipe": RECIPE, "resolutions": (8,), "train_images": 300, "seeds": (0,)}
    return Experiment(replace(digits(), **(few | changes)), data or images(), device_of("cpu"))


def planned(one, variants):
    """The cells, and those of them that are to be run, given a folder."""
    every = list(cells_of(one, variants))
    return every, lambda folder: [cell for cell in every if cell.missing(folder, every)]


def work(one, variants, folder):
    """Runs what is missing; returns the names of the cells that ran."""
    missing = planned(one, variants)[1](folder)
    assert [execute(cell, folder, lambda count=1: None) for cell in missing] == [None] * len(missing)
    return [cell.name for cell in missing]
