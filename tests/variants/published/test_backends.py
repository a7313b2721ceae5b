"""Every backend gives eager's outputs and gradients where it serves the terms, and refuses the others in a sentence."""

from dataclasses import replace

import pytest
import torch

from variants import Unsupported, backends, build
from variants.backends import grouped, relative, sdpa, separable, tiled, tiles

from .agreement import SQUARE, WIDE, agree, agrees_with_eager, at, drawn, on, rejected, tokens

ADDED = [
    "sa", "psa", "rpe_1d[mode=bias]", "rpe_2d[mode=bias]", "rpe_2d[factorized=True,mode=bias]",
    "rpe_2d[extent=2,mode=bias]", "sp_sa[combine=add,hidden=4]", "sp_sa[combine=add,hidden=4,scope=layer]",
    "sp_sa[combine=add,form=table]", "swin[window=2]", "cswin[stripe=1]", "window[height=1,width=2]",
    "swin[window=2]+rpe_2d[extent=2,mode=bias]", "sp_sa[combine=add,hidden=4,scope=layer]+cswin[stripe=1]",
    "psa+window[height=1,width=1]", "cswin[stripe=2]+window[height=1,width=1]", "gpsa", "gpsa+swin[window=2]",
]  # fmt: skip
BEYOND = [
    "sp_sa", "sp_sa[hidden=4,scope=layer]", "sp_sa[form=table]", "sp_sa+psa", "sp_sa+swin[window=2]", "rpe_1d",
    "rpe_2d", "rpe_2d[factorized=True]", "rpe_2d+rpe_2d[factorized=True]+sp_sa", "rpe_2d+cswin[stripe=1]+sp_sa",
    "rpe_2d[extent=2]+psa+window[height=1,width=1]", "gpsa+sp_sa", "gpsa+rpe_2d",
]  # fmt: skip
WINDOWS = [
    "swin[window=2]", "swin[window=3]", "cswin[stripe=1]", "cswin[stripe=2]", "swin[window=2]+cswin[stripe=1]",
    "swin[window=2]+rpe_2d[extent=2,mode=bias]", "cswin[stripe=1]+sp_sa", "swin[window=3]+rpe_2d+psa+sp_sa",
    "swin[window=2]+rpe_2d[factorized=True]+sp_sa[form=table,scope=layer]", "gpsa+swin[window=2]",
    "swin[window=2]+rpe_2d[values=True]",
]  # fmt: skip
SEPARABLE = [  # keys of rows and of columns
    "decomposed", "decomposed[extent=2]", "rpe_2d[factorized=True]", "irpe[method=cross]",
    "decomposed+rpe_2d[factorized=True]", "decomposed+psa", "decomposed+swin[window=2]",
    "decomposed+window[height=1,width=1]", "gpsa+decomposed",
]  # fmt: skip
VALUED = ["rpe_1d[values=True]", "rpe_2d[values=True]", "gpsa+rpe_2d[mode=bias,values=True]"]
REFUSED = {
    "sp_sa": "prior", "sp_sa[form=linear]": "prior", "sp_sa[form=table]": "prior", "rpe_1d": sdpa.TOGETHER,
    "rpe_2d": sdpa.TOGETHER, "rpe_2d+decomposed": sdpa.TOGETHER, "rpe_2d[mode=bias,values=True]": "values",
    "rpe_1d[values=True]": f"{sdpa.TOGETHER}, values",
    "sp_sa+swin[window=2]": "prior", "decomposed+sp_sa": "prior", "irpe[method=cross,on=qk]": "queries",
}  # fmt: skip
# scores in a tile, and in a head's map that is one tile: several images a tile, the heads of one, one head, its rows
SIZES = {"images": (5000, 5000), "heads": (600, 600), "pairs of heads": (300, 300), "a head": (100, 400),
         "rows of a head": (10, 60), "a row": (1, 1)}  # fmt: skip


@at("prefix", 0, 1)
@on(SQUARE, WIDE)
@pytest.mark.parametrize("spec", ADDED)
def test_sdpa_is_eager_in_outputs_and_gradients(spec, grid, prefix):
    agrees_with_eager(spec, grid, prefix)


