"""neighborhood: NATTEN's rule at the border, against lists, natten itself where it is installed, and mutants."""

import pytest
import torch

from variants import build, neighborhood

from . import mutants, oracles
from .agreement import SQUARE, WIDE, agree, agrees_with_eager, agrees_with_equation, at, drawn, on, rejected
from .seen import kept, mask_agrees, mask_rejected

SPECS = [
    "neighborhood[kernel=1]", "neighborhood[kernel=2]", "neighborhood[kernel=3]", "neighborhood[kernel=4]",
    "neighborhood[kernel=9]", "neighborhood[dilation=2,kernel=2]",
]  # fmt: skip


@pytest.mark.proof("the equation by loops", "{spec}")
@at("prefix", 0, 1)
@on(SQUARE, WIDE)
@pytest.mark.parametrize("spec", SPECS)
def test_neighborhood_is_the_equation(spec, grid, prefix):
    agrees_with_equation(spec, grid, prefix, backend="auto" if prefix else "eager")


@pytest.mark.parametrize("spec", ["neighborhood[kernel=3]", "neighborhood[dilation=2,kernel=2]"])
def test_at_another_resolution_the_kernel_keeps_its_size(spec):
    agrees_with_equation(spec, (5, 6), trained_at=SQUARE)


@pytest.mark.parametrize(
    "spec",
    ["neighborhood[kernel=3]+rpe_2d[extent=3,mode=bias]", "neighborhood[kernel=3]+swin[window=2]+sp_sa[hidden=4]",
     "gpsa+neighborhood[kernel=3]"],
)  # fmt: skip
def test_a_sum_is_the_equations_together(spec):
    agrees_with_equation(spec, WIDE, 1)


@pytest.mark.parametrize("backend", ["sdpa", "tiled", "auto"])
@at("prefix", 0, 1)
def test_every_backend_gives_eagers_output_and_gradients(backend, prefix):
    agrees_with_eager("neighborhood[kernel=3]", WIDE, prefix, backend)


# Who sees whom, against brute force.


@at("dilation", 1, 2, 3)
@at("kernel", 1, 2, 3, 4, 5, 8)
@on((7, 9), (1, 6), (8, 5))
def test_every_pair_is_kept_as_by_brute_force(grid, kernel, dilation):
    found = kept(f"neighborhood[dilation={dilation},kernel={kernel}]", grid, heads=1)
    mask_agrees(found, oracles.nearest_seen(kernel, dilation, grid), grid)


@on((7, 9), (9, 7))
def test_at_the_border_the_window_moves_inwards_and_keeps_its_size(grid):
    for kernel in (2, 3, 4, 7):
        seen = kept(f"neighborhood[kernel={kernel}]", grid, heads=1)[0]
        assert (seen.sum(-1) == kernel**2).all()
    corner = seen.new_zeros(grid)
    corner[:7, :7] = True
    assert kept("neighborhood[kernel=7]", grid, heads=1)[0, 0].equal(corner.flatten())


def test_an_even_kernel_sees_one_patch_more_before_than_after():
    seen = kept("neighborhood[kernel=4]", (1, 9), heads=1)[0]
    assert seen[4].nonzero().flatten().tolist() == [2, 3, 4, 5]


def test_a_kernel_beyond_the_grid_sees_all_of_it_and_is_sa():
    assert kept("neighborhood[kernel=5]", WIDE, heads=1).all()
    assert not kept("neighborhood[kernel=4]", WIDE, heads=1).all()
    assert kept("neighborhood[dilation=2,kernel=3]", (5, 5), heads=1)[0, 0].sum() == 9  # of the even rows and columns


@pytest.mark.parametrize(
    ("grid", "kernel"), [((14, 14), 7), ((56, 56), 7), ((8, 8), 3), ((10, 14), 5), (SQUARE, 3), (WIDE, 3), ((1, 9), 3)]
)
def test_auto_is_seven_or_an_odd_number_up_to_half_of_the_shorter_side(grid, kernel):
    assert build("neighborhood", 16, 4, grid=grid).relation.kernel == kernel


def test_nothing_is_learned_and_the_kernel_is_fixed():
    relation = build("neighborhood", 16, 4, grid=SQUARE).relation
    assert not list(relation.parameters())
    assert relation.resolution_rule() == "fixed"


