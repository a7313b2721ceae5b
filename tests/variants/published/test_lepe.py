"""lepe: a convolution of v within windows, against loops and torch's own convolution; CSWin's attention as a whole."""

import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import nn

from harness.backbone.vit import create
from harness.measure.cost import count
from variants import build, lepe
from variants.attention import Attention

from .agreement import (
    HEAD_DIM,
    SQUARE,
    WIDE,
    WIDTH,
    agree,
    agrees_with_eager,
    agrees_with_equation,
    at,
    drawn,
    on,
    rejected,
    tokens,
)

SPECS = [
    "lepe", "lepe+cswin[stripe=1]", "lepe+cswin[stripe=2]", "lepe+swin[window=2]", "lepe+sp_sa[hidden=4]",
    "lepe+window[dx=1,height=1,width=0]", "lepe+neighborhood[kernel=2]", "lepe+rpe_2d[mode=bias]+swin[window=3]",
    "lepe+cswin[stripe=2]+window[height=0,width=2]",
]  # fmt: skip


@pytest.mark.proof("the equation by loops", "{spec}")
@pytest.mark.parametrize(("grid", "prefix", "layer"), [(SQUARE, 1, 0), (WIDE, 0, 1), (WIDE, 2, 0)])
@pytest.mark.parametrize("spec", SPECS)
def test_lepe_is_the_equation(spec, grid, prefix, layer):
    agrees_with_equation(spec, grid, prefix, layer=layer, backend="auto" if prefix == 0 else "eager")


@pytest.mark.parametrize("heads", [1, 2, 3])
def test_any_number_of_heads(heads):
    agrees_with_equation("cswin[stripe=2]+lepe", WIDE, 1, heads=heads)


@on((2, 6), (1, 3), (1, 1))
@pytest.mark.parametrize("spec", ["lepe", "lepe+cswin[stripe=2]"])
def test_at_another_resolution_it_is_the_equation_too(spec, grid):
    attention, x = drawn(spec, SQUARE), tokens(grid)
    if grid != (1, 1):
        agrees_with_equation(spec, grid, 1, trained_at=SQUARE)
    else:  # one patch: itself, and the middle tap
        _, _, v = attention.project(x, grid)
        middle, bias = attention.get_v.weight[:, 0, 1, 1], attention.get_v.bias
        agree(attention(x, grid), attention.proj(v.transpose(1, 2).flatten(2) * (1 + middle) + bias))


@pytest.mark.parametrize(
    ("spec", "backends"),
    [
        ("lepe", ["sdpa", "tiled", "auto"]),
        ("lepe+cswin[stripe=1]", ["sdpa", "tiled", "grouped", "auto"]),
        ("lepe+swin[window=2]+sp_sa", ["tiled", "grouped"]),
    ],
)
def test_every_backend_gives_eagers_output_and_gradients(spec, backends):
    for backend in backends:
        agrees_with_eager(spec, WIDE, 0 if backend == "grouped" else 1, backend)


# torch's convolution.


def image(v, grid):
    """v [B, H, N, D] -> [B, C, h, w], the channels head by head."""
    return v.transpose(2, 3).flatten(1, 2).unflatten(2, grid)


def equals_conv2d(grid, prefix, change=lambda weight: weight):
    attention = drawn("lepe", grid)
    _, _, v = attention.project(tokens(grid, prefix), grid)
    patches = image(v[:, :, prefix:], grid)
    conv = attention.get_v
    expected = F.conv2d(patches, change(conv.weight), conv.bias, padding=1, groups=WIDTH)
    found = attention.enhanced(v, grid)
    agree(image(found[:, :, prefix:], grid), expected)
    assert not found[:, :, :prefix].any()


def tap_by_tap(monkeypatch):
    monkeypatch.setattr(lepe.LePE, "_convolved", lambda self, pieces, heads, grid: self._by_taps(*pieces, grid))


@pytest.fixture(params=["by torch", "by taps"])
def way(request, monkeypatch):
    """The two ways in which it is computed where there are no windows."""
    if request.param == "by taps":
        tap_by_tap(monkeypatch)


@pytest.mark.proof("torch's conv2d", "lepe")
@pytest.mark.usefixtures("way")
@at("prefix", 0, 1)
@on(SQUARE, WIDE, (1, 6), (7, 2))
def test_without_windows_it_equals_conv2d(grid, prefix):
    equals_conv2d(grid, prefix)


@pytest.mark.parametrize("prefix", [0, 2])
def test_both_ways_have_the_same_gradients(prefix, monkeypatch):
    attention, x = drawn("lepe", WIDE), tokens(WIDE, prefix).requires_grad_()
    inputs = [x, *attention.parameters()]

    def gradients():
        return torch.autograd.grad(attention(x, WIDE).square().sum(), inputs)

    whole = gradients()
    tap_by_tap(monkeypatch)
    for one, other in zip(whole, gradients(), strict=True):
        agree(one, other)