@at("prefix", 0, 2)
@on(SQUARE, WIDE, (3, 1), (1, 4), (1, 1))
@pytest.mark.parametrize("spec", SEPARABLE)
def test_sdpa_is_eager_for_keys_of_rows_and_of_columns(spec, grid, prefix):
    agrees_with_eager(spec, grid, prefix)


def test_keys_of_rows_and_columns_make_nothing_of_all_pairs():
    """A head is wider by a number for each row and each column; what is kept for the backward grows with the tokens."""
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    grid = (32, 32)
    attention, x = build("decomposed", 128, 2, grid=grid, backend="sdpa"), torch.randn(1, 1025, 128)
    q, k, v = attention.project(x, grid)
    terms = attention.terms(q, grid)
    assert [one.shape[-1] for one in separable.widened(q, k, v, terms)] == [separable.width(64, terms)] * 3 == [128] * 3
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        backends.BACKENDS["sdpa"](q, k, v, terms)
    assert sum(kept.values()) < 0.8 * 2 * 1025**2 * x.element_size()  # of one map of the two heads; eager keeps some
    assert attention.sdpa_kernel(x, grid) == "flash"


@at("prefix", 0, 2)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("spec", [*ADDED, *BEYOND])
def test_tiled_is_eager_in_outputs_and_gradients(spec, size, prefix, monkeypatch):
    tile_of(size, monkeypatch)
    agrees_with_eager(spec, WIDE, prefix, "tiled")


@on((1, 3), (3, 1), (1, 1), (4, 4))
@pytest.mark.parametrize("spec", ["sp_sa+psa", "rpe_2d", "rpe_2d[factorized=True]", "rpe_1d", "swin[window=2]"])
def test_tiled_is_eager_on_grids_with_a_side_of_one(spec, grid, monkeypatch):
    tile_of("rows of a head", monkeypatch)
    agrees_with_eager(spec, grid, 1, "tiled")


def tile_of(size, monkeypatch):
    monkeypatch.setattr(tiles, "CACHE", SIZES[size][0])
    monkeypatch.setattr(tiles, "WHOLE", SIZES[size][1])
    monkeypatch.setattr(tiles, "CHUNK", SIZES[size][0])


def test_the_sizes_of_tiles_are_what_they_are_called(monkeypatch):
    found = {}
    for size in SIZES:
        tile_of(size, monkeypatch)
        tile = tiles.Tile.sized(4, 15, 3)
        found[size] = (tile.images, tile.heads, tile.rows)
    assert found == {"images": (2, 4, 3), "heads": (1, 2, 3), "pairs of heads": (1, 1, 3), "a head": (1, 1, 3),
                     "rows of a head": (1, 1, 1), "a row": (1, 1, 1)}  # fmt: skip


@at("layer", 0, 1)
@on((4, 4), (3, 5), (6, 4), (2, 7))
@pytest.mark.parametrize("spec", WINDOWS)
def test_grouped_is_eager_in_outputs_and_gradients(spec, grid, layer):
    agrees_with_eager(spec, grid, 0, "grouped", layer)


@at("prefix", 0, 1)
@pytest.mark.parametrize("small", [True, False], ids=["small", "large"])
@pytest.mark.parametrize("spec", [*ADDED, *BEYOND, *WINDOWS, *VALUED])
def test_auto_is_eager_in_outputs_and_gradients(spec, small, prefix, monkeypatch):
    if not small:
        monkeypatch.setattr(backends, "SMALL", {"training": 0, "inference": 0})
    agrees_with_eager(spec, WIDE, prefix, "auto")


@at("prefix", 0, 1)
@pytest.mark.parametrize("backend", ["tiled", "sdpa"])
def test_a_backend_is_eager_in_training_and_in_inference_in_float32(backend, prefix):
    spec = "sp_sa[combine=add]" if backend == "sdpa" else "sp_sa+rpe_2d"
    attention = drawn(spec, (9, 8), backend=backend).float()
    x = tokens((9, 8), prefix).float()
    found = attention(x, (9, 8))
    with torch.inference_mode():
        agree(attention.eval()(x, (9, 8)), found, tolerance=1e-5)
    attention.backend = "eager"
    agree(found, attention(x, (9, 8)), tolerance=1e-5)


