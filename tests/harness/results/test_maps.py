"""What maps say: planted maps have their radius, direction and peak recovered, and chance is their own."""

import numpy as np
import pytest

from harness.results import maps as offsets


def bell(sigma, grid=(24, 24), stretch=1.0):
    dy, dx = offsets.steps((2 * grid[0] - 1, 2 * grid[1] - 1))
    return np.exp(-(dy**2 + (dx / stretch) ** 2) / (2 * sigma**2))


@pytest.mark.parametrize("sigma", [1.0, 2.5, 4.0])
def test_a_planted_gaussian_has_its_radius_recovered(sigma):
    """E |Delta|^2 of a round Gaussian in the plane is 2 sigma^2, whatever sign and height."""
    prior = np.stack([1 + 0.7 * bell(sigma), 1 - 0.2 * bell(sigma)])
    assert offsets.radius("prior", prior).tolist() == pytest.approx([2**0.5 * sigma] * 2, rel=1e-3)
    bias = np.log(bell(sigma))[None] + 3.0  # softmax of a Gaussian's log is the Gaussian, and forgets the constant
    assert offsets.radius("bias", bias).tolist() == pytest.approx([2**0.5 * sigma], rel=1e-3)
    assert offsets.radius("prior", prior - 1)[0] != pytest.approx(2**0.5 * sigma, rel=0.1)  # about 0, not about neutral


def test_a_neutral_prior_has_no_radius_and_a_constant_bias_that_of_the_table():
    ones = np.ones((1, 7, 7))
    assert np.isnan(offsets.radius("prior", ones)).all()
    assert np.isnan(offsets.anisotropy("prior", ones)).all()
    assert offsets.radius("bias", ones)[0] == pytest.approx(np.sqrt((offsets.distances((7, 7)) ** 2).mean()))


def test_anisotropy_is_0_for_a_round_map_and_1_for_a_line_either_way():
    line = np.zeros((1, 9, 9))
    line[0, 4, 2] = 1.0
    slanted = np.eye(9)[None]
    assert offsets.anisotropy("kept", line)[0] == pytest.approx(1.0)
    assert offsets.anisotropy("kept", slanted)[0] == pytest.approx(1.0)
    assert offsets.anisotropy("prior", 1 + bell(2.0)[None])[0] == pytest.approx(0.0, abs=1e-6)
    assert offsets.anisotropy("prior", 1 + bell(2.0, stretch=2.0)[None])[0] == pytest.approx(0.6, abs=0.01)  # 4:1


def test_a_radial_profile_is_the_mean_of_a_ring():
    at, values = offsets.profile(offsets.distances((7, 7))[None])
    assert at.tolist() == [0, 1, 2, 3, 4]
    ring = [d for d in offsets.distances((7, 7)).ravel() if round(d) == 2]
    assert values[0, 2] == pytest.approx(np.mean(ring))
    half = np.full((1, 7, 7), 2.0)
    half[0, :3] = np.nan
    assert offsets.profile(half)[1].tolist() == [[2.0] * 5]


def test_heads_that_divide_the_offsets_lie_below_chance_and_copies_above():
    quarters = np.ones((4, 13, 13))
    for head, (y, x) in enumerate([(0, 0), (0, 7), (7, 0), (7, 7)]):
        quarters[head, y : y + 6, x : x + 6] = 1.5
    copies = np.repeat(quarters[:1], 4, axis=0)
    for maps, where in ((quarters, "below"), (copies, "above")):
        low, high = np.quantile(offsets.chance(maps), (0.025, 0.975))
        value = offsets.complementarity(maps)
        assert low < 0 < high
        assert (value <= low) if where == "below" else (value > high)  # four quarters are dealt so once in eleven
    assert offsets.complementarity(copies) == pytest.approx(1.0)
    assert offsets.complementarity(quarters[:1]) is None
    assert offsets.complementarity(np.ones((3, 5, 5))) is None


def test_the_baseline_keeps_how_smooth_maps_are():
    """Shuffled offset by offset, two smooth maps that know nothing of each other would seem to agree half the time."""
    random = np.random.default_rng(0)
    torn, kept = 0, 0
    for trial in range(40):
        waves = [np.roll(bell(5.0, (7, 7)), random.integers(7, size=2), axis=(0, 1)) for _ in range(2)]
        maps = offsets.moved(np.stack(waves), random)
        value = offsets.complementarity(maps)
        drawn = offsets.chance(maps, trial, 39)
        shuffled = [offsets.complementarity(np.stack([random.permutation(m.ravel()).reshape(m.shape) for m in maps]))
                    for _ in range(39)]  # fmt: skip
        kept += abs(value) > np.quantile(np.abs(drawn), 0.95)
        torn += abs(value) > np.quantile(np.abs(shuffled), 0.95)
    assert kept <= 7
    assert torn >= 20


def rolled(maps, random):
    return np.stack([np.roll(one, random.integers(one.shape[0], size=2), axis=(0, 1)) for one in maps])


def test_independent_ramps_lie_at_their_chance_and_do_not_where_they_are_rolled(monkeypatch):
    """What a prior is that has learned little: w_h . Delta, each head with a direction of its own."""

    def outside():
        random, found = np.random.default_rng(3), 0
        for trial in range(60):
            maps = np.einsum("hc,cyx->hyx", random.standard_normal((4, 2)), np.stack(offsets.steps((7, 7))))
            low, high = np.quantile(offsets.chance(maps, trial, 99), (0.025, 0.975))
            found += not low <= offsets.complementarity(maps) <= high
        return found

    assert outside() <= 9
    monkeypatch.setattr(offsets, "moved", rolled)
    assert outside() >= 12


def test_biases_are_correlated_as_attention_sees_them():
    """Four narrow peaks side by side: the far ends of their logits agree, what they look at does not."""
    dy, dx = offsets.steps((13, 13))
    bias = np.stack([-((dy - y) ** 2 + (dx - x) ** 2) for y in (-1, 1) for x in (-1, 1)])
    assert offsets.complementarity(bias) > 0.5
    assert offsets.complementarity(offsets.shaped("bias", bias)) < 0.1
    assert offsets.shaped("prior", bias) is bias


def test_seeds_agree_whatever_the_order_of_their_heads():
    maps = np.random.default_rng(1).standard_normal((4, 7, 7))
    assert offsets.agreement(maps, maps[[2, 0, 3, 1]] * 2 + 5) == pytest.approx(1.0)
    assert np.mean(np.diag(offsets.correlations(maps, maps[[2, 0, 3, 1]]))) < 0.5  # head by head
    assert offsets.agreement(maps, np.ones((4, 7, 7))) is None
