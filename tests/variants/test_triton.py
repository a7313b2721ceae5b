"""The triton backend against eager in float64, its kernels run by Triton's interpreter (tests/conftest.py)."""

import importlib
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from variants import Unsupported, backends, build, names
from variants.backends import choose, eager, triton
from variants.backends.triton import layout
from variants.relation import Terms

pytestmark = pytest.mark.skipif(
    not triton.INSTALLED or torch.cuda.is_available(), reason="without Triton, or with a GPU, nothing is interpreted"
)
if triton.INSTALLED:
    from variants.backends.triton import gradients, kernels, launch, operator


@pytest.fixture(scope="module", autouse=True)
def _patched_once():
    """The interpreter readies Triton's language for each call of a function in a kernel: here once a launch.

    And it writes down for each number which type of NumPy's each of Triton's is: here once.
    """
    from triton.runtime import interpreter

    launch, ready, done = interpreter.GridExecutor.__call__, interpreter._patch_lang, set()
    true, known = interpreter._get_np_dtype, {}

    def launched(self, *given, **named):
        done.clear()
        launch(self, *given, **named)

    def once(function):
        if function.__module__ in done:
            return None
        done.add(function.__module__)
        return ready(function)

    def numpys(kind):
        scalar = kind.scalar
        if scalar.name not in known:
            known[scalar.name] = true(scalar)
        return known[scalar.name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter.GridExecutor, "__call__", launched)
        patch.setattr(interpreter, "_patch_lang", once)
        patch.setattr(interpreter, "_get_np_dtype", numpys)
        yield


SERVED = [
    "sa", "sp_sa", "rel_bias", "sp_sa[scope=layer]+psa", "rpe_2d[factorized=True,mode=bias]", "swin[window=2]",
    "swin[window=3]+sp_sa", "cswin[stripe=1]+sp_sa", "window[height=1,width=2]+sp_sa", "gpsa+sp_sa",
    "swin[window=4]+window[height=2,width=2]", "rpe_2d", "rpe_1d+sp_sa", "decomposed", "irpe[mode=contextual,on=k]",
    "swin[window=3]+rpe_2d+gpsa", "window[height=1,width=2]+rpe_2d+sp_sa",
]  # fmt: skip
GRIDS = {(1, 1): 0, (1, 17): 0, (7, 7): 1, (3, 5): 2, (8, 12): 1}  # and prefix tokens: N of 1, 17, 50, 17, 97
SIXTEEN = 16  # numbers a head
LIMIT = 3e-5  # of float32


def layer(spec, backend, grid, heads=4, width=SIXTEEN, dtype=torch.float32):
    torch.manual_seed(0)
    attention = build(spec, width * heads, heads, grid=grid, layer=1, backend=backend)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return attention.to(dtype)


def step(spec, backend, grid, prefix, dtype=torch.float32, images=2, **settings):
    """The output and all gradients."""
    attention = layer(spec, backend, grid, dtype=dtype, **settings)
    torch.manual_seed(1)
    x = torch.randn(images, prefix + grid[0] * grid[1], attention.qkv.in_features, dtype=torch.float64).to(dtype)
    x.requires_grad_()
    out = attention(x, grid)
    out.sin().sum().backward()
    gradients = {name: p.grad for name, p in attention.named_parameters() if p.grad is not None}
    return {"out": out.detach(), "x": x.grad} | gradients


def furthest(found, expected):
    """The largest error of all that is not zero, beside the largest of its numbers."""
    assert found.keys() == expected.keys()
    gaps = {
        name: float((found[name].double() - value.double()).abs().max() / value.abs().max())
        for name, value in expected.items() if value.abs().max() > 1e-5
    }  # fmt: skip
    return max(gaps.values())


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("spec", SERVED)
def test_outputs_and_gradients_are_eagers(spec, grid):
    settings = {"heads": 1} if grid == (8, 12) else {"images": 2 if grid == (3, 5) else 1}  # the interpreter is slow
    expected = step(spec, "eager", grid, GRIDS[grid], torch.float64, **settings)
    assert furthest(step(spec, "triton", grid, GRIDS[grid], **settings), expected) < LIMIT


