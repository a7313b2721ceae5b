"""sdpa gives eager's outputs and gradients where it serves the terms, and refuses with a sentence where it does not."""

import pytest
import torch

from variants import Unsupported, backends, build

from .agreement import SQUARE, WIDE, agree, at, drawn, on, rejected, tokens

SERVED = [
    "sa", "psa", "rpe_1d[mode=bias]", "rpe_2d[mode=bias]", "rpe_2d[factorized=True,mode=bias]",
    "rpe_2d[extent=2,mode=bias]", "sp_sa[combine=add,hidden=4]", "sp_sa[combine=add,hidden=4,scope=layer]",
    "sp_sa[combine=add,form=table]", "swin[window=2]", "cswin[stripe=1]", "window[height=1,width=2]",
    "swin[window=2]+rpe_2d[extent=2,mode=bias]", "sp_sa[combine=add,hidden=4,scope=layer]+cswin[stripe=1]",
    "psa+window[height=1,width=1]", "cswin[stripe=2]+window[height=1,width=1]",
]  # fmt: skip
REFUSED = {
    "sp_sa": "prior", "sp_sa[form=linear]": "prior", "sp_sa[form=table]": "prior", "rpe_1d": "keys", "rpe_2d": "keys",
    "rpe_2d[factorized=True]": "keys", "rpe_2d[mode=bias,values=True]": "values", "rpe_1d[values=True]": "keys, values",
    "sp_sa+swin[window=2]": "prior",
}  # fmt: skip


def by_backend(spec, grid, prefix, backend, *, layer=1):
    """The output, and the gradients of the input and of every parameter."""
    torch.manual_seed(1)
    attention, x = drawn(spec, grid, layer=layer, backend=backend), tokens(grid, prefix).requires_grad_()
    y = attention(x, grid)
    (y * torch.randn_like(y)).sum().backward()
    grads = {name: p.grad for name, p in attention.named_parameters()}
    return y, {"x": x.grad, **{name: g for name, g in grads.items() if g is not None}}


def sdpa_agrees_with_eager(spec, grid, prefix=0, other="sdpa"):
    expected, expected_grads = by_backend(spec, grid, prefix, "eager")
    found, grads = by_backend(spec, grid, prefix, other)
    agree(found, expected)
    assert grads.keys() == expected_grads.keys()
    for name, grad in grads.items():
        agree(grad, expected_grads[name])


@at("prefix", 0, 1)
@on(SQUARE, WIDE)
@pytest.mark.parametrize("spec", SERVED)
def test_sdpa_is_eager_in_outputs_and_gradients(spec, grid, prefix):
    sdpa_agrees_with_eager(spec, grid, prefix)


@at("prefix", 0, 1)
@pytest.mark.parametrize("spec", [*SERVED, *REFUSED, "gpsa", "gpsa+swin[window=2]"])
def test_auto_is_eager_in_outputs_and_gradients(spec, prefix):
    sdpa_agrees_with_eager(spec, WIDE, prefix, "auto")


@pytest.mark.parametrize("spec", REFUSED)
def test_sdpa_refuses_with_a_sentence_what_it_cannot_add(spec):
    attention = build(spec, 16, 4, grid=SQUARE, backend="sdpa")
    with pytest.raises(Unsupported, match=f"cannot serve {REFUSED[spec]}; use backend=eager or auto"):
        attention(torch.randn(1, 16, 16), SQUARE)


@pytest.mark.parametrize("spec", ["gpsa", "gpsa+swin[window=2]"])
def test_sdpa_refuses_to_mix_two_softmaxes(spec):
    with pytest.raises(Unsupported, match=r"mixes two softmaxes.*use backend=eager or auto"):
        build(spec, 16, 4, grid=SQUARE, backend="sdpa")


def _sdpa(change):
    true = backends.sdpa
    return lambda q, k, v, terms: change(true, q, k, v, terms)


def _without(name, value):
    def sdpa(true, q, k, v, terms):
        fewer = type(terms)(**{f: getattr(terms, f) for f in terms.__dataclass_fields__} | {name: value})
        return true(q, k, v, fewer)

    return _sdpa(sdpa)


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
        sdpa_agrees_with_eager(spec, SQUARE)


def test_a_backend_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="there is no backend 'fast'; choose auto"):
        build("sa", 16, 4, grid=SQUARE, backend="fast")
