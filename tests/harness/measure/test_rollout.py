"""Relevance by rollout: closed forms, a patch that alone decides, what the scores say."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from harness.backbone.vit import create
from harness.measure.rollout import area, coverage, curve, kept_maps, order, relevance, rollout
from harness.presets import digits
from harness.training.loop import optimizer
from variants import build

GRID = (2, 3)
SPECS = ["sa", "sp_sa", "gpsa", "rpe_2d[values=True]", "swin+rel_bias+lepe", "uniform", "cosine", "rope_mixed+sp_sa"]


class OneLayer(nn.Module):
    """logits [B, 2] = u_c . mean over patches of an attention without a projection: linear in its map."""

    def __init__(self, spec="sa", tokens=6):
        super().__init__()
        attention = build(spec, 8, 2, grid=GRID)
        nn.init.eye_(attention.proj.weight)
        nn.init.normal_(attention.qkv.weight)
        self.blocks, self.cls_token, self.spec = nn.ModuleList([attention]), None, spec
        self.read = nn.Parameter(torch.randn(8, 2))

    def grid_of(self, images):
        return GRID

    def forward(self, images):
        return self.blocks[0](images.flatten(2).mT, GRID).mean(dim=1) @ self.read


def closed_form(model, images):
    """mean over queries of mean_h relu(A_h * dy/dA_h), dy/dA_h[i, j] = u_c . v_h[j] / N, by hand."""
    layer, x = model.blocks[0], images.flatten(2).mT
    q, k, v = layer.project(x, GRID)
    weights, chosen = layer.weights(q, k, GRID), model(images).argmax(dim=1)
    reads = model.read.T[chosen].unflatten(1, (2, 4))  # [B, H, D]
    gradient = torch.einsum("bhd,bhjd->bhj", reads, v) / 6
    return (weights * gradient[:, :, None]).relu().mean(dim=1).mean(dim=1).unflatten(1, GRID), chosen


def test_one_linear_layer_has_the_closed_form():
    for spec in ("sa", "gpsa[init=normal]", "sp_sa+swin"):
        model, images = OneLayer(spec).double(), torch.randn(3, 8, *GRID, dtype=torch.float64)
        expected, chosen = closed_form(model, images)
        found, classes = relevance(model, images)
        torch.testing.assert_close(found, expected.to(found.dtype), rtol=1e-4, atol=1e-7)
        assert torch.equal(classes, chosen)
        assert expected.abs().max() > 1e-3
        model.read.data *= -1  # other signs of the gradient: relu cuts other entries
        model.cls_token = None
        assert not torch.allclose(relevance(model, images)[0], expected.to(found.dtype), rtol=1e-2)


def by_hand(maps, gradients, late, relu=torch.relu):
    """R of two layers, the second with a class token that joined, from equation 6 and block matrices."""
    first = torch.eye(maps[0].shape[-1]) + relu(gradients[0] * maps[0]).mean(1)
    if late:
        first = torch.stack([torch.block_diag(torch.ones(1, 1), one) for one in first])
    whole = first + relu(gradients[1] * maps[1]).mean(1) @ first
    return whole - torch.eye(whole.shape[-1])


@pytest.mark.parametrize("late", [False, True])
def test_rollout_is_the_product_over_layers_and_a_late_token_joins_in_front(late):
    maps = [torch.rand(2, 3, 4 + late * layer, 4 + late * layer) for layer in (0, 1)]
    gradients = [torch.randn_like(one) for one in maps]
    found = rollout(maps, gradients, 4)
    torch.testing.assert_close(found, by_hand(maps, gradients, late))
    assert not torch.allclose(found, by_hand(maps, gradients, late, relu=lambda x: x))  # mutant: nothing is cut
    turned = [*gradients[:1], gradients[1].mT]
    assert not torch.allclose(found, by_hand(maps, turned, late))  # mutant: queries for keys


def test_tokens_that_leave_are_refused():
    with pytest.raises(ValueError, match="tokens may only join"):
        rollout([torch.rand(1, 1, 5, 5), torch.rand(1, 1, 4, 4)], [None, None], 4)


@pytest.mark.parametrize("token", ["late", "input", "none"])
def test_every_attention_leaves_one_map_a_layer_and_the_same_logits(token):
    images = torch.randn(2, 1, 8, 12)
    for spec in SPECS:
        model = create(
            spec, img_size=(8, 12), patch_size=2, in_chans=1, num_classes=5, class_token=token, seed=0
        ).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
            expected = model(images)
        with kept_maps(model) as maps:
            torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)
        sides = [24 + (token == "input" or (token == "late" and layer >= 2)) for layer in range(4)]
        assert [one.shape[-1] for one in maps] == sides
        found, _ = relevance(model, images)
        assert found.shape == (2, 4, 6)
        assert found.max() > 0
        with torch.no_grad():
            assert torch.equal(model(images), expected)  # all is as it was
    assert "weights" not in vars(model.blocks[0].attn)


def test_an_attention_that_does_not_mix_by_its_map_is_refused():
    model = create("sa", img_size=8, patch_size=2, in_chans=1, num_classes=5, seed=0)
    model.blocks[1].attn.attend = lambda q, k, v, grid: v
    with pytest.raises(ValueError, match="gave 3 attention maps in 4 layers"):
        relevance(model, torch.randn(1, 1, 8, 8))


def planted(n, generator, classes=3):
    """Noise in which one patch, anywhere, is dark (class 0), bright (1), or like the others (2); where, [n, 8, 8].

    Without class 2 one of the others could be what is chosen where nothing speaks against it.
    """
    images = 0.2 * torch.randn(n, 1, 8, 8, generator=generator)
    labels = torch.randint(0, classes, (n,), generator=generator)
    place = torch.randint(0, 16, (n,), generator=generator)
    cells = torch.nn.functional.one_hot(place, 16).view(n, 1, 4, 4).float()
    spread = cells.repeat_interleave(2, 2).repeat_interleave(2, 3)
    ink = torch.tensor([-3.0, 3.0, 0.0])[labels][:, None, None, None]
    return images * (1 - spread) + spread * ink, labels, spread[:, 0].bool()


@pytest.fixture(scope="module", params=["late", "none"])
def seeing(request):
    """A model that has learned to read the planted patch, 60 images and where the patch is."""
    torch.manual_seed(0)
    draw = torch.Generator().manual_seed(0)
    model = create(
        "sp_sa", img_size=8, patch_size=2, in_chans=1, num_classes=3, class_token=request.param, seed=0
    )  # fmt: skip
    opt = optimizer(model, replace(digits().recipe, lr=3e-3))
    for _ in range(60):
        images, labels, _ = planted(32, draw)
        opt.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        opt.step()
    images, labels, objects = planted(60, draw, classes=2)
    assert (model.eval()(images).argmax(1) == labels).float().mean() > 0.95
    return model, images, objects


def found_in(relevances, objects):
    """The share of images whose most relevant patch is the planted one."""
    here = objects[:, ::2, ::2].flatten(1)
    return here.gather(1, order(relevances)[:, :1]).float().mean()


def test_a_patch_that_alone_decides_gets_the_relevance(seeing):
    model, images, objects = seeing
    relevances, _ = relevance(model, images)
    assert found_in(relevances, objects) > 0.95
    covered, size = coverage(relevances, objects)
    assert covered.mean() > 1.5 * size.mean()
    torch.testing.assert_close(size, torch.full((60,), 1 / 16))
    assert found_in(relevances.mT, objects) < 0.5  # mutant: axes swapped
    assert found_in(-relevances, objects) < 0.05  # mutant: sign flipped


def test_deletion_of_the_planted_patch_drops_fastest(seeing):
    model, images, _ = seeing
    relevances, chosen = relevance(model, images)
    random = torch.rand(60, 16, generator=torch.Generator().manual_seed(1)).argsort(dim=1)
    best, by_chance = (curve(model, images, chosen, patches).mean(0) for patches in (order(relevances), random))
    assert best[0] == by_chance[0] > 0.9
    torch.testing.assert_close(best[-1], by_chance[-1])  # nothing is left
    assert best[1] < 0.7 < by_chance[1]
    falls = area(curve(model, images, chosen, order(relevances))).mean()
    rises = area(curve(model, images, chosen, order(relevances), insert=True)).mean()
    assert falls + 0.15 < area(curve(model, images, chosen, random)).mean() < rises - 0.1
    backwards = order(-relevances)  # mutant: the least relevant first
    assert area(curve(model, images, chosen, backwards)).mean() > falls + 0.15


def test_a_curve_runs_from_all_to_nothing_and_insertion_is_the_deletion_of_the_rest():
    class Sum(nn.Module):
        """The probability of class 0 is the sigmoid of the image's sum."""

        def grid_of(self, images):
            return (2, 2)

        def forward(self, images):
            total = images.sum((1, 2, 3))
            return torch.stack([total, torch.zeros_like(total)], 1)

    images = torch.tensor([[[[1.0, 2.0], [4.0, 8.0]]]])
    patches, chosen = torch.tensor([[3, 0, 2, 1]]), torch.tensor([0])
    goes = curve(Sum(), images, chosen, patches)
    torch.testing.assert_close(goes, torch.tensor([[15.0, 7, 6, 2, 0]]).sigmoid())
    comes = curve(Sum(), images, chosen, patches.flip(1), insert=True)
    torch.testing.assert_close(comes, goes.flip(1))
    torch.testing.assert_close(area(torch.tensor([[0.0, 1.0, 0.0]])), torch.tensor([0.5]))


def test_coverage_is_the_share_on_the_object_and_chance_where_there_is_no_relevance():
    maps = torch.tensor([[[3.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    objects = torch.zeros(2, 4, 4, dtype=torch.bool)
    objects[:, :2, :2] = True
    objects[:, :, 3] = True  # half of the right patches
    covered, size = coverage(maps, objects)
    assert covered.tolist() == pytest.approx([(3 + 0.5) / 4, 0.5])
    assert size.tolist() == pytest.approx([0.5, 0.5])
