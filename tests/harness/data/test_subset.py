"""Shares of the training images: nested, in proportion, drawn by a seed; a drawing that is not is seen to fail."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data import subset

SHARES = (0.03, 0.1, 0.25, 0.9, 1.0)


def uneven(seed=0):
    labels = torch.tensor([0] * 700 + [1] * 200 + [3] * 90 + [4] * 10)
    return labels[torch.randperm(1000, generator=torch.Generator().manual_seed(seed))]


def faults(draw, labels, shares=SHARES):
    """What is wrong with a way of drawing shares, in words."""
    found, inside = set(), torch.empty(0, dtype=torch.int64)
    for share in shares:
        taken = draw(labels, share, 0)
        if len(taken.unique()) != len(taken):
            found.add("twice")
        if not set(inside.tolist()) <= set(taken.tolist()):
            found.add("not nested")
        counts = torch.bincount(labels[taken], minlength=int(labels.max()) + 1)
        whole = torch.bincount(labels)
        if bool(((counts - share * whole).abs() >= 1).any()):
            found.add("not in proportion")
        if bool((counts[whole > 0] == 0).any()):
            found.add("no image of a class")
        inside = taken
    return found


def plain(labels, share, seed):
    """Planted: the first of one order of all images."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    return order[: round(share * len(labels))]


def anew(labels, share, seed):
    """Planted: each share draws for itself."""
    return subset(labels, share, seed + round(1000 * share))


def bare(labels, share, seed):
    """Planted: rounded, without the one image at least."""
    taken = subset(labels, share, seed)
    return torch.cat([taken[labels[taken] == k][: round(share * int((labels == k).sum()))] for k in labels.unique()])


def test_shares_are_nested_and_in_proportion_and_faulty_ones_are_seen():
    labels = uneven()
    assert faults(subset, labels) == set()
    assert faults(plain, labels) == {"not in proportion"}
    assert faults(anew, labels) == {"not nested"}
    assert faults(bare, labels) == {"no image of a class"}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.lists(st.floats(0.2, 1), min_size=2, max_size=4))
def test_any_classes_and_any_shares(counts, shares):
    labels = torch.cat([torch.full((count,), k) for k, count in enumerate(counts)])
    wanted = [share for share in sorted(shares) if round(share * len(labels)) >= len(counts)]
    assert faults(subset, labels, wanted) == set()


def test_the_seed_draws_and_the_whole_is_the_whole():
    labels = uneven()
    assert torch.equal(subset(labels, 0.1, 5), subset(labels, 0.1, 5))
    assert not torch.equal(subset(labels, 0.1, 5), subset(labels, 0.1, 6))
    assert torch.equal(subset(labels, 1.0, 5), torch.arange(1000))
    assert subset(labels, 0.1, 5).dtype == torch.int64


def test_a_hundredth_of_balanced_classes_is_a_hundredth():
    labels = torch.arange(54_000) % 10
    assert torch.bincount(labels[subset(labels, 0.01, 0)]).tolist() == [54] * 10


@pytest.mark.parametrize("share", [0, -0.1, 1.01, float("nan")])
def test_what_is_no_share_is_refused(share):
    with pytest.raises(ValueError, match="not available; choose more than 0, up to 1"):
        subset(uneven(), share, 0)


def test_a_share_of_fewer_images_than_classes_is_refused():
    with pytest.raises(
        ValueError, match=r"0.003 of 1000 training images is 3, fewer than the 4 classes; choose 4/1000"
    ):
        subset(uneven(), 0.003, 0)
