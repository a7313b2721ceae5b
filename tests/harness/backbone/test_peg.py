"""--peg: CPVT's convolution after each block, from the command line to the model; it is timm's, and no attention's."""

import pytest
import torch
from timm.models.twins import PosConv

from harness.backbone.embed import PEG
from harness.backbone.vit import create
from harness.jobs.experiment import Experiment
from harness.jobs.plan import device_of
from harness.measure.cost import count, params
from harness.presets import preset
from harness.run import flags
from tests.support.trainings import digits

SMALL = {"img_size": (6, 10), "patch_size": 2, "in_chans": 1, "num_classes": 3}
WIDTH, DEPTH, PATCHES = 64, 4, 15


def study(*given):
    return flags.study_of(flags.parser().parse_args(["--preset", "digits", *given]))


def test_the_flag_reaches_the_model_and_is_part_of_the_recipe():
    data = digits()
    for given, found in (([], False), (["--peg"], True), (["--no-peg"], False)):
        model = Experiment(study(*given), data, device_of("cpu")).model("sp_sa")
        assert [block.peg is not None for block in model.blocks] == [found] * DEPTH
    assert study().recipe_hash == study("--no-peg").recipe_hash == preset("digits").recipe_hash
    assert study("--peg").recipe_hash != study().recipe_hash


@pytest.mark.parametrize("grid", [(3, 5), (4, 4), (7, 2), (1, 1)])
@pytest.mark.parametrize("prefix", [0, 1])
def test_peg_equals_timms_PosConv_on_odd_and_even_grids_and_prefix_tokens_pass_by(grid, prefix):
    ours, theirs = PEG(8), PosConv(8, 8)
    theirs.proj[0].load_state_dict(ours.proj.state_dict())
    x = torch.randn(2, prefix + grid[0] * grid[1], 8)
    out = ours(x, grid)
    assert torch.equal(out[:, :prefix], x[:, :prefix])
    torch.testing.assert_close(out[:, prefix:], theirs(x[:, prefix:], grid))
    if min(grid) > 1:
        theirs.proj[0].weight.data = theirs.proj[0].weight.data.mT  # an error on purpose
        assert not torch.allclose(out[:, prefix:], theirs(x[:, prefix:], grid))


def test_a_model_with_it_has_ten_parameters_a_channel_and_nine_multiply_adds_a_channel_and_patch_more():
    plain, with_peg = (create("sa", **SMALL, peg=peg, seed=0) for peg in (False, True))
    images = torch.randn(1, 1, 6, 10)
    assert params(with_peg) - params(plain) == DEPTH * 10 * WIDTH
    assert count(with_peg, images) - count(plain, images) == pytest.approx(DEPTH * 9 * WIDTH * PATCHES / 1e9)
    assert with_peg(torch.randn(2, 1, 8, 12)).shape == (2, 3)


def test_variants_of_a_seed_start_from_the_same_convolutions():
    first, second = (create(spec, **SMALL, peg=True, seed=4) for spec in ("sa", "rope_mixed+sp_sa"))
    for a, b in zip(first.blocks, second.blocks, strict=True):
        assert torch.equal(a.peg.proj.weight, b.peg.proj.weight)
        assert torch.equal(a.attn.qkv.weight, b.attn.qkv.weight)
