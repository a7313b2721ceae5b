"""Layers with one error in what they compute."""

from __future__ import annotations

import torch

from variants import Attention

from .made import attention


def all_tokens_have_a_place(self, q, k, v, grid):
    scores = q @ k.mT * q.shape[-1] ** -0.5
    return (scores + torch.arange(q.shape[2]) / 9).softmax(-1) @ v


def one_row_sees_nothing(self, q, k, v, grid):
    scores = q @ k.mT
    scores[:, :, 0] = -torch.inf
    return scores.softmax(-1) @ v


ATTENDING = {
    "a row with everything masked": (
        "output_is_finite",
        attention(attend=one_row_sees_nothing),
        r"the output is NaN in \d+ of 1536 entries",
    ),
    "tokens lost": (
        "output_is_finite",
        attention(forward=lambda self, x, grid: Attention.forward(self, x, grid)[:, 1:]),
        r"the output is \[3, 15, 32\] for an input of \[3, 16, 32\]",
    ),
    "weights that nobody uses": (
        "map_is_what_attends",
        attention(weights=lambda self, q, k, grid: Attention.weights(self, 2 * q, k, grid)),
        "the output and weights @ v differ by .* overrides attend too",
    ),
    "no softmax": (
        "map_is_what_attends",
        attention(weights=lambda self, q, k, grid: (q @ k.mT).sigmoid()),
        "the rows of weights and 1 differ",
    ),
    "images meet": (
        "images_are_independent",
        attention(attend=lambda self, q, k, v, grid: Attention.attend(self, q - q.mean(0), k, v, grid)),
        "an image alone and in a batch differ by",
    ),
    "the order matters": (
        "images_are_independent",
        attention(attend=lambda self, q, k, v, grid: Attention.attend(self, q, k, v.cumsum(0), grid)),
        "an image among others in another order and differ",
    ),
    "the class token has a place": (
        "prefix_tokens_are_neutral",
        attention(attend=all_tokens_have_a_place),
        "a prefix token's outputs for patches in another order and differ",
    ),
    "sums in vain": (
        "sums_hold",
        attention(
            weights=lambda self, q, k, grid: (q @ k.mT).softmax(-1),
            attend=lambda self, q, k, v, grid: (q @ k.mT).softmax(-1) @ v,
        ),
        "lets a patch see others",
    ),
    "attends in vain": (
        "sums_hold",
        attention(attend=lambda self, q, k, v, grid: (q @ k.mT).softmax(-1) @ v),
        "attends as if no window were there",
    ),
    "lost in bfloat16": (
        "bfloat16",
        attention(attend=lambda self, q, k, v, grid: Attention.attend(self, q, k, v, grid) + 99 - 99),
        "under autocast to bfloat16 the output is .*% off",
    ),
    "auto is another": (
        "backends_equal_eager",
        attention(
            attend=lambda self, q, k, v, grid: (1 + (self.backend == "auto")) * Attention.attend(self, q, k, v, grid)
        ),
        "backend=auto and eager, in output, differ by 1.0e[+]00",
    ),
}
