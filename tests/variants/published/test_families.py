"""The papers' model families: published sizes, timm's weights, timm's registry, the layout of SP-ViT's checkpoints."""

import pytest
import timm
import torch

import harness.backbone.timm_models  # noqa: F401  (registers with timm)
from harness.backbone import weights as checkpoints
from harness.backbone.vit import create
from harness.measure.cost import count, params

IMAGENET = {"img_size": 224, "patch_size": 16, "num_classes": 1000}
SP_SA = "sp_sa[hidden=64]"


@pytest.mark.parametrize(
    ("spec", "size", "published"),
    [
        pytest.param(SP_SA, "sp_vit_s", 26_234_468, id="SP-ViT-S, 14 spatial layers"),
        pytest.param(SP_SA, "sp_vit_m", 55_969_440, id="SP-ViT-M, 18 spatial layers"),
        pytest.param("sa", "sp_vit_l", 150_205_520, id="SP-ViT-L as released, no SP-SA"),
        pytest.param("sa", "lv_vit_s", 26_151_824, id="LV-ViT-S"),
        pytest.param("sa", "lv_vit_m", 55_830_544, id="LV-ViT-M"),
    ],
)
def test_parameters_of_the_authors_code(spec, size, published):
    with torch.device("meta"):
        assert params(create(spec, size=size, **IMAGENET)) == published


@pytest.mark.parametrize(("size", "millions"), [("tiny", 5.71), ("small", 27.78), ("base", 86.54)])
def test_parameters_of_convit_are_timms_less_the_constant_that_softmax_ignores(size, millions):
    with torch.device("meta"):
        ours = create("gpsa", size=f"convit_{size}", **IMAGENET)
        theirs = timm.create_model(f"convit_{size}")
    assert params(ours) == params(theirs) - 10 * ours.size.num_heads
    assert params(ours) / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize(
    ("size", "offsets", "pairs"), [("tiny", 1.2525, 1.257), ("small", 5.7470, 5.757), ("base", 17.5062, 17.524)]
)
def test_gmac_of_convit_on_the_distinct_offsets_and_on_all_pairs_as_published(size, offsets, pairs):
    model = create("gpsa", size=f"convit_{size}", **IMAGENET)
    gmac, heads = count(model, torch.randn(1, 3, 224, 224)), model.size.num_heads
    assert gmac == pytest.approx(offsets, abs=6e-5)
    assert gmac + 10 * 3 * heads * (196**2 - 27**2) / 1e9 == pytest.approx(pairs, abs=6e-4)


def test_gmac_of_sp_vit_on_the_distinct_offsets_and_by_per_pair_evaluation_as_measured():
    gmac = count(create(SP_SA, size="sp_vit_s", **IMAGENET), torch.randn(1, 3, 224, 224))
    assert gmac == pytest.approx(6.57, abs=0.01)
    assert gmac + 14 * 3 * 384 * (196**2 - 27**2) / 1e9 == pytest.approx(7.174, abs=0.002)