# natten: forward only on the CPU, float32, a head's width a power of two from 8.


@pytest.mark.proof("natten's na2d", "neighborhood")
@pytest.mark.parametrize(("grid", "kernel", "dilation"), [((7, 9), 4, 1), ((7, 10), 3, 2)])
def test_neighborhood_equals_nattens_and_no_window_that_stops_at_the_border_does(grid, kernel, dilation, monkeypatch):
    natten = pytest.importorskip("natten", reason="natten is not installed; it is built from source")
    spec = f"neighborhood[dilation={dilation},kernel={kernel}]"
    attention = drawn(spec, grid, heads=1, width=8).float()
    with torch.no_grad():
        q, k, v = attention.project(torch.randn(1, grid[0] * grid[1], 8), grid)
        places = (x.unflatten(2, grid).permute(0, 2, 3, 1, 4).contiguous() for x in (q, k, v))
        expected = natten.na2d(*places, kernel_size=(kernel, kernel), dilation=(dilation, dilation))
        expected = expected.permute(0, 3, 1, 2, 4).flatten(2, 3)
        agree(attention.attend(q, k, v, grid), expected, tolerance=1e-5)
        monkeypatch.setattr(neighborhood.Neighborhood, "_near", centred)
        with rejected():
            agree(drawn(spec, grid, heads=1, width=8).float().attend(q, k, v, grid), expected, tolerance=1e-5)


# Errors on purpose.


def centred(self, query, key, side):
    """A window that is cut off at the border."""
    steps = key // self.dilation - query // self.dilation
    half = self.kernel // 2
    return (key % self.dilation == query % self.dilation) & (steps >= -half) & (steps < self.kernel - half)


def _near(change):
    true = neighborhood.Neighborhood._near
    return lambda self, query, key, side: change(true, self, query, key, side)


PLANTED = {
    "cut off at the border": centred,
    "an even kernel the other way round": _near(
        lambda true, self, q, k, side: true(self, side - 1 - q, side - 1 - k, side)
    ),
    "one patch less": _near(lambda true, self, q, k, side: true(self, q, k, side) & (k != q + 1)),
    "off by one": _near(lambda true, self, q, k, side: true(self, q, (k + 1).clamp(max=side - 1), side)),
    "query and key exchanged": _near(lambda true, self, q, k, side: true(self, k, q, side)),
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_brute_force_rejects_a_planted_error(plant, monkeypatch):
    monkeypatch.setattr(neighborhood.Neighborhood, "_near", plant)
    with mask_rejected():
        mask_agrees(kept("neighborhood[kernel=4]", (7, 9), heads=1), oracles.nearest_seen(4, 1, (7, 9)), (7, 9))


def test_brute_force_rejects_another_dilation_and_exchanged_sides(monkeypatch):
    found = kept("neighborhood[dilation=2,kernel=3]", (7, 9), heads=1)
    for wrong in (oracles.nearest_seen(3, 1, (7, 9)), oracles.nearest_seen(5, 1, (7, 9))):
        with mask_rejected():
            mask_agrees(found, wrong, (7, 9))
    true = neighborhood.Neighborhood.mask
    monkeypatch.setattr(neighborhood.Neighborhood, "mask", lambda *args: true(*args[:-1], args[-1][::-1]))
    with mask_rejected():
        mask_agrees(kept("neighborhood[kernel=3]", (7, 9), heads=1), oracles.nearest_seen(3, 1, (7, 9)), (7, 9))


@pytest.mark.parametrize(
    "plant", [mutants.DROPPED["no kept"], mutants.class_token_cut_off], ids=["no mask", "class token cut off"]
)
def test_loops_reject_a_planted_error(plant, monkeypatch):
    plant(monkeypatch)
    with rejected():
        agrees_with_equation("neighborhood[kernel=3]", SQUARE, prefix=1)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("neighborhood[kernel=0]", r"kernel=0\] holds no patch; it is auto or a whole number from 1"),
        ("neighborhood[dilation=0]", r"dilation=0\] is no step; it is a whole number from 1"),
    ],
)
def test_what_is_no_kernel_is_a_sentence(spec, says):
    with pytest.raises(ValueError, match=says):
        build(spec, 16, 4, grid=SQUARE)