def test_tiled_serves_autocast_with_scores_in_float32():
    attention, x = drawn("sp_sa+psa", (9, 8), backend="tiled").float(), tokens((9, 8)).float().requires_grad_()
    exact = attention(x, (9, 8))
    with torch.autocast("cpu", torch.bfloat16):
        out = attention(x, (9, 8))
    out.float().square().sum().backward()
    assert out.dtype == torch.bfloat16
    agree(out, exact, tolerance=0.05)
    assert torch.isfinite(x.grad).all()


def test_tiled_keeps_what_sdpa_keeps_whatever_the_batch():
    """Nothing of N x N lives from the forward to the backward: what is kept beside q, k and v are the tables."""
    for batch in (1, 8):
        attention, x = build("sp_sa", 384, 6, grid=(14, 14), backend="tiled"), torch.randn(batch, 196, 384)
        kept = {}

        def keep(tensor, kept=kept):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        q, k, v = attention.project(x, (14, 14))
        terms = attention.terms(q, (14, 14))
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            backends.BACKENDS["tiled"](q, k, v, terms)
        qkv = q.untyped_storage().nbytes()
        assert q.untyped_storage().data_ptr() in kept
        assert sum(kept.values()) <= 1.05 * qkv


def test_tiled_says_that_it_has_no_second_derivative():
    attention, x = drawn("sp_sa", WIDE, backend="tiled"), tokens(WIDE).requires_grad_()
    with pytest.raises(Unsupported, match=r"no second derivative; for create_graph=True use backend=eager"):
        torch.autograd.grad(attention(x, WIDE).square().sum(), x, create_graph=True)
    attention.backend = "eager"
    (first,) = torch.autograd.grad(attention(x, WIDE).square().sum(), x, create_graph=True)
    first.sum().backward()


@pytest.mark.parametrize("spec", ["sp_sa", "rpe_2d", "swin[window=4]", "swin[window=4]+sp_sa", "gpsa+sp_sa"])
def test_a_layer_can_be_compiled(spec, monkeypatch):
    """On the first call, with the backends of larger maps, in training and in inference."""
    monkeypatch.setattr(backends, "SMALL", {"training": 0, "inference": 0})
    attention, x = drawn(spec, (8, 8), backend="auto").float(), tokens((8, 8)).float()
    torch._dynamo.reset()
    compiled = torch.compile(attention, backend="aot_eager")
    found = compiled(x, (8, 8))
    agree(found, attention(x, (8, 8)), tolerance=1e-5)
    found.sum().backward()
    attention.eval()
    with torch.no_grad():
        agree(compiled(x, (8, 8)), found, tolerance=1e-5)


@pytest.mark.parametrize("spec", REFUSED)
def test_sdpa_refuses_with_a_sentence_what_it_cannot_add(spec):
    attention = build(spec, 16, 4, grid=SQUARE, backend="sdpa")
    with pytest.raises(Unsupported, match=f"cannot serve {REFUSED[spec]}; use backend=eager or auto"):
        attention(torch.randn(1, 16, 16), SQUARE)


@pytest.mark.parametrize("spec", ["rpe_1d[values=True]", "gpsa+rpe_2d[mode=bias,values=True]"])
def test_tiled_refuses_values_with_a_sentence(spec):
    attention = build(spec, 16, 4, grid=SQUARE, backend="tiled")
    with pytest.raises(Unsupported, match="the tiled backend cannot serve values; use backend=eager or auto"):
        attention(torch.randn(1, 16, 16), SQUARE)


@pytest.mark.parametrize(
    ("spec", "prefix", "why"),
    [
        ("sp_sa", 0, "there are no groups"),
        ("swin[window=2]", 1, "a prefix token sees all windows"),
        ("swin[window=2]+window[height=1,width=1]", 0, "the mask does not stop at the windows"),
    ],
)
def test_grouped_refuses_with_a_sentence(spec, prefix, why):
    attention = build(spec, 16, 4, grid=SQUARE, backend="grouped")
    with pytest.raises(Unsupported, match=f"window by window, and {why}; use backend=eager or auto"):
        attention(torch.randn(1, prefix + 16, 16), SQUARE)