@pytest.mark.parametrize("name", [name for name in names() if name not in SERVED])
def test_every_variant_is_served_or_refused(name):
    grid = (4, 5)
    attention = layer(name, "triton", grid)
    x = torch.randn(1, 21, attention.qkv.in_features)
    if "triton" in backends.serving(attention.terms(x, grid), 21):
        assert furthest(step(name, "triton", grid, 1), step(name, "eager", grid, 1, torch.float64)) < LIMIT
    else:
        with pytest.raises(Unsupported, match=r"the triton backend .*; use backend="):
            attention(x, grid)


@pytest.mark.parametrize("width", [32, 64, 96, 128])
@pytest.mark.parametrize("spec", ["sp_sa+rel_bias", "rpe_2d"])
def test_heads_of_the_usual_widths(spec, width):
    settings = {"heads": 1, "width": width, "images": 1}
    expected = step(spec, "eager", (4, 4), 1, torch.float64, **settings)
    assert furthest(step(spec, "triton", (4, 4), 1, **settings), expected) < LIMIT


@pytest.mark.parametrize("spec", ["sp_sa", "rpe_2d"])
def test_224_pixels(spec):
    expected = step(spec, "eager", (14, 14), 0, torch.float64, images=1, heads=1)
    assert furthest(step(spec, "triton", (14, 14), 0, images=1, heads=1), expected) < LIMIT


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float16, 4e-3), (torch.bfloat16, 3e-2)], ids=str)
@pytest.mark.parametrize("spec", ["sp_sa+rel_bias", "rpe_2d"])
def test_half_precision_sums_in_float32(spec, dtype, limit):
    """As far off as rounding the inputs and outputs is: the interpreter truncates where a card rounds."""
    grid = (3, 5)
    attention = layer(spec, "triton", grid)
    q, k, v = (torch.randn(2, 4, 16, SIXTEEN, dtype=dtype).requires_grad_() for _ in range(3))
    terms = attention.terms(q, grid)
    exact = [x.detach().double().requires_grad_() for x in (q, k, v)]
    learned = [p for p in attention.relation.parameters() if p.requires_grad]
    found, expected = (
        torch.autograd.grad(function(*given, terms).double().sin().sum(), (*given, *learned), retain_graph=True)
        for function, given in ((triton.attend, (q, k, v)), (eager.attend, exact))
    )
    assert found[0].dtype == dtype
    for one, true in zip(found, expected, strict=True):
        assert float((one.double() - true).norm() / true.norm()) < limit


def test_each_head_may_have_keys_of_its_own():
    """In heads of 24, beside a prefix token."""
    q, k, v = (torch.randn(2, 2, 13, 24, requires_grad=True) for _ in range(3))
    keys = torch.randn(2, 24, 5, 7, requires_grad=True)
    found, expected = [], []
    for function, into, cast in ((triton.attend, found, torch.float32), (eager.attend, expected, torch.float64)):
        given = [x.to(cast) for x in (q, k, v, keys)]
        out = function(*given[:3], Terms((3, 4), keys=(given[3],)))
        into += [out.detach(), *torch.autograd.grad(out.sin().sum(), (q, k, v, keys))]
    for one, true in zip(found, expected, strict=True):
        assert float((one - true).abs().max() / true.abs().max()) < LIMIT


def recorded(monkeypatch):
    """The names of the kernels that are launched, in their order."""
    launched = []
    for name in ("forward", "backward_queries", "backward_keys", "tables", "collect", "contexts"):
        module = kernels if hasattr(kernels, name) else gradients
        true = getattr(module, name)

        class Told:
            def __init__(self, name, true):
                self.name, self.true = name, true

            def __getitem__(self, grid):
                launched.append(self.name)
                return self.true[grid]

        monkeypatch.setattr(module, name, Told(name, true))
    return launched


@pytest.mark.parametrize(
    ("needed", "expected"),
    [
        ("qkv prior bias", ["forward", "backward_queries", "backward_keys", "tables", "collect", "collect"]),
        ("keys", ["forward", "backward_queries", "contexts"]),
        ("q", ["forward", "backward_queries"]),
        ("k", ["forward", "backward_queries", "backward_keys"]),
        ("bias", ["forward", "backward_queries", "tables", "collect"]),
        ("", ["forward"]),
    ],
)
def test_only_the_gradients_that_are_needed_are_computed(needed, expected, monkeypatch):
    launched = recorded(monkeypatch)
    of_tokens = next((word for word in needed.split() if set(word) <= set("qkv")), "")
    q, k, v = (torch.randn(1, 2, 12, SIXTEEN, requires_grad=name in of_tokens) for name in "qkv")
    sizes = {"prior": (2, 5, 7), "bias": (2, 5, 7), "keys": (1, SIXTEEN, 5, 7)}
    tables = {name: torch.randn(size, requires_grad=name in needed.split()) for name, size in sizes.items()}
    out = triton.attend(q, k, v, Terms((3, 4), **{name: (table,) for name, table in tables.items()}))
    if needed:
        out.sum().backward()
    assert launched == expected


