"""Attention distance and entropy: uniform, identity, prefix tokens, the real forward; with planted errors."""

import itertools
from math import dist, log

import pytest
import torch
from torch import nn

from harness.backbone.vit import create
from harness.measure import attention as distance
from harness.measure.attention import Head
from variants import build

GRIDS = [(4, 4), (3, 5), (1, 6)]


def brute(grid):
    """The mean distance of all ordered pairs of patches."""
    places = list(itertools.product(range(grid[0]), range(grid[1])))
    return sum(dist(a, b) for a in places for b in places) / len(places) ** 2


class Planted(nn.Module):
    """Stands in for an attention: whatever it is given, its map is the one planted, [H, P+N, P+N]."""

    def __init__(self, map_):
        super().__init__()
        self.map, self.num_heads = map_, len(map_)

    def project(self, x, grid):
        q = x[:, None].expand(-1, self.num_heads, -1, -1)
        return q, q, q

    def weights(self, q, k, grid):
        return self.map.expand(len(q), -1, -1, -1)


def taken(map_, grid, images=2):
    head = Head(grid)
    distance.take_down(Planted(map_), torch.randn(images, map_.shape[-1], 3), grid, head)
    return head


def uniform(grid, prefix, heads=2):
    tokens = prefix + grid[0] * grid[1]
    return torch.full((heads, tokens, tokens), 1 / tokens)


@pytest.mark.parametrize("grid", GRIDS)
def test_the_distance_of_uniform_attention_is_the_mean_over_all_pairs(grid):
    assert distance.uniform_distance(grid) == pytest.approx(brute(grid))
    assert distance.uniform_distance(grid) != pytest.approx(brute((grid[0] + 1, grid[1])))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("prefix", [0, 1, 2])
def test_uniform_attention_is_1_on_every_grid_and_with_prefix_tokens(grid, prefix):
    means = taken(uniform(grid, prefix), grid).means
    assert means["distance"].tolist() == pytest.approx([1.0, 1.0])
    assert means["entropy"].tolist() == pytest.approx([1.0, 1.0])
    assert means["prefix"].tolist() == pytest.approx([prefix / (prefix + grid[0] * grid[1])] * 2, abs=1e-6)


def test_what_prefix_tokens_get_changes_nothing_among_the_patches():
    grid, map_ = (3, 3), uniform((3, 3), 1)
    greedy = map_.clone()
    greedy[:, :, 1:] *= 0.2
    greedy[:, :, 0] = 1 - greedy[:, :, 1:].sum(-1)
    plain, much = taken(map_, grid).means, taken(greedy, grid).means
    assert much["distance"].tolist() == pytest.approx(plain["distance"].tolist())
    assert much["prefix"].tolist() == pytest.approx([0.82, 0.82])
    patches = greedy[None, :, 1:, 1:]  # the mutant: left out, and not divided by what is left
    assert float((patches * distance.between(grid)).sum(-1).mean()) < 0.5 * float(plain["distance"][0])


def test_looking_at_oneself_and_at_one_neighbour():
    grid, n = (4, 4), 16
    right = torch.zeros(n, n)
    for place in range(n):
        right[place, place + 1 if place % 4 < 3 else place] = 1
    means = taken(torch.stack([torch.eye(n), right]), grid).means
    assert means["distance"].tolist() == pytest.approx([0.0, 0.75 / brute(grid)])
    assert means["entropy"].tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    pairs = taken(torch.full((1, n, n), 0.0).index_fill(2, torch.tensor([0, 1]), 0.5), grid).means
    assert pairs["entropy"].tolist() == pytest.approx([log(2) / log(n)])


def test_a_planted_offset_is_where_the_attention_by_offset_peaks():
    from harness.results import maps

    grid = (4, 5)
    map_ = torch.full((1, 20, 20), 0.01)
    for y, x in itertools.product(range(1, 4), range(3)):
        map_[0, y * 5 + x, (y - 1) * 5 + x + 2] = 1.0  # up by one, right by two
    by_offset = taken(map_ / map_.sum(-1, keepdim=True), grid).by_offset()
    assert by_offset.shape == (1, 7, 9)
    assert maps.peaks(by_offset.numpy()).tolist() == [[-1, 2]]
    assert maps.peaks(by_offset.mT.contiguous().numpy()).tolist() != [[-1, 2]]  # axes swapped
    assert taken(uniform(grid, 1), grid).by_offset().flatten().tolist() == pytest.approx([1.0] * 126)


@pytest.mark.parametrize("spec", ["sa", "gpsa", "swin", "rope_axial"])
@pytest.mark.parametrize("token", ["late", "input"])
def test_the_hooks_see_what_the_real_forward_does(spec, token):
    """The map taken down, times the values, is what the layer hands on; and the model is as before."""
    model = create(spec, img_size=8, patch_size=2, in_chans=1, num_classes=10, class_token=token, seed=0).eval()
    images = torch.randn(3, 1, 8, 8)
    seen = []
    last = model.blocks[-1].attn
    handle = last.register_forward_hook(lambda layer, inputs, output: seen.append((*inputs, output)))
    before = model(images)
    found = distance.heads(model, [(images[:2], None), (images[2:], None)])
    assert torch.equal(model(images), before)
    handle.remove()
    assert [head.images for head in found] == [3] * 4
    x, grid, output = seen[0]
    q, k, v = last.project(x, grid)
    assert torch.allclose(last.proj((last.weights(q, k, grid) @ v).transpose(1, 2).flatten(2)), output, atol=1e-5)
    patches, _ = distance.among_patches(last.weights(q, k, grid), x.shape[1] - 16)
    assert torch.allclose(found[-1].means["pairs"], patches.mean(0).detach().double(), atol=1e-6)


def test_each_layer_meets_its_own_input():
    """ConViT's released code feeds the patch embeddings to every layer: the mutant that must differ."""
    model = create("sa", img_size=8, patch_size=2, in_chans=1, num_classes=10, seed=0).eval()
    images = torch.randn(2, 1, 8, 8)
    ours = distance.heads(model, [(images, None)])[1].means["pairs"]
    embedded = model.patch_embed(images) + model.pos_embed
    theirs = Head((4, 4))
    with torch.no_grad():
        distance.take_down(model.blocks[1].attn, embedded, (4, 4), theirs)
    assert (ours - theirs.means["pairs"]).abs().max() > 1e-4


def test_a_large_map_is_taken_down_in_parts(monkeypatch):
    attention, x = build("sp_sa", 16, 2, grid=(3, 3)).eval(), torch.randn(5, 9, 16)
    whole, parts = Head((3, 3)), Head((3, 3))
    with torch.no_grad():
        distance.take_down(attention, x, (3, 3), whole)
        monkeypatch.setattr(distance, "ROOM", 1)
        distance.take_down(attention, x, (3, 3), parts)
    assert parts.images == 5
    for name, mean in whole.means.items():
        assert torch.allclose(parts.means[name], mean, atol=1e-6), name
