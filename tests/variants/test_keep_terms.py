"""Evaluation follows every way of writing a weight; terms are kept inside keep_terms() and nowhere else."""

import contextlib
import copy
import pickle

import pytest
import torch
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.utils import parametrize

from harness.backbone import create
from variants import build

SPECS = {  # a weight that the terms are made of, in each of the four places where something used to be kept
    "sp_sa": "relation.function.b1",
    "rel_bias": "relation.tables.0",
    "gpsa": "position.weight",
    "rope_mixed": "freqs",
}


def model_of(spec, seed=0):
    model = create(spec, size="micro", img_size=32, patch_size=8, num_classes=5, num_heads=4, seed=seed).eval()
    if spec == "sp_sa":  # away from a prior of 1, which no hidden unit reaches
        with torch.no_grad():
            for block in model.blocks[: model.spatial_layers]:
                block.attn.relation.function.w2.fill_(0.5)
    return model


def images():
    """On another grid than that of training, where a table is read through a copy."""
    return torch.randn(2, 3, 40, 32, generator=torch.Generator().manual_seed(0))


def written(model, spec):
    return [block.attn.get_parameter(SPECS[spec]) for block in model.blocks[: model.spatial_layers]]


@torch.no_grad()
def fresh(model, spec):
    """The logits of a model that never ran, with these weights."""
    other = model_of(spec, seed=9)
    other.load_state_dict({name: tensor.detach().clone() for name, tensor in model.state_dict().items()})
    return other(images())


def by_data(weights):
    for weight in weights:
        weight.data.add_(0.5)


def by_another_data(weights):
    for weight in weights:
        weight.data = weight.data + 0.5


def by_numpy(weights):
    for weight in weights:
        view = weight.detach().numpy()
        view += 0.5


def by_storage(weights):
    for weight in weights:
        flat = torch.frombuffer(memoryview(weight.detach().numpy()).cast("B"), dtype=torch.float32)
        flat.add_(0.5)


def by_swapping(weights):
    for weight in weights:
        torch.utils.swap_tensors(weight, torch.nn.Parameter(weight.detach() + 0.5))


def in_inference_mode(weights):
    with torch.inference_mode():
        for weight in weights:
            weight.add_(0.5)


WRITES = [by_data, by_another_data, by_numpy, by_storage, by_swapping, in_inference_mode]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("write", WRITES)
def test_a_write_is_seen_by_the_next_evaluation(spec, write):
    model = model_of(spec)
    with torch.no_grad():
        before = model(images())
        write(written(model, spec))
        after = model(images())
    assert not torch.equal(before, after)
    assert torch.equal(after, fresh(model, spec))


@pytest.mark.parametrize("spec", SPECS)
def test_a_model_made_in_inference_mode_is_followed_in_place(spec):
    with torch.inference_mode():
        model = model_of(spec)
        before = model(images())
        for weight in written(model, spec):
            weight.add_(0.5)
        after = model(images())
    assert not torch.equal(before, after)
    assert torch.equal(after, fresh(model, spec))


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("optimizer", [True, False])
def test_the_teacher_of_twenty_steps_is_what_its_weights_say(spec, optimizer):
    """A teacher that DINO, MoCo or BYOL averages through `.data`, evaluated before each average and after it.

    The student is trained by an optimizer, or by hand.
    """
    student, teacher = model_of(spec, seed=1), model_of(spec)
    opt = torch.optim.AdamW(student.parameters(), lr=0.01)
    for _ in range(20):
        student.zero_grad()
        (student(images()) - 1).square().mean().backward()
        if optimizer:
            opt.step()
        else:
            for weight in student.parameters():
                weight.data.sub_(0.1 * weight.grad)
        with torch.no_grad():
            teacher(images())
            for average, weight in zip(teacher.parameters(), student.parameters(), strict=True):
                average.data.mul_(0.9).add_(weight.data, alpha=0.1)
            assert torch.equal(teacher(images()), fresh(teacher, spec))


@pytest.mark.parametrize("spec", SPECS)
def test_other_weights_for_one_call(spec):
    """Those of several calls in turn lie in the same memory."""
    model = model_of(spec)
    truth, other = copy.deepcopy(model), {name: weight.clone() for name, weight in model.state_dict().items()}
    with torch.no_grad():
        own = model(images())
        for _ in range(3):
            for weight in (*other.values(), *truth.parameters()):
                weight.data.add_(0.1)
            assert torch.equal(functional_call(model, other, (images(),)), fresh(truth, spec))
        assert torch.equal(model(images()), own)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch has no batching rule for its fused kernel