def trained():
    return step("sp_sa+rel_bias+rpe_2d+swin[window=3]", "triton", (6, 12), 1, images=5, heads=1)


def test_gradients_have_the_same_bits_in_any_order_of_the_programs(monkeypatch):
    """In two runs, and with the grid of programs walked from its end."""
    from triton.runtime import interpreter

    first, again = trained(), trained()
    walked = []
    monkeypatch.setattr(interpreter, "range", lambda n: walked.append(n) or reversed(range(n)), raising=False)
    turned = trained()
    assert walked
    for name, value in first.items():
        assert torch.equal(value, again[name])
        assert torch.equal(value, turned[name]), name


def products(monkeypatch):
    """How many products of blocks the interpreter makes."""
    from triton.runtime import interpreter

    made, true = [], interpreter.InterpreterBuilder.create_dot
    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", lambda *a: made.append(1) or true(*a))
    return made


def test_blocks_without_a_kept_pair_are_left_out(monkeypatch):
    made, counts = products(monkeypatch), {}
    for spec in ("sa", "swin[window=4]", "window[height=1,width=16]"):
        attention = layer(spec, "triton", (8, 32), heads=1)
        attention(torch.randn(1, 256, SIXTEEN), (8, 32)).sum().backward()
        counts[spec] = len(made)
        made.clear()
    assert counts["swin[window=4]"] <= 0.4 * counts["sa"]
    assert counts["window[height=1,width=16]"] <= 0.7 * counts["sa"]


def test_no_tensor_of_all_pairs_is_made(monkeypatch):
    """Neither forward nor backward: on one row of 256 patches tables have 511 entries, and pairs are 65,536."""
    made, true = [], torch.empty
    monkeypatch.setattr(torch, "empty", lambda *a, **k: made.append(true(*a, **k)) or made[-1])
    q, k, v = (torch.randn(1, 1, 256, SIXTEEN, requires_grad=True) for _ in range(3))
    bias, keys = torch.randn(1, 1, 511, requires_grad=True), torch.randn(1, SIXTEEN, 1, 511, requires_grad=True)
    triton.attend(q, k, v, Terms((1, 256), bias=(bias,), keys=(keys,))).sum().backward()
    assert made
    assert keys.grad.any()
    assert max(x.numel() for x in made) < 256 * 256 / 8


