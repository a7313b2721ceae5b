"""A whole training step of ViT-S/16 at 224: `sp_sa` against `sa`, and `sa` against timm's model of that size."""

import pytest
import timm
import torch

from harness.backbone.vit import create
from harness.measure import cost
from harness.measure.timing.interleave import Subject
from harness.presets import preset

from .conditions import AGAIN
from .pairs import ratios
from .record import record

BATCH, CLASSES = 8, 1000
# variant -> its baseline, and the largest ratio that was asked for
STEPS = {AGAIN: ("sa", None), "sp_sa": ("sa", 1.05), "sa": ("timm", 1.02)}


def model(name, tiny, token):
    """Ours or timm's; a class token at the input is what timm's has, a late one is the size's own choice."""
    torch.manual_seed(0)
    px, patch = (32, 16) if tiny else (224, 16)
    if name == "timm":
        small = {"embed_dim": 48, "depth": 2, "num_heads": 6} if tiny else {}
        return timm.create_model("vit_small_patch16_224", num_classes=CLASSES, img_size=px, **small)
    spec = "sa" if name == AGAIN else name
    size = "micro" if tiny else "small"
    return create(spec, size=size, img_size=px, patch_size=patch, num_classes=CLASSES, class_token=token)


@pytest.mark.parametrize("name", STEPS)
def test_training_step(benchmark, rounds, name):
    """Forward, loss, backward and AdamW on a batch of 8; a third of the rounds, since a step takes seconds."""
    baseline, bound = STEPS[name]
    tiny, token = benchmark.disabled, "input" if baseline == "timm" else None
    px, batch = (32, 2) if tiny else (224, BATCH)
    images, labels = torch.randn(batch, 3, px, px), torch.arange(batch)
    mine, theirs = model(name, tiny, token), model(baseline, tiny, token)
    if baseline == "timm" and not tiny:
        assert cost.params(mine) == cost.params(theirs)
    subjects = [Subject(one, images, labels, preset("digits").recipe).training() for one in (mine, theirs)]
    found = ratios(benchmark, *subjects, max(1, rounds // 3))
    record(
        benchmark, found, variant=name, baseline=baseline, condition=f"ViT-S/16-224-B{batch}-over-{baseline}",
        target=bound, short=False, again=name == AGAIN, grid="14x14", batch=batch, mode="step",
        backend=mine.executes(images), counters={"gmac": cost.count(mine, images[:2]), "params": cost.params(mine)}
        if found else {},
    )  # fmt: skip
