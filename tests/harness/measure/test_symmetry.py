"""What symmetry allows: permutations that models do not notice, and the bound that follows, against loops."""

from dataclasses import replace
from itertools import product

import pytest
import torch

from harness import data
from harness.backbone import create
from harness.data.sets.probes import CELLS, PROBES, odds
from harness.jobs import plan
from harness.jobs.experiment import Experiment
from harness.measure import symmetry
from harness.presets import digits, preset

SIZE = (24, 24)
GRID = torch.arange(CELLS**2).view(CELLS, CELLS)
CHANCE = {task: 1 / len(labels) for task, labels in PROBES.items()}


def bounds(variant, **given):
    """By task, in %; `kept` once, since the classes do not change what a model notices."""
    model = create(variant, size="nano", img_size=24, patch_size=4, in_chans=1, num_classes=4,
                   **{"pos_embed": "none", "seed": 0} | given)  # fmt: skip
    kept = symmetry.unnoticed(model, SIZE)
    return {task: symmetry.highest(task, kept) for task in PROBES}


@pytest.mark.parametrize("variant", ["sa", "uniform", "cosine"])
def test_who_sees_a_set_of_cells_stays_at_chance(variant):
    assert bounds(variant) == pytest.approx(CHANCE)


@pytest.mark.parametrize("variant", ["psa", "rel_bias", "rope_mixed", "lookhere"])
def test_who_tells_offsets_apart_is_not_bounded(variant):
    """The border makes places of offsets."""
    assert bounds(variant) == dict.fromkeys(PROBES, 1.0)


def test_a_position_embedding_makes_every_cell_its_own():
    assert bounds("sa", pos_embed="learned") == dict.fromkeys(PROBES, 1.0)


def test_who_sees_distances_alone_knows_no_direction():
    """Mirroring and turning the grid swap quadrants, rows with columns, left with right; mirror images stay so."""
    assert bounds("alibi_2d") == pytest.approx({"corner": 1 / 4, "same_row": 1 / 2, "distance": 1, "mirror": 1,
                                                "texture": 1 / 2})  # fmt: skip


def test_windows_that_are_shifted_in_one_layer():
    """Windows of 3, rolled by 1 in the second layer: a cell is known by its two windows alone."""
    found = bounds("swin")
    assert found["corner"] == pytest.approx(3 / 4)
    assert found["same_row"] == pytest.approx(1 / 2)
    assert found["mirror"] == pytest.approx(5 / 6)


@pytest.mark.parametrize(("image", "patch"), [(32, 4), (20, 5)])
def test_pictures_are_resized_as_in_training(image, patch):
    """Cells that do not fall on patches show where they are: nothing is left that a model does not notice."""
    model = create("sa", size="nano", img_size=image, patch_size=patch, in_chans=1, num_classes=2, pos_embed="none",
                   seed=0)  # fmt: skip
    kept = symmetry.unnoticed(model, (image, image))
    assert symmetry.highest("same_row", kept) == 1
    assert len(kept) < 40


@pytest.mark.parametrize("sigma", [0.02, 0.05, 2.0])
def test_a_start_far_out_hides_nothing(sigma, monkeypatch):
    wanted = bounds("gaussian")
    assert bounds(f"gaussian[sigma={sigma}]") == wanted
    monkeypatch.setattr(symmetry, "DRAWS", ((1.0, 0.3),))  # planted: around the start alone
    assert (bounds(f"gaussian[sigma={sigma}]") == wanted) == (sigma == 2.0)


def orbits(kept):
    """The orbits of ordered pairs of cells under generators [k, 36], by walking."""
    left, found = set(product(range(CELLS**2), repeat=2)), []
    moves = [one.tolist() for one in kept]
    while left:
        orbit, queue = set(), [left.pop()]
        while queue:
            pair = queue.pop()
            if pair not in orbit:
                orbit.add(pair)
                queue += [(one[pair[0]], one[pair[1]]) for one in moves]
        left -= orbit
        found.append(orbit)
    return found


@pytest.mark.parametrize("task", ["corner", "same_row", "distance", "mirror"])
@pytest.mark.parametrize("few", [[], [0], [0, 1], [2], [0, 1, 2], [3, 4], [40, 700]])
def test_the_bound_is_that_of_a_walk_over_the_orbits(task, few):
    kept = symmetry.permutations()[torch.tensor(few, dtype=torch.int64) % len(symmetry.permutations())]
    tables = [odds(task, label) for label in range(len(PROBES[task]))]
    wanted = sum(max(sum(float(table[pair]) for pair in orbit) for table in tables) for orbit in orbits(kept))
    assert symmetry.highest(task, kept) == pytest.approx(wanted / len(tables))


def test_every_candidate_is_a_permutation_and_no_two_are_the_same():
    tried = symmetry.permutations()
    assert torch.equal(tried.sort(dim=1).values, GRID.flatten().expand(len(tried), -1))
    assert len(tried.unique(dim=0)) == len(tried)


def test_what_a_model_notices_is_not_kept():
    """Planted: a weight that counts in one place alone is noticed by every permutation that moves that place."""
    model = create("sa", size="nano", img_size=24, patch_size=4, in_chans=1, num_classes=2, pos_embed="none", seed=0)
    whole = len(symmetry.unnoticed(model, SIZE))
    model = create("sa", size="nano", img_size=24, patch_size=4, in_chans=1, num_classes=2, pos_embed="none", seed=0)
    plain = model.patch_embed.forward

    def marked(images):
        tokens = plain(images)
        return torch.cat([tokens[:, :1] * 1.001, tokens[:, 1:]], dim=1)

    model.patch_embed.forward = marked
    kept = symmetry.unnoticed(model, SIZE)
    assert bool((kept[:, 0] == 0).all())
    assert 0 < len(kept) < whole


def test_texture_is_bounded_by_the_mirroring_alone():
    mirrored, turned = GRID.flip(1).flatten(), GRID.flip(0).flatten()
    assert symmetry.highest("texture", mirrored[None]) == 1 / 2
    assert symmetry.highest("texture", turned[None]) == 1
    assert symmetry.highest("texture", GRID.flatten()[None][:0]) == 1


def test_other_images_have_no_such_bound():
    study = replace(digits(), measure=("accuracy", "symmetry"))
    with pytest.raises(
        ValueError,
        match="--measure symmetry is about probes, not digits; leave symmetry out of --measure, or choose probes:",
    ):
        plan.check_measurements(Experiment(study, data.load("digits"), torch.device("cpu")))
    assert symmetry.obstacle(data.load(preset("probes").dataset)) is None
