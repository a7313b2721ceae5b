"""FlexAttention on reordered tokens: the order with the fewest blocks, eager's outputs, and errors that are seen."""

import pytest
import torch
from torch.nn.attention import flex_attention as torchs

from variants import build
from variants.backends import flex, order
from variants.relation import Terms

CASES = [
    ("neighborhood[kernel=7]+sp_sa", (32, 32), 0), ("cswin[stripe=4]+psa", (32, 32), 1),
    ("swin[window=4]+sp_sa", (8, 32), 0), ("neighborhood[kernel=5]+sp_sa", (5, 7), 0),
    ("cswin[stripe=2]+psa", (5, 7), 1),
]  # fmt: skip


@pytest.fixture
def traced(monkeypatch):
    """FlexAttention traced and not compiled: its formula by torch's own reference, in no time."""
    monkeypatch.setattr(flex, "compiled", lambda: torch.compile(torchs.flex_attention, backend="aot_eager"))


def layer(spec, grid, prefix, device="cpu", width=32):
    torch.manual_seed(0)
    attention = build(spec, width, 4, grid=grid, layer=1).to(device)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return attention, torch.randn(1, prefix + grid[0] * grid[1], width, device=device)


def far(attention, x, grid):
    """How far flex is from eager, of the largest number."""
    found = []
    for backend in ("flex", "eager"):
        attention.backend = backend
        found.append(attention(x, grid))
    return float((found[0] - found[1]).abs().max() / found[1].abs().max())


def moved(attention, x, grid):
    """Whether flex puts the tokens in another order."""
    return flex.blocks(attention.terms(x, grid), x[None], x.shape[1] - grid[0] * grid[1])[1] is not None


def near(grid, reach):
    """bool [1, N, N]: the pairs at most `reach` patches apart in both directions."""
    y, x = (place.flatten() for place in torch.meshgrid(*map(torch.arange, grid), indexing="ij"))
    return (torch.maximum((y[:, None] - y).abs(), (x[:, None] - x).abs()) <= reach)[None]