@pytest.mark.parametrize(
    "groups", [[0, 1, 1, 0], [0, 0, 0, 1], [0, 1, 2, 0]], ids=["diagonal", "a corner", "three of four"]
)
def test_groups_that_are_no_rectangles_are_refused_by_grouped_and_served_by_auto(groups):
    attention = drawn("swin[window=1]", (2, 2), backend="grouped")
    attention.relation.groups = lambda grid: torch.tensor([groups])
    with pytest.raises(Unsupported, match="these groups are not the rectangles between cuts across the grid"):
        attention(tokens((2, 2)), (2, 2))
    attention.backend = "auto"
    assert attention.executes(tokens((2, 2)), (2, 2)) == "eager"
    found = attention(tokens((2, 2)), (2, 2))
    assert torch.isfinite(found).all()


def test_windows_are_cut_into_as_few_runs_as_there_are_sizes():
    terms = drawn("swin[window=6]", (24, 24), layer=1).relation.terms((24, 24), torch.device("cpu"), torch.float32)
    (layout,) = grouped.layouts(terms.groups, terms.grid)
    assert layout.down == layout.across == ((1, 3), (3, 6), (1, 3))


AUTO = {
    ("sa", 16, 196): "sdpa", ("sp_sa", 16, 196): "tiled", ("sp_sa", 1, 16): "eager", ("psa", 16, 196): "tiled",
    ("rpe_2d", 16, 196): "tiled", ("window", 16, 196): "tiled", ("swin", 16, 196): "grouped",
    ("swin+sp_sa", 16, 196): "grouped", ("swin", 16, 197): "tiled", ("swin+window", 16, 196): "tiled",
    ("rpe_2d[values=True]", 16, 196): "eager", ("gpsa", 16, 196): "sdpa", ("gpsa+sp_sa", 16, 196): "tiled",
}  # fmt: skip


@pytest.mark.parametrize(("spec", "images", "tokens"), AUTO)
def test_auto_takes_the_first_backend_of_its_table_that_serves(spec, images, tokens):
    side = 4 if tokens == 16 else 14
    attention = build(spec, 36, 9, grid=(side, side))
    assert attention.executes(torch.empty(images, tokens, 36), (side, side)) == AUTO[spec, images, tokens]


@pytest.mark.parametrize(("width", "backend"), [(27, "tiled"), (28, "sdpa")])
def test_auto_widens_heads_to_twice_their_width_at_most(width, backend, monkeypatch):
    """Beyond it tiles are the faster ones."""
    monkeypatch.setattr(backends, "SMALL", {"training": 0, "inference": 0})
    attention, x = build("decomposed", 2 * width, 2, grid=(14, 14)), torch.empty(2, 197, 2 * width)
    assert attention.executes(x, (14, 14)) == backend


@pytest.mark.parametrize(("images", "backend"), [(4, "eager"), (5, "tiled")])
def test_auto_takes_the_plain_formula_for_maps_of_four_mebibytes(images, backend):
    attention, x = build("sp_sa", 24, 6, grid=(14, 14)), torch.empty(images, 196, 24)
    assert attention.executes(x, (14, 14)) == backend
    with torch.no_grad():
        assert attention.executes(x, (14, 14)) == backend


def test_training_and_inference_have_limits_of_their_own(monkeypatch):
    monkeypatch.setattr(backends, "SMALL", {"training": 2**17, "inference": 2**20})
    attention, x = build("sp_sa", 24, 6, grid=(14, 14)), torch.empty(2, 196, 24)
    assert attention.executes(x, (14, 14)) == "tiled"
    with torch.no_grad():
        assert attention.executes(x, (14, 14)) == "eager"


def _sdpa(change):
    true = backends.sdpa.attend
    return lambda q, k, v, terms: change(true, q, k, v, terms)


def _without(name, value):
    return _sdpa(lambda true, q, k, v, terms: true(q, k, v, replace(terms, **{name: value})))


