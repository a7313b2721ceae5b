"""The committed study of probes: nobody is better than symmetry allows, and the guide's predictions are the rows'."""

import math
import re

import pytest

from harness.backbone import create
from harness.measure import symmetry
from harness.results import store
from tests.support import markdown
from tests.support.paths import ROOT

FOLDER = ROOT / "results" / "probes"
ERRORS = 4.0  # standard errors of a share of the test images
LEARNED = 90.0  # %
TITLE, TASKS = "What a term can tell apart", ("corner", "same_row", "distance", "mirror", "texture")


@pytest.fixture(scope="module")
def rows():
    """The rows, with the task and the position embedding of each."""
    found = store.load(FOLDER)
    positions = {key: recipe["pos_embed"] or "learned" for key, recipe in store.recipes(FOLDER).items()}
    return found.assign(position=found["recipe_hash"].map(positions), task=found["dataset"].str.removeprefix("probes:"))


def named(rows, metric):
    """By task, position embedding and variant: the values of its seeds, in %."""
    own = rows[rows["metric"] == metric]
    return {key: list(group) for key, group in own.groupby(["task", "position", "variant"])["value"]}


def too_good(rows, errors=ERRORS):
    """Who has more right answers than symmetry allows, by more than a finite test split explains."""
    allowed, found = named(rows, "symmetry_top1"), []
    (images,) = set(rows[rows["metric"] == "top1"]["n"])
    for key, values in named(rows, "top1").items():
        (bound,) = set(allowed[key])
        error = 100 * math.sqrt(bound / 100 * (1 - bound / 100) / images)
        found += [(*key, value, bound) for value in values if value > bound + errors * error + 1e-6]
    return found


def test_nobody_is_better_than_symmetry_allows(rows):
    assert too_good(rows) == []


def test_the_guide_says_how_far_above_and_how_often_mirror_is_learned(rows):
    text = " ".join(markdown.section(markdown.read("variants/README.md"), TITLE).split())
    errors = float(re.search(r"Nobody is above its bound by more than ([\d.]+) standard errors", text)[1])
    assert too_good(rows, errors) == []
    top1, allowed = named(rows, "top1"), named(rows, "symmetry_top1")
    assert {len(values) for values in top1.values()} == {3}
    assert len({key[2] for key in top1}) == 13
    ends = {task: [value for key, values in top1.items() if key[:2] == (task, "none") and allowed[key][0] == 100
                   for value in values] for task in TASKS}  # fmt: skip
    assert "of the nine variants that may learn it, ten of 27 trainings end above 90 %" in text
    assert (sum(value > LEARNED for value in ends["mirror"]), len(ends["mirror"])) == (10, 27)
    shares = {task: sum(value > LEARNED for value in values) / len(values) for task, values in ends.items()}
    assert min(shares, key=shares.get) == "mirror"


def test_a_figure_above_the_bound_is_seen(rows):
    """Planted: plain attention without a position embedding, six points above chance on a task of two classes."""
    better = rows.copy()
    one = (rows["metric"] == "top1") & (rows["task"] == "same_row") & (rows["position"] == "none")
    better.loc[one & (rows["variant"] == "sa"), "value"] = 56.0
    assert {found[:3] for found in too_good(better)} == {("same_row", "none", "sa")}


def test_the_readme_says_who_learns_all_and_who_none(rows):
    top1 = {key[::2]: values for key, values in named(rows, "top1").items() if key[1] == "none"}
    by_task = {variant: [top1[task, variant] for task in TASKS] for _, variant in top1}
    text = " ".join(markdown.read("README.md").split())
    said = re.search(r"without a position embedding, ([^;.]*) learns all with every seed; ([^;.]*) learn none\.", text)
    every, nothing = (set(markdown.CODE.findall(part)) for part in said.groups())
    assert every == {variant for variant, tasks in by_task.items() if min(map(min, tasks)) > LEARNED}
    assert nothing == {variant for variant, tasks in by_task.items() if max(map(max, tasks)) < LEARNED}


def learned(rows):
    """With a learned position embedding: by variant, what some seed learned, and what every seed did."""
    some, every = {}, {}
    for (task, position, variant), values in named(rows, "top1").items():
        if position == "learned":
            some.setdefault(variant, set()).update({task} if max(values) > LEARNED else ())
            every.setdefault(variant, set()).update({task} if min(values) > LEARNED else ())
    return some, every


def test_the_guide_and_the_readme_say_what_a_learned_position_embedding_gives(rows):
    some, every = learned(rows)
    text = " ".join(markdown.section(markdown.read("variants/README.md"), TITLE).split())
    assert "all thirteen learn `corner`" in text
    assert len(every) == 13
    assert all("corner" in tasks for tasks in every.values())
    whole = {variant for variant, tasks in every.items() if tasks == set(TASKS)}
    said = re.search(r"where the place alone decides\. (.*?) learn all five relations with every seed\.", text)
    assert set(markdown.CODE.findall(said[1])) == whole
    assert "`uniform` learns none but `corner`." in text
    assert some["uniform"] == {"corner"}
    assert "`sa` learns neither `distance` nor `texture` with any seed; on `distance` `rel_bias`" in text
    assert set(TASKS) - some["sa"] == {"distance", "texture"}
    chance = {variant for variant in every if "distance" not in some[variant]}
    assert chance == {"sa", "uniform", "rel_bias", "rpe_1d", "rpe_2d"}
    assert all(max(named(rows, "top1")["distance", "learned", variant]) < 36 for variant in chance)
    text = " ".join(markdown.read("README.md").split())
    said = re.search(r"With a learned one ([^;.]*) learn all; `sa` learns two of them with no seed\.", text)
    assert set(markdown.CODE.findall(said[1])) == whole


def test_each_task_is_learned_by_all_seeds_of_some_variant(rows):
    top1 = named(rows, "top1")
    for task, position in {key[:2] for key in top1}:
        learned = [key[2] for key, values in top1.items() if key[:2] == (task, position) and min(values) > LEARNED]
        assert learned, (task, position)


def test_the_guides_bounds_are_those_of_the_rows(rows):
    """Who is not in its table may have 100 %."""
    said = {}
    for variants, *cells in markdown.table(markdown.section(markdown.read("variants/README.md"), TITLE)):
        for variant in markdown.CODE.findall(variants):
            said |= {(task, variant): float(cell) for task, cell in zip(TASKS, cells, strict=True)}
    found = {(task, variant): values for (task, position, variant), values in named(rows, "symmetry_top1").items()
             if position == "none"}  # fmt: skip
    for variant in {variant for _, variant in said} - {variant for _, variant in found}:
        model = create(variant, size="nano", img_size=24, patch_size=4, in_chans=1, num_classes=2, pos_embed="none",
                       seed=0)  # fmt: skip
        kept = symmetry.unnoticed(model, (24, 24))
        found |= {(task, variant): [100 * symmetry.highest(task, kept)] for task in TASKS}
    assert {task for task, _ in found} == set(TASKS)
    for key, values in found.items():
        assert values == pytest.approx([said.get(key, 100.0)] * len(values), abs=0.05), key