def randomise(model):
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            torch.nn.init.normal_(tensor, std=0.05)
    for name, tensor in model.state_dict().items():
        if "running_var" in name or name.endswith("norm1.weight"):
            torch.nn.init.ones_(tensor)


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_convit_with_timms_weights_gives_timms_logits(size):
    theirs = timm.create_model(f"convit_{size}").double().eval()
    randomise(theirs)
    ours = create("gpsa", size=f"convit_{size}", **IMAGENET).double().eval()
    ours.load_state_dict(checkpoints.translate(theirs.state_dict()))
    images = torch.randn(1, 3, 224, 224, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("columns", [[0, 1, 2], [2, 0, 1], [1, 2, 0]])
def test_another_order_of_convits_columns_is_rejected(columns, monkeypatch):
    theirs = timm.create_model("convit_tiny", img_size=64).double().eval()
    randomise(theirs)
    ours = create("gpsa", size="convit_tiny", **(IMAGENET | {"img_size": 64})).double().eval()
    state = checkpoints.translate(theirs.state_dict())
    for name in state:
        if name.endswith("position.weight"):
            state[name] = state[name][:, columns]
    ours.load_state_dict(state)
    images = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    agree = columns == [0, 1, 2]
    with torch.no_grad():
        assert torch.allclose(ours(images), theirs(images)) == agree


def released(width=384, heads=6, depth=16, spatial=14, classes=10, tokens=16):
    """A state dict of the shape of SP-ViT's released checkpoints, filled at random, named as in its code."""
    shapes = {"cls_token": (1, 1, width), "pos_embed": (1, tokens, width)}
    chans = 3
    for i in (1, 2, 3):
        shapes |= {f"patch_embed.conv{i}.weight": (64, chans, *((7, 7) if i == 1 else (3, 3)))}
        shapes |= {f"patch_embed.bn{i}.{n}": (64,) for n in ("weight", "bias", "running_mean", "running_var")}
        shapes |= {f"patch_embed.bn{i}.num_batches_tracked": ()}
        chans = 64
    shapes |= {"patch_embed.proj.weight": (width, 64, 8, 8), "patch_embed.proj.bias": (width,)}
    for i in range(depth):
        block = f"blocks.{i}."
        shapes |= {f"{block}norm{n}.{k}": (width,) for n in (1, 2) for k in ("weight", "bias")}
        if i < spatial:
            shapes |= {
                f"{block}attn.v.weight": (width, width), f"{block}attn.qk.weight": (2 * width, width),
                f"{block}attn.w1.weight": (width, 2), f"{block}attn.w1.bias": (width,),
                f"{block}attn.w2": (width, 1), f"{block}attn.b2": (heads,),
            }  # fmt: skip
        else:
            shapes |= {f"{block}attn.qkv.weight": (3 * width, width)}
        shapes |= {f"{block}attn.proj.weight": (width, width), f"{block}attn.proj.bias": (width,)}
        shapes |= {f"{block}mlp.fc1.weight": (3 * width, width), f"{block}mlp.fc1.bias": (3 * width,)}
        shapes |= {f"{block}mlp.fc2.weight": (width, 3 * width), f"{block}mlp.fc2.bias": (width,)}
        shapes |= {f"{block}pos_block.proj.0.weight": (width, 1, 3, 3), f"{block}pos_block.proj.0.bias": (width,)}
    for name in ("norm", "head", "aux_head"):
        out = (width,) if name == "norm" else (classes,)
        shapes |= {f"{name}.weight": out if name == "norm" else (classes, width), f"{name}.bias": out}
    return {
        name: torch.tensor(0) if name.endswith("tracked") else torch.rand(shape) * 0.1 for name, shape in shapes.items()
    }


def plain_sp_sa(x, state, block, heads, grid):
    """SP-ViT's attention by loops over pairs, straight from its weights: offsets (x, y), hidden units head by head."""
    at = f"{block}attn."
    n, width = x.shape
    d = width // heads
    q, k = (x @ state[f"{at}qk.weight"].T).split(width, dim=1)
    v = x @ state[f"{at}v.weight"].T
    out = torch.zeros_like(x)
    for i in range(n):
        (yi, xi) = divmod(i, grid[1])
        offset = torch.tensor([[j % grid[1] - xi, j // grid[1] - yi] for j in range(n)], dtype=x.dtype)
        hidden = (offset @ state[f"{at}w1.weight"].T + state[f"{at}w1.bias"]).relu() * state[f"{at}w2"].T
        omega = hidden.view(n, heads, -1).sum(-1) + state[f"{at}b2"]
        for h in range(heads):
            part = slice(h * d, (h + 1) * d)
            weights = (k[:, part] @ q[i, part] * d**-0.5 * omega[:, h]).softmax(0)
            out[i, part] = weights @ v[:, part]
    return out @ state[f"{at}proj.weight"].T + state[f"{at}proj.bias"]


def test_released_sp_vit_checkpoints_load_from_a_file(tmp_path):
    state = released()
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, tmp_path / "s.pth.tar")
    model = create(SP_SA, size="sp_vit_s", img_size=64, patch_size=16, num_classes=10).eval()
    checkpoints.load(model, tmp_path / "s.pth.tar")
    x = torch.randn(16, 384, dtype=torch.float64)
    wide = {name: tensor.double() for name, tensor in state.items()}
    ours = model.double().blocks[3].attn(x[None], (4, 4))[0]
    torch.testing.assert_close(ours, plain_sp_sa(x, wide, "blocks.3.", 6, (4, 4)), rtol=1e-6, atol=1e-9)
    swapped = dict(wide)
    swapped["blocks.3.attn.w1.weight"] = wide["blocks.3.attn.w1.weight"].flip(1)
    assert not torch.allclose(ours, plain_sp_sa(x, swapped, "blocks.3.", 6, (4, 4)))
    assert torch.equal(model.blocks[15].peg.proj.weight, wide["blocks.15.pos_block.proj.0.weight"])


def test_a_file_that_is_no_checkpoint_or_another_models_is_a_sentence(tmp_path):
    model = create(SP_SA, size="sp_vit_s", img_size=64, patch_size=16, num_classes=10)
    for name in ("nothing.pth", "nothing.safetensors"):
        with pytest.raises(ValueError, match=rf"the checkpoint .*{name} does not exist; name a .safetensors or a .pth"):
            checkpoints.load(model, tmp_path / name)
    torch.save(model.state_dict(), tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    for name in ("junk.pth", "junk.safetensors"):
        for content in (b"junk", whole[: len(whole) // 2], b""):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(ValueError, match="no checkpoint that can be read"):
                checkpoints.load(model, tmp_path / name)
    torch.save({"head.weight": torch.zeros(3, 3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="the weights of another model"):
        checkpoints.load(model, tmp_path / "other.pth")


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"state_dict": Bomb()}, tmp_path / "bomb.pth")
    model = create("sa", img_size=8, patch_size=2, num_classes=10)
    with pytest.raises(ValueError, match="no checkpoint that can be read"):
        checkpoints.load(model, tmp_path / "bomb.pth")
    assert not (tmp_path / "ran").exists()


def test_the_skips_are_scaled_and_the_token_head_counts_half():
    model = create("sa", size="lv_vit_s", img_size=32, patch_size=16, num_classes=5).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        tokens = model.tokens(images)
        expected = model.head(tokens[:, 0]) + 0.5 * model.aux_head(tokens[:, 1:]).max(dim=1).values
        torch.testing.assert_close(model(images), expected)
        block, x = model.blocks[0], torch.randn(1, 5, 384)
        halfway = x + block.attn(block.norm1(x), (2, 2)) / 2
        torch.testing.assert_close(block(x, (2, 2)), halfway + block.mlp(block.norm2(halfway)) / 2)


def test_peg_moves_patches_alone_and_equals_timms():
    from timm.models.twins import PosConv

    from harness.backbone.embed import PEG

    ours, theirs = PEG(8), PosConv(8, 8)
    theirs.proj[0].load_state_dict(ours.proj.state_dict())
    x = torch.randn(2, 1 + 15, 8)
    out = ours(x, (3, 5))
    assert torch.equal(out[:, 0], x[:, 0])
    torch.testing.assert_close(out[:, 1:], theirs(x[:, 1:], (3, 5)))


def test_an_odd_patch_under_a_convolutional_stem_is_a_sentence():
    with pytest.raises(ValueError, match="choose an even one"):
        create("sa", size="lv_vit_s", img_size=15, patch_size=5, num_classes=5)


def test_timm_creates_the_families():
    model = timm.create_model("sp_vit_small_patch16_224", num_classes=7, drop_path_rate=0.1)
    assert (model.spec, model.spatial_layers, model.head.out_features) == (SP_SA, 14, 7)
    assert timm.data.resolve_data_config({}, model=model)["input_size"] == (3, 224, 224)
    small = timm.create_model("spatial_vit_tiny_patch16_224", variant="swin+rpe_2d[mode=bias]", img_size=64, in_chans=1)
    assert small(torch.randn(1, 1, 64, 64)).shape == (1, 1000)
    assert {"sp_vit_medium_patch16_384", "lv_vit_small_patch16_224"} <= set(timm.list_models())
    with pytest.raises(ValueError, match="no hosted weights"):
        timm.create_model("sp_vit_small_patch16_224", pretrained=True)


def test_the_released_m_is_a_switch():
    with torch.device("meta"):
        assert create(SP_SA, size="sp_vit_m", spatial_layers=10, **IMAGENET).spatial_layers == 10
        assert create(SP_SA, size="sp_vit_m", **IMAGENET).spatial_layers == 18