WRONG = {
    "sa: scaled twice": ("sa", _sdpa(lambda true, q, k, v, t: true(q / 2, k, v, t))),
    "psa: bias dropped": ("psa", _without("bias", ())),
    "swin: groups dropped": ("swin[window=2]", _without("groups", None)),
    "window: mask dropped": ("window[height=1,width=1]", _without("kept", None)),
    "sa: gradient of the key lost": ("sa", _sdpa(lambda true, q, k, v, t: true(q, k.detach(), v, t))),
    "psa: gradient of the bias halved": (
        "psa",
        _sdpa(
            lambda true, q, k, v, t: true(
                q, k, v, type(t)(t.grid, bias=tuple((b + b.detach()) / 2 for b in t.bias))
            )
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("spec", "sdpa"), WRONG.values(), ids=WRONG)
def test_eager_rejects_a_backend_with_an_error(spec, sdpa, monkeypatch):
    monkeypatch.setitem(backends.BACKENDS, "sdpa", sdpa)
    with rejected():
        agrees_with_eager(spec, SQUARE)


PLANTED = {
    "tiled: offsets of the gradient reversed": (
        tiled, "from_pairs", lambda true: lambda *a: true(*a).flip(-1), "sp_sa+psa", "tiled"),
    "tiled: rows of the gradient in the other order": (
        tiled, "from_pairs", lambda true: lambda p, g, s, rows: true(p, g, s, rows[::-1]), "sp_sa+psa", "tiled"),
    "tiled: one image's gradient of the tables lost": (
        tiled._Sums, "add", lambda true: lambda self, d, raw: true(self, d[:4], raw[:4]), "sp_sa+psa", "tiled"),
    "tiled: gradient of the prior lost": (
        tiled._Sums, "add", lambda true: lambda self, d, raw: true(self, d, 0 * raw), "sp_sa", "tiled"),
    "tiled: gradient of the relative keys' table lost": (
        relative.Relative, "onto", lambda true: lambda self, table, windows: None, "rpe_2d", "tiled"),
    "tiled: relative keys off by a column": (
        relative.Relative, "_shifted", lambda true: lambda *a: true(*a).flip(-1), "rpe_2d", "tiled"),
    "tiled: relative keys off by a row": (
        relative.Relative, "_window", lambda true: lambda self, t, y: true(self, t, self.h - 1 - y), "rpe_2d", "tiled"),
    "tiled: prior of the first rows for all": (
        tiled.Tiles, "blocks", lambda true: lambda *a: (replace(b, prior=b.prior.flip(1)) for b in true(*a)), "sp_sa",
        "tiled"),
    "tiled: rows left as they were": (
        tiles.Tiles, "_exchange", lambda true: lambda self, to, x, block: to.copy_(x), "sp_sa", "tiled"),
    "tiled: a tile left out": (
        tiles.Tiles, "cut", lambda true: lambda self, chunk: [*true(self, chunk)][:1] * 2, "sa", "tiled"),
    "sdpa: rows and columns exchanged": (
        separable, "_marks", lambda true: lambda table, grid: true(table.mT, grid[::-1]), "decomposed", "sdpa"),
    "sdpa: a query's products in the other order": (
        separable, "met", lambda true: lambda *a: true(*a).flip(4), "decomposed", "sdpa"),
    "sdpa: half of the gradient of the keys' table lost": (
        separable, "met", lambda true: lambda x, table, grid: true(x, (table + table.detach()) / 2, grid), "decomposed",
        "sdpa"),
    "sdpa: divided by the root of the wider head": (
        separable, "widened", lambda true: lambda *a: [x * (4 / 16) ** 0.25 for x in true(*a)], "decomposed", "sdpa"),
    "grouped: the tables' corner instead of their middle": (
        grouped, "_middle", lambda true: lambda t, grid: true(t.roll(1, -1), grid), "swin[window=2]+psa", "grouped"),
    "grouped: windows laid down and across exchanged": (
        grouped, "_together", lambda true: lambda x, down, across: true(x.flip(0), down, across), "swin[window=2]",
        "grouped"),
    "grouped: the same heads twice": (
        grouped, "layouts", lambda true: lambda *at: tuple(x._replace(heads=slice(0, 2)) for x in true(*at)),
        "cswin[stripe=1]", "grouped"),
}  # fmt: skip


@pytest.mark.parametrize("error", PLANTED)
def test_eager_rejects_an_error_planted_in_a_backend(error, monkeypatch):
    place, name, change, spec, backend = PLANTED[error]
    monkeypatch.setattr(place, name, change(getattr(place, name)))
    with rejected():
        for size in ("images", "rows of a head"):
            tile_of(size, monkeypatch)
            agrees_with_eager(spec, SQUARE, 0, backend)


def test_a_backend_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="there is no backend 'fast'; choose auto"):
        build("sa", 16, 4, grid=SQUARE, backend="fast")