# an error in the text of the kernels, and the gradient or output that it spoils
PLANTED = {
    "the running sum is not scaled": ("total = total * shrunk +", "total = total +"),
    "the running mixture is not scaled": ("mixed * shrunk[:, None] + tl", "mixed + tl"),
    "a prefix token has prior 0": ("other=1.0)", "other=0.0)"),
    "prefix tokens have places": ("patch_q, patch_k = (offs_q >= prefix) & (offs_q < tokens), (offs_k >= prefix) &",
                                  "patch_q, patch_k = offs_q < tokens,"),
    "the offset is query - key": ("of_k[None, :] - of_q[:, None]", "of_q[:, None] - of_k[None, :]"),
    "delta is not subtracted": ("weights * (slopes - drop)", "weights * slopes"),
    "the prior is left out of the gradient": ("of_scores = slopes * factor", "of_scores = slopes"),
    "the gradient of the prior is that of a bias": ("with_prior += slopes * scores", "with_prior += slopes"),
    "another chunk of images is left out": ("begin + (number - start)", "begin"),
    "windows are not asked": ("kept = kept & (same | ~patches)", "kept = kept"),
    "a key of another block counts": ("there = (key >= 0) & (key < KEYS)", "there = (key >= -KEYS) & (key < KEYS)"),
    "the last block of offsets is left out": ("tl.cdiv(tl.load(spans + slot), KEYS)",
                                              "tl.load(spans + slot) // KEYS"),
    "only the first pair of blocks is collected": ("for step in range(0, tl.load(counts + part)):",
                                                   "for step in range(0, 1):"),
    "dk is not scaled": ("of_keys * scale", "of_keys"),
    "only the first run of offsets meets the queries": ("found += tl.where(here, tl.gather",
                                                        "found = found if part else tl.where(here, tl.gather"),
    "a prefix token meets vectors": ("here = patches & (own >= 0)", "here = (own >= 0)"),
    "a pair picks the first offset of a run": ("tl.where(here, own, 0), 0 if", "tl.where(here, 0, 0), 0 if"),
    "dq has nothing of the vectors": ("sums += tl.dot(laid.to(DOT), vectors", "tl.dot(laid.to(DOT), vectors"),
    "only the first run gives dq": ("for part in range(0, tl.cdiv(span, KEYS)):", "for part in range(0, 1):"),
    "the gradient of vectors is not scaled": ("total * scale, WIDTH)", "total, WIDTH)"),
    "only the first row gives vectors": ("tl.minimum(high, high - down)):", "tl.maximum(0, -down) + 1):"),
    "another block of a row is left out": ("range(nearest, furthest + 1)", "range(nearest, nearest + 1)"),
    "rows of offsets are upside down": ("(down + high - 1) * (2 * wide - 1)", "(high - 1 - down) * (2 * wide - 1)"),
    "the prior reaches the gradient of vectors": ("_, slopes, _, _ = remade(", "_, _, slopes, _ = remade("),
}  # fmt: skip
OF_IMAGES = {"another chunk of images is left out"}  # seen only with several chunks
OF_WIDTH = {"another block of a row is left out"}  # and with rows of more than sixteen
FILES = ("blocks", "kernels", "gradients")


@pytest.mark.parametrize("error", PLANTED)
def test_a_planted_error_is_seen(error, tmp_path, monkeypatch):
    right, wrong = PLANTED[error]
    folder, here, times = Path(kernels.__file__).parent, tmp_path / "planted", 0
    here.mkdir()
    for name in FILES:
        source = (folder / f"{name}.py").read_text()
        times += source.count(right)
        planted = source.replace(right, wrong).replace("variants.backends.triton.", "planted.")
        (here / f"{name}.py").write_text(planted)
    assert times >= 1
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("kernels", "gradients"):
        monkeypatch.setattr(operator, name, importlib.import_module(f"planted.{name}"))
    images = 5 if error in OF_IMAGES else 1  # the interpreter is slow
    grid, settings = (2, 18) if error in OF_WIDTH else (6, 13), {"images": images, "heads": 1}
    spec = "swin[window=6]+sp_sa+rel_bias+rpe_2d"
    expected = step(spec, "eager", grid, 1, torch.float64, **settings)
    try:
        assert not furthest(step(spec, "triton", grid, 1, **settings), expected) < 1e-3
    finally:
        for name in ("planted", *(f"planted.{name}" for name in FILES)):
            sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("spec", "dtype", "width", "words"),
    [
        ("irpe[on=qk]", torch.float32, 16, "cannot serve queries; use backend=eager or auto"),
        ("sp_sa", torch.float64, 16, "has no float64; use backend=eager or auto"),
        ("sp_sa", torch.float32, 144, "heads of up to 128 numbers, and these have 144"),
        ("neighborhood", torch.float32, 16, "masks by offset and windows, and this mask is neither"),
    ],
)
def test_what_it_cannot_do_it_refuses_in_a_sentence(spec, dtype, width, words):
    attention = layer(spec, "triton", (9, 9), heads=1, width=width, dtype=dtype)
    with pytest.raises(Unsupported, match=words):
        attention(torch.randn(1, 81, width, dtype=dtype), (9, 9))


