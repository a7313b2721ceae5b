"""Rules for paired comparisons and for resuming: what a layer holds depends on the seed and the saved state alone."""

from __future__ import annotations

import io

import torch
from torch import Tensor

from harness.check.cases import Case, built, perturb, perturbed, require, same
from variants.attention import Attention
from variants.registry import parse


def state_dict_round_trip(spec: str, case: Case) -> None:
    """What torch.save keeps of it gives the same output in a module that was built with another seed."""
    attention, other = perturbed(spec, case), built(spec, case, seed=1).double()
    file = io.BytesIO()
    torch.save(attention.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    x = case.inputs()
    same(other(x, case.grid), attention(x, case.grid), "the outputs before saving and after loading",
         "make what is drawn a parameter or a persistent buffer")  # fmt: skip


def shared_weights(spec: str, case: Case) -> None:
    """With one seed, qkv and proj start as those of sa, and torch's stream goes on as after sa."""
    plain, after = built("sa", case), torch.rand(())
    attention, then = built(spec, case), torch.rand(())
    require(then == after, "building it changes what torch draws next; draw in __init__ and nowhere else")
    again = built(spec, case)
    for part in ("qkv", "proj"):
        getattr(again, part).load_state_dict(getattr(plain, part).state_dict())
    again.init_qkv()  # a paper's initialisation may change them on purpose
    for name, weight in attention.named_parameters():
        if name.startswith(("qkv.", "proj.")):
            require(weight.equal(again.get_parameter(name)), f"{name} is not what sa starts with; leave the shared "
                    f"weights as they come, or change them in init_qkv")  # fmt: skip


def same_seed_same_module(spec: str, case: Case) -> None:
    """Building it twice with one seed gives the same parameters, buffers and output."""
    first, second = built(spec, case), built(spec, case)
    for (name, one), (_, other) in zip(_tensors(first), _tensors(second), strict=True):
        require(one.equal(other),
                f"{name} differs between two builds with one seed; in __init__ draw from torch's stream")  # fmt: skip
    x = case.inputs(dtype=torch.float32)
    same(second(x, case.grid), first(x, case.grid), "the outputs of two builds with one seed",
         "let nothing but the seed decide what a build holds")  # fmt: skip


def _tensors(attention: Attention) -> list[tuple[str, Tensor]]:
    return [*attention.named_parameters(), *attention.named_buffers()]


def forward_draws_nothing(spec: str, case: Case) -> None:
    """A forward draws nothing from torch's stream, and gives the same output again."""
    attention, x = perturbed(spec, case, dtype=torch.float32), case.inputs(dtype=torch.float32)
    for mode in (True, False):
        state = torch.get_rng_state()
        first, second = (attention.train(mode)(x, case.grid) for _ in range(2))
        require(torch.get_rng_state().equal(state),
                "its forward draws from torch's stream, which unpairs the seeds; use its own generator")  # fmt: skip
        same(second, first, "the outputs of two forwards", "a forward depends on input, grid and weights alone")


def starts_as_sa(spec: str, case: Case) -> None:
    """Where it claims so (starts_as_sa = True), its output at initialisation is that of sa."""
    if all(part.cls.starts_as_sa for part in parse(spec)):
        plain, attention, x = built("sa", case).double(), built(spec, case).double(), case.inputs()
        same(attention(x, case.grid), plain(x, case.grid), "the outputs at initialisation and those of sa",
             "start at prior 1 and bias 0, or leave starts_as_sa out")  # fmt: skip


def training_and_inference_agree(spec: str, case: Case) -> None:
    """Training and inference give the same numbers, also after a weight has changed."""
    attention, x = built(spec, case).double(), case.inputs()
    for change in ("at first", "after a weight changed"):
        trained = attention.train()(x, case.grid).detach()
        with torch.no_grad():
            attention.eval()(x, case.grid)
            kept = attention(x, case.grid)
        same(kept, trained, f"the outputs in training and in inference, {change},",
             "keep nothing from one forward for the next, inference does it for you")  # fmt: skip
        perturb(attention)