def test_it_goes_tap_by_tap_where_a_mask_is_no_window(monkeypatch):
    monkeypatch.setattr(lepe.LePE, "_by_taps", lambda *_: pytest.fail("tap by tap"))
    x = tokens(SQUARE, 1)
    for mask in ("", "+swin[window=2]", "+cswin"):
        drawn(f"lepe{mask}", SQUARE)(x, SQUARE)
    for mask in ("neighborhood[kernel=2]", "cswin+window"):
        with pytest.raises(pytest.fail.Exception, match="tap by tap"):
            drawn(f"lepe+{mask}", SQUARE)(x, SQUARE)


@pytest.mark.parametrize(
    "change",
    [lambda w: w.mT, lambda w: w.flip(-1), lambda w: w.flip(-2), lambda w: w.roll(HEAD_DIM, 0), lambda w: w.roll(1, 0)],
    ids=["axes swapped", "columns flipped", "rows flipped", "heads rolled", "channels rolled"],
)
@pytest.mark.usefixtures("way")
def test_conv2d_rejects_another_weight(change):
    with rejected():
        equals_conv2d(WIDE, 0, change)


@pytest.mark.proof("torch's conv2d stripe by stripe", "lepe")
@pytest.mark.parametrize("stripe", [1, 2, 3])
def test_cswin_and_lepe_are_attention_and_a_padded_convolution_in_each_stripe(stripe):
    """CSWin as its authors write it: half of the channels in vertical stripes, half in horizontal ones, cut out."""
    grid, x = (6, 6), tokens((6, 6))
    attention = drawn(f"cswin[stripe={stripe}]+lepe", grid)
    q, k, v = (image(t, grid) for t in attention.project(x, grid))
    half, conv, out = WIDTH // 2, attention.get_v, torch.zeros_like(v)
    for first in (0, half):
        ours = slice(first, first + half)
        for start in range(0, 6, stripe):
            across = slice(start, start + stripe)
            place = (slice(None), ours, slice(None), across) if first == 0 else (slice(None), ours, across)
            cut = [t[place] for t in (q, k, v)]
            queries, keys, values = (t.flatten(2).unflatten(1, (2, HEAD_DIM)).mT for t in cut)
            mixed = (queries @ keys.mT * HEAD_DIM**-0.5).softmax(-1) @ values
            mixed = mixed.mT.flatten(1, 2).unflatten(2, cut[2].shape[2:])
            out[place] = mixed + F.conv2d(cut[2], conv.weight[ours], conv.bias[ours], padding=1, groups=half)
    agree(attention(x, grid), attention.proj(out.flatten(2).mT))


