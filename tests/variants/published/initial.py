"""How a variant starts: its parameters at initialisation, and whether they are drawn from a normal distribution."""

import torch
from scipy import stats

from variants import build

GRID = (14, 14)


def is_normal(values, std, mean=0.0):
    """Asserts that enough values are drawn from a normal distribution (Kolmogorov-Smirnov, 1 %)."""
    values = values.detach().flatten().numpy()
    assert len(values) >= 500
    p = stats.kstest((values - mean) / std, "norm").pvalue
    assert p > 0.01, f"p = {p:.1e}: not normal({mean}, {std}), but mean {values.mean():.3g}, std {values.std():.3g}"


def layer(spec, width=256, heads=4):
    torch.manual_seed(11)
    return build(spec, width, heads, grid=GRID)
