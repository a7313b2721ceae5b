"""Saliency: masks are those of the images that are shown, a panel is small; the cell and its arrays."""

from pathlib import Path

import numpy as np
import torch

from harness import data
from harness.measure import saliency
from harness.measure.saliency import masks, panel
from harness.measure.subject import Subject
from harness.results import store
from harness.run import program
from tests.support import bodies
from tests.support.cells import experiment


def subject(images, **changes):
    """A trained model's place, of which nothing but the images is asked for."""
    one = experiment(images, **changes)
    nowhere = Path("nowhere")
    return Subject(one.data, one.image, one.study.patch_size, 0, lambda: one.model("sa"), one.shown, nowhere, nowhere,
                   nowhere)  # fmt: skip


def test_masks_are_those_of_the_images_that_are_shown():
    one = subject(data.load("probes:same_row"), dataset="probes:same_row", patch_size=4)
    images = torch.cat([batch for batch, _ in one.test_images(saliency.IMAGES)])
    found = masks(one)
    assert found.shape == images[:, 0].shape
    inside = torch.stack([image[0][mask].mean() for image, mask in zip(images, found, strict=True)])
    outside = torch.stack([image[0][~mask].mean() for image, mask in zip(images, found, strict=True)])
    assert (inside > outside + 1).all()
    assert not all(image[0][mask].mean() > image[0][~mask].mean() + 1
                   for image, mask in zip(images, found.roll(1, 0), strict=True))  # fmt: skip
    assert masks(subject(data.load("digits"))) is None


def test_a_panel_is_small_and_large_images_are_made_so():
    n = 40
    found = {"images": torch.randn(n, 3, 224, 160), "relevance": torch.rand(n, 14, 10), "labels": torch.arange(n)}
    found |= {"chosen": torch.arange(n), **{name: torch.rand(n, 17) for name in
              ("deletion", "insertion", "random_deletion")}}  # fmt: skip
    held = panel(found)
    assert held["images"].shape == (6, 3, 72, 51)
    assert held["relevance"].shape == (6, 14, 10)
    assert held["relevance"].max(axis=(1, 2)).tolist() == [1.0] * 6
    assert sum(one.nbytes for one in held.values()) < 200_000


FLAGS = ["--preset", "digits", *bodies.FLAGS,
         "--variants", "sa", "--epochs", "2", "--warmup-epochs", "1", "--batch-size", "256", "--seeds", "0",
         "--resolutions", "8", "--jobs", "1"]  # fmt: skip


def test_the_cell_follows_a_training_and_is_added_later(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(saliency, "IMAGES", 12)
    assert program.main([*FLAGS, "--measure", "accuracy"]) == 0
    assert not list(tmp_path.rglob("*.saliency.npz"))
    assert program.main([*FLAGS, "--measure", "accuracy,saliency"]) == 0
    assert "1 of 2 cells are there" in capsys.readouterr().out
    frame = store.load("results/digits")
    mine = frame.set_index("metric")["value"]
    assert {"deletion", "insertion", "random_deletion"} <= set(mine.index)
    assert 0 <= mine["deletion"] <= 1
    held = store.beside("results/digits", ".saliency.npz")
    assert set(held) == set(frame.loc[frame["metric"] == "deletion", "cell"])
    with np.load(next(iter(held.values())), allow_pickle=False) as arrays:
        assert arrays["images"].shape == (6, 1, 8, 8)
    assert "Where the variants look" in (tmp_path / "reports/digits.html").read_text()


def test_saliency_wants_a_training(capsys):
    assert program.main(["--measure", "saliency"]) == 2
    assert "write --measure accuracy,saliency" in capsys.readouterr().err