def test_with_stripes_of_one_column_only_the_taps_along_the_stripe_see_anything():
    attention = drawn("cswin[stripe=1]+lepe", SQUARE)
    attention(tokens(SQUARE), SQUARE).square().sum().backward()
    used = attention.get_v.weight.grad.squeeze(1).abs().sum(0) > 0
    assert used.tolist() == [[False, True, False], [True, True, True], [False, True, False]]
    vertical, horizontal = attention.get_v.weight.grad.squeeze(1).split(WIDTH // 2)
    assert not vertical[:, 1, [0, 2]].any()
    assert not horizontal[:, [0, 2], 1].any()


def test_prefix_tokens_get_nothing_and_give_nothing():
    attention, x = drawn("lepe", WIDE), tokens(WIDE, 2)
    q, k, v = attention.project(x, WIDE)
    agree(attention.attend(q, k, v, WIDE)[:, :, :2], Attention.attend(attention, q, k, v, WIDE)[:, :, :2])
    other = torch.cat([v[:, :, :2] + 1, v[:, :, 2:]], dim=2)
    agree(attention.enhanced(other, WIDE), attention.enhanced(v, WIDE))


def test_nothing_of_all_pairs_is_made_beside_attention():
    attention, sizes = drawn("cswin[stripe=2]+lepe", (8, 8)), []
    _, _, v = attention.project(tokens((8, 8)), (8, 8))

    class Sizes(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            sizes.append(out.shape if isinstance(out, torch.Tensor) else ())
            return out

    with Sizes():
        attention.enhanced(v, (8, 8))
    assert not [size for size in sizes if list(size).count(64) > 1]
    assert len(sizes) > 9


# How it starts, what it costs.


def test_weights_start_as_torchs_convolution_from_a_stream_of_their_own():
    states = []
    for spec in ("sa", "lepe"):
        torch.manual_seed(3)
        attention = build(spec, 384, 6, grid=SQUARE)
        states.append((attention.qkv.weight, attention.proj.weight, torch.rand(3)))
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
    for parameter in attention.get_v.parameters():  # uniform within 1 / sqrt(9)
        values = parameter.detach().flatten().numpy()
        assert stats.kstest(values, stats.uniform(-1 / 3, 2 / 3).cdf).pvalue > 0.01
    assert sum(p.numel() for p in attention.get_v.parameters()) == 10 * 384
    again = build("lepe", 384, 6, grid=SQUARE, layer=1)
    assert not torch.equal(again.get_v.weight, attention.get_v.weight)
    assert attention.no_weight_decay() == set()


def test_it_costs_nine_multiply_adds_a_channel_and_patch_with_windows_and_without():
    def gmac(spec):
        return count(create(spec, img_size=4, patch_size=1, in_chans=1, num_classes=10), torch.randn(1, 1, 4, 4))

    layers, patches, width = 2, 16, 64
    for windows in ("", "+cswin"):
        more = gmac(f"lepe{windows}") - gmac(windows.strip("+") or "sa")
        assert more == pytest.approx(layers * 9 * patches * width / 1e9)


def test_what_it_says_of_a_new_resolution():
    assert build("lepe", WIDTH, 4, grid=SQUARE).resolution_rule() == "fixed"
    assert build("lepe+cswin+sp_sa", WIDTH, 4, grid=SQUARE).resolution_rule() == "fixed, recomputed"


# Errors on purpose.


def _neighbours(change):
    def plant(monkeypatch):
        true = lepe.neighbours
        monkeypatch.setattr(lepe, "neighbours", lambda *where: change(true(*where)))

    return plant


def _steps(change):
    return lambda monkeypatch: monkeypatch.setattr(lepe, "STEPS", [change(*step) for step in lepe.STEPS])


def _enhanced(change):
    def plant(monkeypatch):
        true = lepe.LePE.enhanced
        monkeypatch.setattr(lepe.LePE, "enhanced", lambda self, v, grid: change(true, self, v, grid))

    return plant


def _windows_ignored(monkeypatch):
    true = lepe.neighbours
    monkeypatch.setattr(lepe, "neighbours", lambda grid, device, *_: true(grid, device, None, None))


def _of_the_query(monkeypatch):
    def attend(self, q, k, v, grid):
        return Attention.attend(self, q, k, v, grid) + self.enhanced(q, grid)

    monkeypatch.setattr(lepe.LePE, "attend", attend)


PLANTED = {
    "windows ignored": _windows_ignored,
    "the windows of the other heads": _neighbours(lambda seen: seen.flip(1)),
    "windows of the first head for all": _neighbours(lambda seen: seen[:, :1]),
    "everything seen": _neighbours(lambda seen: torch.ones_like(seen)),
    "a border on the far side": _neighbours(lambda seen: seen.flip(0)),
    "taps column by column": _steps(lambda dy, dx: (dx, dy)),
    "taps turned": _steps(lambda dy, dx: (-dy, -dx)),
    "dropped": _enhanced(lambda true, self, v, grid: torch.zeros_like(v)),
    "twice": _enhanced(lambda true, self, v, grid: 2 * true(self, v, grid)),
    "of the query": _of_the_query,
    "no bias": _enhanced(lambda true, self, v, grid: true(self, v, grid) - true(self, torch.zeros_like(v), grid)),
}


def _turned(axis):
    def plant(monkeypatch):
        true = F.conv2d
        monkeypatch.setattr(lepe.F, "conv2d", lambda x, weight, *args, **kw: true(x, weight.flip(axis), *args, **kw))

    return plant


def _of_the_first_heads(monkeypatch):
    true = lepe.LePE._convolved

    def convolved(self, pieces, heads, grid):
        return true(self, pieces, slice(0, heads.stop - heads.start), grid)

    monkeypatch.setattr(lepe.LePE, "_convolved", convolved)


def _on_the_whole_grid(monkeypatch):
    monkeypatch.setattr(lepe.grouped, "over_windows", lambda pieces, groups, grid, of: of(pieces, slice(None), grid))


BY_TORCH = {
    "rows turned": _turned(-2),
    "columns turned": _turned(-1),
    "the weights of the first heads": _of_the_first_heads,
    "windows ignored": _on_the_whole_grid,
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_loops_reject_a_planted_error(plant, monkeypatch):
    plant(monkeypatch)
    with rejected():
        agrees_with_equation("lepe+cswin[stripe=2]+window[height=0,width=2]", SQUARE)


@pytest.mark.parametrize("plant", BY_TORCH.values(), ids=BY_TORCH)
def test_loops_reject_an_error_planted_in_torchs_convolution(plant, monkeypatch):
    plant(monkeypatch)
    with rejected():
        agrees_with_equation("lepe+cswin[stripe=2]", WIDE, 1)


def test_loops_reject_a_prefix_token_that_is_convolved(monkeypatch):
    true = lepe.LePE.enhanced
    monkeypatch.setattr(lepe.LePE, "enhanced", lambda self, v, grid: true(self, v, grid) + 0.1 * v)
    with rejected():
        agrees_with_equation("lepe", WIDE, 1)


def test_two_whole_attentions_are_refused():
    with pytest.raises(ValueError, match="each are a whole attention"):
        build("lepe+gpsa", WIDTH, 4, grid=SQUARE)


def test_the_convolution_is_cswins_module_by_name():
    attention = build("cswin+lepe", WIDTH, 4, grid=SQUARE)
    other = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH)
    attention.get_v.load_state_dict(other.state_dict())
    assert {name for name, _ in attention.named_parameters() if "get_v" in name} == {"get_v.weight", "get_v.bias"}