def test_without_a_gpu_and_without_the_interpreter_it_says_so(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET")
    attention = layer("sp_sa", "triton", (3, 3))
    with pytest.raises(Unsupported, match="runs on a GPU, and this is on cpu; use backend=eager or auto"):
        attention(torch.randn(1, 9, 64), (3, 3))


def test_without_triton_it_says_so(monkeypatch):
    monkeypatch.setattr(triton, "INSTALLED", False)
    attention = layer("sp_sa", "triton", (3, 3))
    with pytest.raises(Unsupported, match="wants Triton, which comes with torch for CUDA on Linux"):
        attention(torch.randn(1, 9, 64), (3, 3))


class Card(torch.Tensor):
    """A tensor that says that it is on a GPU."""

    device = torch.device("cuda")


@pytest.mark.parametrize(
    ("spec", "dtype", "taken"),
    [
        ("sa", torch.float32, "sdpa"),
        ("sp_sa", torch.bfloat16, "triton"),
        ("rel_bias", torch.float16, "triton"),
        ("rel_bias", torch.float32, "sdpa"),
        ("rel_bias", torch.float64, "sdpa"),
        ("sp_sa", torch.float64, "eager"),
        ("rpe_2d", torch.bfloat16, "triton"),
        ("rpe_2d", torch.float32, "eager"),
        ("rpe_2d+sp_sa", torch.bfloat16, "triton"),
        ("decomposed", torch.bfloat16, "sdpa"),
        ("decomposed+rel_bias", torch.bfloat16, "triton"),
        ("neighborhood", torch.bfloat16, "sdpa"),
        ("swin[window=2]", torch.bfloat16, "grouped"),
    ],
)
def test_auto_takes_it_on_a_gpu_where_it_serves(spec, dtype, taken, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    terms = layer(spec, "auto", (4, 4)).terms(torch.empty(0, dtype=torch.float32), (4, 4))
    like = torch.empty(0, dtype=dtype).as_subclass(Card)
    assert choose("auto", like, (8, 4, 16, SIXTEEN), terms) == taken


@pytest.mark.parametrize("heads", [1, 2])
def test_torch_knows_the_operator(heads):
    """Its schema, its shapes without numbers, its gradient: torch's own checks."""
    given = (*(torch.randn(1, 2, 13, SIXTEEN, requires_grad=True) for _ in range(3)),
             torch.randn(2, 35, requires_grad=True), torch.randn(1, 35, requires_grad=True),
             torch.randn(heads, 35, SIXTEEN, requires_grad=True), None, None, [3, 4], 1)  # fmt: skip
    torch.library.opcheck(operator.attention, given)


@pytest.mark.parametrize("mask", ["swin[window=2]", "window[height=1,width=1]"])
def test_a_compiled_layer_is_one_graph(mask):
    torch._dynamo.reset()  # else sides that other tests compiled for are sides that change
    attention = layer(f"sp_sa+{mask}", "triton", (4, 4), heads=1)
    compiled = torch.compile(attention, fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 17, SIXTEEN, requires_grad=True)
    found, expected = [], []
    for function, into in ((compiled, found), (attention, expected)):
        out = function(x, (4, 4))
        into += [out.detach(), *torch.autograd.grad(out.sin().sum(), [x, attention.relation.parts[0].function.w1])]
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_the_forward_can_be_exported():
    class Model(torch.nn.Module):
        def forward(self, q, k, v, bias):
            return operator.attention(q, k, v, None, bias, None, None, None, [3, 4], 0)[0]

    given = (*(torch.randn(1, 2, 12, SIXTEEN) for _ in range(3)), torch.randn(2, 35))
    exported = torch.export.export(Model(), given)
    assert torch.equal(exported.module()(*given), Model()(*given))


@pytest.mark.parametrize(("keys", "times"), [((), 7), ((torch.randn(1, SIXTEEN, 5, 7, requires_grad=True),), 11)])
def test_torch_counts_its_operations(keys, times):
    """As it counts its own attention: two products forward, five more backward; with keys three and eight."""
    q, k, v = (torch.randn(2, 3, 12, SIXTEEN, requires_grad=True) for _ in range(3))
    product = 2 * 2 * 3 * 12 * 12 * SIXTEEN
    with FlopCounterMode(display=False) as counter:
        triton.attend(q, k, v, Terms((3, 4), keys=keys)).sum().backward()
    assert counter.get_total_flops() == times * product


@pytest.mark.parametrize(("spec", "given"), [("window[height=1,width=2]", True), ("neighborhood", False)])
def test_a_mask_is_known_by_its_offsets(spec, given):
    grid = (9, 10)
    kept = layer(spec, "eager", grid).terms(torch.empty(0), grid).kept
    found = layout.offsets_of(kept, grid)
    assert (found is not None) == given
    if given:
        assert not layout.offsets_of(kept.logical_not(), grid).equal(found)


def test_what_is_worked_out_for_a_mask_is_worked_out_once(monkeypatch):
    made, true = [], layout._laid_out
    monkeypatch.setattr(layout, "_laid_out", lambda *a: made.append(1) or true(*a))
    attention = layer("swin[window=2]+sp_sa", "triton", (4, 6))
    for _ in range(3):
        attention(torch.randn(1, 24, 64), (4, 6)).sum().backward()
    assert len(made) == 1


def given(**settings):
    made = {"q": (1, 2, 12, SIXTEEN), "k": (1, 2, 12, SIXTEEN), "v": (1, 2, 12, SIXTEEN)} | settings
    return [torch.randn(shape) for shape in made.values()]


@pytest.mark.parametrize(
    ("settings", "heads", "words"),
    [
        ({"k": (1, 2, 9, SIXTEEN)}, 2, "are to have one shape"),
        (
            {"q": (1, 4, 12, SIXTEEN), "k": (1, 4, 12, SIXTEEN), "v": (1, 4, 12, SIXTEEN)},
            2,
            "2 heads meets queries of 4",
        ),
    ],
)
def test_shapes_that_a_kernel_would_read_beyond_are_refused(settings, heads, words):
    with pytest.raises(ValueError, match=words):
        triton.attend(*given(**settings), Terms((3, 4), bias=(torch.randn(heads, 5, 7),)))


@pytest.mark.parametrize(("shape", "words"), [((2, 8, 5, 7), "keys of 8 numbers meet queries of 16"),
                                              ((3, 16, 5, 7), "3 heads meets queries of 2")])  # fmt: skip
def test_keys_that_a_kernel_would_read_beyond_are_refused(shape, words):
    with pytest.raises(ValueError, match=words):
        triton.attend(*given(), Terms((3, 4), keys=(torch.randn(shape),)))


def test_derivatives_that_it_does_not_have_are_refused():
    """They would be zero without a word forward, and torch's own error in second place."""
    q, k, v = (x.requires_grad_() for x in given())
    out = triton.attend(q, k, v, Terms((3, 4)))
    with pytest.raises(Unsupported, match="no second derivative; for create_graph=True use backend=eager"):
        torch.autograd.grad(out.sum(), q, create_graph=True)
    with pytest.raises(Unsupported, match="no forward-mode derivative; use backend=eager or auto"):
        torch.func.jvp(lambda x: triton.attend(x, k, v, Terms((3, 4))), (q.detach(),), (q.detach(),))


def test_a_layout_is_that_of_its_own_mask_groups_and_grid():
    """One mask beside other groups in each call, whose places in memory are used again; one mask on two grids."""
    q, k, v = given()
    kept = torch.ones(1, 12, 12, dtype=torch.bool)
    for number in range(6):
        groups = torch.randint(0, 3, (1, 12), generator=torch.Generator().manual_seed(number))
        terms = Terms((3, 4), kept=kept, groups=groups)
        assert (triton.attend(q, k, v, terms) - eager.attend(q, k, v, terms)).abs().max() < LIMIT
    near = layer("window[height=1,width=1]", "eager", (3, 4)).terms(q, (3, 4)).kept
    assert triton.by_offset(near, (3, 4))
    assert not triton.by_offset(near, (1, 12))


def test_an_empty_batch_has_gradients():
    q, k, v = (torch.randn(0, 2, 12, SIXTEEN, requires_grad=True) for _ in range(3))
    bias = torch.randn(2, 5, 7, requires_grad=True)
    triton.attend(q, k, v, Terms((3, 4), bias=(bias,))).sum().backward()
    assert q.grad.shape == q.shape
    assert not bias.grad.any()


@pytest.mark.parametrize(("setting", "precision"), [("ieee", "tf32x3"), ("tf32", "tf32")])
def test_float32_is_multiplied_as_torch_is_told_to(setting, precision):
    before = torch.backends.cuda.matmul.fp32_precision
    try:
        torch.backends.cuda.matmul.fp32_precision = setting
        assert launch.numbers(torch.float32)["PRECISION"] == precision
        assert launch.numbers(torch.bfloat16)["PRECISION"] == "tf32x3"
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


@pytest.mark.parametrize(("capability", "served"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_older_cards_are_refused(capability, served, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    why = triton.obstacle(Terms((3, 4)), torch.device("cuda"), torch.bfloat16, 64)
    assert (why is None) == served
    assert served or why == "wants an NVIDIA GPU of capability 8.0 or newer"