def by_loops(mask, block, prefix, places):
    """The blocks that have a pair in them, pair by pair; places: the row-major number of each patch in turn."""
    turn = {int(place): number + prefix for number, place in enumerate(places)}
    found = {(head, turn[i] // block, turn[j] // block) for head, i, j in mask.nonzero().tolist()}
    tokens = range(prefix + mask.shape[1])
    for head in range(len(mask)):
        found |= {pair for one in range(prefix) for other in tokens
                  for pair in ((head, one // block, other // block), (head, other // block, one // block))}  # fmt: skip
    return len(found)


# ---- orders


@pytest.mark.parametrize("grid", [(4, 4), (5, 7), (3, 8)])
def test_an_order_visits_every_patch_once_and_its_strips_are_walked_to_and_fro(grid):
    for rows in range(1, grid[0] + 1):
        assert order.strips(grid, rows).sort().values.tolist() == list(range(grid[0] * grid[1]))
    assert order.strips((4, 3), 2).tolist() == [0, 3, 1, 4, 2, 5, 11, 8, 10, 7, 9, 6]


def test_a_block_is_a_compact_rectangle():
    for number, block in enumerate(order.strips((32, 32), 4).split(16)):
        y, x = block // 32, block % 32
        assert (y.max() - y.min(), x.max() - x.min()) == (3, 3), number


@pytest.mark.parametrize(("block", "prefix", "rows", "fewer"), [(16, 0, 848, 484), (16, 1, 1033, 625)])
def test_a_local_mask_fills_fewer_blocks_than_row_major(block, prefix, rows, fewer):
    mask = near((32, 32), 3)
    assert by_loops(mask, block, prefix, range(1024)) == order.filled(mask, block, prefix) == rows
    places = order.best(mask, (32, 32), block, prefix)
    assert by_loops(mask, block, prefix, places) == fewer
    every = [order.strips((32, 32), number) for number in range(1, 9)]
    assert fewer == min(order.filled(mask[:, one][:, :, one], block, prefix) for one in every)
    assert order.filled(mask[:, places], block, prefix) > fewer  # mutant: the queries alone are moved


@pytest.mark.parametrize("prefix", [0, 1])
def test_the_blocks_that_are_counted_are_those_that_torch_executes(prefix):
    terms = Terms((32, 32), kept=near((32, 32), 3))
    masked, places = flex.blocks(terms, torch.zeros(1, 1, prefix + 1024, 8), prefix)
    executed = int(masked.kv_num_blocks.sum() + masked.full_kv_num_blocks.sum())
    assert executed == by_loops(terms.kept, flex.BLOCK["cpu"], prefix, places[prefix:] - prefix)
    assert places[:prefix].tolist() == list(range(prefix))


def test_ties_are_row_majors_and_nothing_is_moved():
    assert order.best(torch.ones(1, 64, 64, dtype=torch.bool), (8, 8), 16, 0) is None
    rows = torch.arange(64) // 8
    assert order.best((rows[:, None] == rows)[None], (8, 8), 16, 0) is None
    columns = torch.arange(64) % 8
    assert order.best((columns[:, None] == columns)[None], (8, 8), 16, 0) is not None


def test_without_a_mask_nothing_is_moved(traced):
    attention, x = layer("sp_sa", (8, 8), 0)
    assert flex.blocks(attention.terms(x, (8, 8)), x[None], 0) == (None, None)


# ---- outputs


@pytest.mark.parametrize(("spec", "grid", "prefix"), CASES)
@torch.no_grad()
def test_outputs_are_eagers(spec, grid, prefix, traced):
    attention, x = layer(spec, grid, prefix)
    assert far(attention, x, grid) < 1e-5
    assert moved(attention, x, grid)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("_back", lambda out, places: out),
        ("score_mod", lambda terms, device, prefix, places: true_score_mod(terms, device, prefix, None)),
        ("blocks", lambda terms, q, prefix: (true_blocks(terms, q, prefix)[0], None)),
    ],
    ids=["a permutation that is not undone", "a prior read at the new place", "a mask of other tokens"],
)
@torch.no_grad()
def test_an_error_in_the_order_is_seen(name, wrong, traced, monkeypatch):
    attention, x = layer("neighborhood[kernel=5]+sp_sa", (9, 16), 1)
    assert moved(attention, x, (9, 16))
    assert far(attention, x, (9, 16)) < 1e-5
    monkeypatch.setattr(flex, name, wrong)
    assert far(attention, x, (9, 16)) > 1e-2


true_score_mod, true_blocks = flex.score_mod, flex.blocks


def test_an_order_that_was_found_in_inference_serves_a_backward(traced, monkeypatch):
    monkeypatch.setattr(torchs, "_validate_device", lambda *tensors: None)
    monkeypatch.setattr(flex, "_no_backward", lambda *tensors: False)
    attention, x = layer("neighborhood[kernel=5]+sp_sa", (9, 16), 0)
    attention.eval().backend = "flex"
    with torch.inference_mode():
        attention(x, (9, 16))
    assert moved(attention, x, (9, 16))
    attention(x, (9, 16)).sum().backward()
    assert attention.qkv.weight.grad.abs().sum() > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("prefix", [0, 1])
@pytest.mark.parametrize("spec", ["cswin[stripe=2]+sp_sa", "cswin[stripe=4]+sp_sa+psa"])
def test_on_a_gpu_outputs_and_gradients_are_eagers(spec, prefix):
    attention, x = layer(spec, (32, 32), prefix, "cuda", 4 * 32)
    assert moved(attention, x, (32, 32))
    found = []
    for backend in ("flex", "eager"):
        attention.backend = backend
        attention.zero_grad()
        given = x.clone().requires_grad_()
        out = attention(given, (32, 32))
        out.sin().sum().backward()
        named = {name: p.grad.clone() for name, p in attention.named_parameters() if p.grad is not None}
        found.append({"out": out.detach(), "x": given.grad} | named)
    assert found[0].keys() == found[1].keys()
    for name, expected in found[1].items():
        if expected.abs().max() > 1e-4:
            assert (found[0][name] - expected).norm() / expected.norm() < 2e-3, name
