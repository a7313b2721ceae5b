"""Shift consistency: known answers, and how an image moves."""

import torch
from torch import nn

from harness.measure import shift


class Left(nn.Module):
    """Tells whether the left half of an image is brighter: class 1, else 0."""

    def forward(self, images):
        half = images.shape[-1] // 2
        left = images[..., :half].mean(dim=(1, 2, 3)) > images[..., half:].mean(dim=(1, 2, 3))
        return torch.stack([~left, left], dim=1).float()


def test_shift_consistency_counts_what_stays():
    """A bright column right of the middle: a move by one to the left changes the answer, the three others do not."""
    images = torch.zeros(5, 1, 6, 6)
    images[..., 3] = 1.0
    batches = [(images[:2], None), (images[2:], None)]
    found = {fact["metric"]: fact for fact in shift.consistency(Left(), batches, {"px": 1, "patch": 2})}
    assert found["shift_px_consistency"] == {"metric": "shift_px_consistency", "value": 75.0, "unit": "%", "n": 5}
    assert found["shift_patch_consistency"]["value"] == 75.0
    assert shift.consistency(Left(), [(images[:0].new_zeros(3, 1, 6, 6), None)], {"px": 1})[0]["value"] == 100.0


def test_an_image_moves_down_and_right_and_repeats_its_border():
    image = torch.arange(9.0).view(1, 1, 3, 3)
    assert shift.move(image, 1, 0)[0, 0].tolist() == [[0, 1, 2], [0, 1, 2], [3, 4, 5]]
    assert shift.move(image, 0, -1)[0, 0].tolist() == [[1, 2, 2], [4, 5, 5], [7, 8, 8]]