@pytest.mark.parametrize("spec", SPECS)
def test_an_ensemble_of_stacked_weights(spec):
    models = [model_of(spec, seed) for seed in range(3)]
    (stacked, _), shown = stack_module_state(models), images()
    with torch.no_grad():
        each = [functional_call(models[0], {name: w[i] for name, w in stacked.items()}, (shown,)) for i in range(3)]
        all_ = vmap(lambda weights: functional_call(models[0], weights, (shown,)))(stacked)
    for one, together, model in zip(each, all_, models, strict=True):
        assert torch.equal(one, fresh(model, spec))
        torch.testing.assert_close(together, one, rtol=1e-4, atol=1e-5)


class Shifted(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.by = 0.0

    def forward(self, weight):
        return weight + self.by


@pytest.mark.parametrize("spec", SPECS)
def test_a_parametrisation_that_changes(spec):
    model, shift = model_of(spec), Shifted()
    for block in model.blocks[: model.spatial_layers]:
        owner, _, name = SPECS[spec].rpartition(".")
        parametrize.register_parametrization(block.attn.get_submodule(owner), name, shift)
    with torch.no_grad():
        before = model(images())
        shift.by = 0.5
        after = model(images())
    truth = model_of(spec)
    by_data(written(truth, spec))
    assert not torch.equal(before, after)
    with torch.no_grad():
        assert torch.equal(after, truth(images()))


def counted(attention):
    calls = []
    compute = attention.relation.terms
    attention.relation.terms = lambda *args: calls.append(args) or compute(*args)
    return calls


def test_terms_are_computed_each_time_and_inside_keep_terms_once_a_grid():
    attention = build("sp_sa", 64, 4, grid=(4, 4)).eval()
    calls, x = counted(attention), torch.randn(2, 16, 64)
    with torch.no_grad():
        attention(x, (4, 4)), attention(x, (4, 4))
        assert len(calls) == 2
        with attention.keep_terms():
            attention(x, (4, 4)), attention(x, (4, 4))
            assert len(calls) == 3
            attention(torch.randn(2, 15, 64), (3, 5))
            assert len(calls) == 4
            with torch.enable_grad():  # a graph is used up by its backward
                attention(x, (4, 4)), attention(x, (4, 4))
            assert len(calls) == 6
        attention(x, (4, 4))
        assert len(calls) == 7
        with attention.keep_terms():
            attention(x, (4, 4))
        assert len(calls) == 8


@pytest.mark.parametrize("spec", [*SPECS, "lepe", "swin+log_cpb+cosine"])
def test_kept_terms_change_no_number(spec):
    model = model_of(spec)
    with torch.no_grad():
        truth = model(images())
        with model.keep_terms():
            assert torch.equal(model(images()), truth)
            assert torch.equal(model(images()), truth)


@pytest.mark.parametrize("spec", SPECS)
def test_after_the_block_nothing_is_kept_whatever_happened_in_it(spec):
    model = model_of(spec)
    with torch.no_grad():
        with contextlib.suppress(KeyboardInterrupt), model.keep_terms():
            model(images())
            raise KeyboardInterrupt
        by_data(written(model, spec))
        assert torch.equal(model(images()), fresh(model, spec))
        with model.keep_terms():
            assert torch.equal(model(images()), fresh(model, spec))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("spec", SPECS)
def test_a_copy_made_inside_keeps_nothing(spec, copied):
    model = model_of(spec)
    with torch.no_grad():
        with model.keep_terms():
            model(images())
            other = copied(model)
        by_data(written(other, spec))
        assert torch.equal(other(images()), fresh(other, spec))


def test_a_block_inside_a_block_ends_nothing():
    model = model_of("sp_sa")
    calls = counted(model.blocks[0].attn)
    with torch.no_grad(), model.keep_terms():
        with model.blocks[0].attn.keep_terms():
            model(images())
        model(images())
    assert len(calls) == 1


def test_loading_and_moving_inside_the_block_are_followed():
    model, other = model_of("sp_sa"), model_of("sp_sa", seed=4)
    with torch.no_grad(), model.keep_terms():
        model(images())
        model.load_state_dict(other.state_dict())
        assert torch.equal(model(images()), other(images()))
        assert model.double()(images().double()).dtype == torch.float64
