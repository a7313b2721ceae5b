"""What every variant keeps to, as plain functions: rule(spec, place) raises Broken with one sentence, or is content.

The tests run them over every registered variant and setting, `python -m harness.check` over a file of one's own. The
first line of a rule's docstring is what the program prints. Numbers are compared in float64, away from the initial
values.
"""

from __future__ import annotations

import io

import torch
from torch import Tensor, nn

from harness.check.cases import (
    BATCH,
    HEAD_DIM,
    HEADS,
    PLACES,
    Broken,
    Place,
    Rule,
    at,
    built,
    by,
    disturbed,
    finite,
    first_line,
    inputs,
    relations,
    same,
)
from harness.measure.cost import count
from variants import geometry
from variants.attention import Attention
from variants.backends import eager
from variants.geometry import Grid
from variants.registry import parse
from variants.relation import RESOLUTION_RULES, TERMS, SpatialRelation, Unsupported

UNSEEN: tuple[Grid, ...] = ((7, 4), (2, 6), (9, 9), (1, 3))
VAST: tuple[Grid, ...] = ((24, 25), (200, 2), (2, 200))  # their offsets reach all entries of any table
DRAWS = 32  # of the weights, until each entry was seen to count


def can_be_built(spec: str, place: Place) -> None:
    """It can be built for 4 heads of width 8."""
    built(spec, place)


def terms_have_their_shape(spec: str, place: Place) -> None:
    """Every term is a finite tensor of the documented shape, rows first, on a grid that is not square."""
    (h, w), offsets = place.grid, geometry.offsets(place.grid)
    for relation in relations(built(spec, place)):
        for term in TERMS:
            sizes = [[HEADS, 1], *([] if term in ("prior", "bias") else [[HEAD_DIM]]), [2 * h - 1, 1], [2 * w - 1, 1]]
            for table in _tables(relation, term, offsets):
                if not isinstance(table, Tensor) or not table.is_floating_point():
                    raise Broken(f"{term} gives a {_kind(table)}; give a tensor of numbers, a tuple of them, or None")
                fits = [n in fit for n, fit in zip(table.shape, sizes, strict=False)]
                if table.dim() != len(sizes) or not all(fits):
                    words = ", ".join(" or ".join(map(str, dict.fromkeys(fit))) for fit in sizes)
                    raise Broken(f"{term} is {list(table.shape)} on a {by(place.grid)} grid, expected [{words}]: "
                                 f"offsets are (dy, dx), rows first")  # fmt: skip
                finite(table, f"{term} on a {by(place.grid)} grid")


def masks_have_their_shape(spec: str, place: Place) -> None:
    """A mask is bool, groups are whole numbers from 0, both of the documented shape, and every token keeps itself."""
    attention, grid = built(spec, place), place.grid
    n = grid[0] * grid[1]
    y, x = geometry.coordinates(grid)
    for relation in relations(attention):
        kept, groups = relation.mask(y[:, None], x[:, None], y, x, grid), relation.groups(grid)
        if kept is not None:
            if kept.dtype != torch.bool or kept.shape not in ((n, n), (1, n, n), (HEADS, n, n)):
                raise Broken(f"mask is {kept.dtype} {list(kept.shape)}, expected torch.bool [{n}, {n}] or "
                             f"[{HEADS} or 1, {n}, {n}], the broadcast of its coordinates")  # fmt: skip
            some = relation.mask(y[1:3, None], x[1:3, None], y, x, grid)
            if some is None or some.shape != kept[..., 1:3, :].shape or not some.equal(kept[..., 1:3, :]):
                raise Broken("mask of two queries is not two rows of the mask of all; read who asks from qy and qx "
                             "and not from the grid")  # fmt: skip
        if groups is not None:
            if groups.is_floating_point() or groups.dtype == torch.bool or groups.shape not in ((1, n), (HEADS, n)):
                raise Broken(
                    f"groups is {groups.dtype} {list(groups.shape)}, expected whole numbers [{HEADS} or 1, {n}]"
                )
            if groups.min() < 0:
                raise Broken(f"groups has {int(groups.min())}; count from 0, sums pair groups up by their numbers")
    whole = attention.relation.terms(grid, torch.device("cpu"), torch.float32).mask()
    if whole is not None and not whole.diagonal(dim1=-2, dim2=-1).all():
        raise Broken("a token does not keep itself, so its row may be empty and its softmax NaN; keep Delta = 0")


def output_is_finite(spec: str, place: Place) -> None:
    """The output has the shape of the input and is finite, and so are the gradients."""
    for attention in (built(spec, place), disturbed(built(spec, place))):
        x = inputs(place, dtype=torch.float32).requires_grad_()
        out = attention(x, place.grid)
        if out.shape != x.shape:
            raise Broken(f"the output is {list(out.shape)} for an input of {list(x.shape)}; they are to be the same")
        finite(out, "the output")
        out.square().sum().backward()
        for name, parameter in [("the input", x), *attention.named_parameters()]:
            if parameter.grad is not None:
                finite(parameter.grad, f"the gradient of {name}")


def map_is_what_attends(spec: str, place: Place) -> None:
    """The attention map has rows that sum to 1, and is the one by which the values are mixed."""
    attention = disturbed(built(spec, place).double())
    q, k, v = attention.project(inputs(place), place.grid)
    found, tokens = attention.weights(q, k, place.grid), q.shape[2]
    if found.shape != (BATCH, HEADS, tokens, tokens):
        raise Broken(f"weights is {list(found.shape)}, expected [B, H, P+N, P+N] = {[BATCH, HEADS, tokens, tokens]}")
    if not (found >= 0).all():
        raise Broken(f"weights has {float(found.min()):.2g}; an attention map is finite and not negative")
    same(found.sum(-1), torch.ones_like(found[..., 0]), "the rows of weights and 1", "take a softmax over the keys")
    if type(attention).attend is Attention.attend:
        mixed = eager.apply(found, v, attention.terms(q, place.grid))
        same(attention.attend(q, k, v, place.grid), mixed, "the output and weights @ v",
             "a class that overrides weights overrides attend too")  # fmt: skip


def every_parameter_learns(spec: str, place: Place) -> None:
    """Every parameter has a gradient and has moved after two steps, but for entries that no offset reaches."""
    attention = built(spec, place).double()
    x, wanted = inputs(place), inputs(place, seed=1)
    start = {name: p.detach().clone() for name, p in attention.named_parameters()}
    optimizer = torch.optim.SGD(attention.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (attention(x, place.grid) * wanted).sum().backward()
        optimizer.step()
    for name, parameter in attention.named_parameters():
        if parameter.grad is None:
            raise Broken(f"{name} has no gradient: no term reads it; use it, or make it a buffer (register_buffer)")
        if not (parameter - start[name]).abs().max() > 1e-13:
            raise Broken(f"{name} has not moved after two steps: no gradient but rounding reaches it; softmax "
                         f"ignores what is the same for all keys")  # fmt: skip
    if place.prefix == 0:
        _every_entry_counts(spec, place)


def _every_entry_counts(spec: str, place: Place) -> None:
    """On offsets far beyond any table: an entry that has no part in any term, whatever the weights, is dead.

    One draw of the weights may shut a ReLU for all offsets, so an entry is dead only if it is so in every draw.
    """
    dead: dict[tuple[int, str], Tensor] = {}
    for seed in range(DRAWS):
        for number, relation in enumerate(relations(disturbed(built(spec, place, seed=seed), seed=seed + 1))):
            for name, idle in _idle(relation).items():
                dead[number, name] = idle & dead.get((number, name), idle)
        if not any(idle.any() for idle in dead.values()):
            return
    for (_, name), idle in dead.items():
        if idle.any():
            raise Broken(f"{int(idle.sum())} of {idle.numel()} entries of {name} {list(idle.shape)} have no part in "
                         f"any term at any offset; make it smaller or read all of it")  # fmt: skip


def _idle(relation: SpatialRelation) -> dict[str, Tensor]:
    """Of each parameter that some term reads: bool, where no term at any offset depends on the entry."""
    own = dict(relation.named_parameters())
    tables = [table for grid in VAST for term in TERMS for table in _tables(relation, term, geometry.offsets(grid))]
    learned = [table for table in tables if table.requires_grad]
    if not learned:
        return {}
    total = torch.stack([(t * torch.randn(t.shape, generator=_generator())).sum() for t in learned]).sum()
    found = torch.autograd.grad(total, list(own.values()), allow_unused=True)
    return {name: gradient == 0 for name, gradient in zip(own, found, strict=True) if gradient is not None}


def images_are_independent(spec: str, place: Place) -> None:
    """The order of the batch does not matter, and images do not see each other."""
    attention = disturbed(built(spec, place).double())
    x = inputs(place)
    for mode in (True, False):
        out = attention.train(mode)(x, place.grid)
        turned, alone = attention(x.flip(0), place.grid).flip(0), attention(x[:1], place.grid)
        same(turned, out, "an image among others in another order and", "images are not to meet")
        same(alone, out[:1], "an image alone and in a batch", "statistics over the batch make images meet")


def state_dict_round_trip(spec: str, place: Place) -> None:
    """What torch.save keeps of it gives the same output in a module that was built with another seed."""
    attention, other = disturbed(built(spec, place).double()), built(spec, place, seed=1).double()
    file = io.BytesIO()
    torch.save(attention.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    x = inputs(place)
    same(other(x, place.grid), attention(x, place.grid), "the outputs before saving and after loading",
         "what is drawn is a parameter or a persistent buffer")  # fmt: skip


def unseen_grids(spec: str, place: Place) -> None:
    """It works on grids that it was not built for: larger, smaller, not square; and back on its own as before."""
    attention = disturbed(built(spec, place).double()).eval()
    with torch.no_grad():
        before = attention(inputs(place), place.grid)
        for grid in UNSEEN:
            try:
                out = attention(inputs(place, grid), grid)
            except (RuntimeError, IndexError) as error:
                raise Broken(
                    f"built on a {by(place.grid)} grid, it fails on a {by(grid)} grid: {first_line(error)}{at(error)}; "
                    f"read tables with variants.geometry.lookup"
                ) from error
            finite(out, f"built on a {by(place.grid)} grid, its output on a {by(grid)} grid")
        same(attention(inputs(place), place.grid), before, "the outputs on its own grid before and after others",
             "keep nothing of one grid for the next")  # fmt: skip


def no_step_is_the_same_everywhere(spec: str, place: Place) -> None:
    """A term at Delta = 0, the centre of its table, is the same on every grid."""
    for relation in relations(disturbed(built(spec, place).double())):
        for term in TERMS:
            for grid in UNSEEN:
                pair = (_tables(relation, term, geometry.offsets(g, dtype=torch.float64)) for g in (place.grid, grid))
                for here, there in zip(*pair, strict=True):
                    same(_centre(there), _centre(here),
                         f"{term} at Delta = 0 on a {by(grid)} and a {by(place.grid)} grid",
                         "cut or resample tables about their centre (variants.geometry.lookup)")  # fmt: skip


def resample_keeps_the_output(spec: str, place: Place) -> None:
    """resample(grid) makes another grid the training grid and keeps the output on it."""
    grid = (place.grid[0] + 2, place.grid[1] + 3)
    attention, x = disturbed(built(spec, place).double()), inputs(place, grid)
    before = attention(x, grid)
    attention.resample(grid)
    same(attention(x, grid), before, "the outputs before and after resample",
         "resample(grid) gives tables the values that lookup reads there")  # fmt: skip


def resolution_rule_holds(spec: str, place: Place) -> None:
    """resolution_rule is a known word; unless resampled or rescaled, a term is the same at an offset of any grid."""
    attention, larger = disturbed(built(spec, place).double()), (place.grid[0] + 2, place.grid[1] + 3)
    shapes = {name: parameter.shape for name, parameter in attention.named_parameters()}
    whole, stretched = _words(attention), "say resampled (a table) or rescaled (a function in units of the grid)"
    for relation in relations(attention):
        words = _words(relation)
        given = sorted(relation.terms(place.grid, torch.device("cpu"), torch.float64).present)
        if given and not words:
            raise Broken(f"resolution_rule is empty and there is {given[0]}; say one of {', '.join(RESOLUTION_RULES)}")
        if words - whole:
            raise Broken(f"the attention's resolution_rule leaves out {', '.join(sorted(words - whole))} of a relation "
                         f"in it; ask them all (variants.relation.resolution_rules)")  # fmt: skip
        for term in TERMS if not words & {"resampled", "rescaled"} else ():
            pair = (_tables(relation, term, geometry.offsets(g, dtype=torch.float64)) for g in (place.grid, larger))
            for here, there in zip(*pair, strict=True):
                same(_cut(there, here), here,
                     f"resolution_rule says {relation.resolution_rule()}, and {term} at the offsets of a "
                     f"{by(place.grid)} grid on a {by(larger)} grid and on its own", stretched)  # fmt: skip
    attention.resample(larger)
    changed = [name for name, parameter in attention.named_parameters() if parameter.shape != shapes[name]]
    if changed and "resampled" not in whole:
        raise Broken(f"resolution_rule says {attention.resolution_rule() or 'nothing'}, and resample changes the shape "
                     f"of {changed[0]}; say resampled")  # fmt: skip


def _words(module: Attention | SpatialRelation) -> set[str]:
    found = module.resolution_rule()
    if not isinstance(found, str):
        raise Broken(f"resolution_rule gives a {_kind(found)}; give one of {', '.join(RESOLUTION_RULES)}")
    words = {word for word in found.split(", ") if word}
    if words - RESOLUTION_RULES.keys():
        raise Broken(f"resolution_rule says {found!r}; say one of {', '.join(RESOLUTION_RULES)}, or some of them with "
                     f"commas between")  # fmt: skip
    return words


def _cut(table: Tensor, like: Tensor) -> Tensor:
    """A table over the offsets of a larger grid at those of a smaller one, about their common centre."""
    for axis in (-2, -1):
        size = min(like.shape[axis], table.shape[axis])
        table = table.narrow(axis, (table.shape[axis] - size) // 2, size)
    return table


def bfloat16(spec: str, place: Place) -> None:
    """Under autocast to bfloat16 the output is finite and near that in float32."""
    attention, x = disturbed(built(spec, place)), inputs(place, dtype=torch.float32)
    with torch.no_grad():
        exact = attention(x, place.grid)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = attention(x, place.grid).float()
    finite(rounded, "the output under autocast to bfloat16")
    gap = float((rounded - exact).norm() / exact.norm())
    if not gap < 0.03:
        raise Broken(f"under autocast to bfloat16 the output is {gap:.1%} off; compute what is delicate in float32")


def prefix_tokens_are_neutral(spec: str, place: Place) -> None:
    """Prefix tokens see and are seen by all, and do not know where a patch lies or which of them they are."""
    attention = disturbed(built(spec, place).double())
    two = Place(place.grid, 2, place.layer)
    q, k, v = attention.project(inputs(two), place.grid)
    n = q.shape[2] - 2
    seen = attention.weights(q, k, place.grid)
    if not ((seen[..., :2] > 0).all() and (seen[..., :2, :] > 0).all()):
        raise Broken("a pair with a prefix token in it has weight 0; such pairs are always kept")
    out = attention.attend(q, k, v, place.grid)
    patches = torch.cat([torch.arange(2), 2 + torch.randperm(n, generator=_generator())])
    same(attention.attend(q[:, :, patches], k[:, :, patches], v[:, :, patches], place.grid)[:, :, :2], out[:, :, :2],
         "a prefix token's outputs for patches in another order and", "a pair with a prefix token in it has prior 1, "
         "bias 0 and no keys (geometry.pad_prefix)")  # fmt: skip
    swap = torch.tensor([1, 0, *range(2, n + 2)])
    same(attention.attend(q[:, :, swap], k[:, :, swap], v[:, :, swap], place.grid), out[:, :, swap],
         "the outputs with two prefix tokens exchanged and", "treat all prefix tokens alike")  # fmt: skip


def shared_weights(spec: str, place: Place) -> None:
    """With one seed, qkv and proj start as those of sa, and torch's stream goes on as after sa."""
    plain, after = built("sa", place), torch.rand(())
    attention, then = built(spec, place), torch.rand(())
    if then != after:
        raise Broken("building it changes what torch draws next; draw in __init__ and nowhere else")
    again = built(spec, place)
    for part in ("qkv", "proj"):
        getattr(again, part).load_state_dict(getattr(plain, part).state_dict())
    again.init_qkv()  # what a paper's initialisation changes on purpose
    for name, weight in attention.named_parameters():
        if name.startswith(("qkv.", "proj.")) and not weight.equal(again.get_parameter(name)):
            raise Broken(f"{name} is not what sa starts with; leave the shared weights as they come, or change them "
                         f"in init_qkv")  # fmt: skip


def same_seed_same_module(spec: str, place: Place) -> None:
    """Building it twice with one seed gives the same parameters, buffers and output."""
    first, second = built(spec, place), built(spec, place)
    for (name, one), (_, other) in zip(_tensors(first), _tensors(second), strict=True):
        if not one.equal(other):
            raise Broken(f"{name} differs between two builds with one seed; draw from torch's own stream in __init__")
    x = inputs(place, dtype=torch.float32)
    same(second(x, place.grid), first(x, place.grid), "the outputs of two builds with one seed",
         "what a build holds depends on the seed alone")  # fmt: skip


def forward_draws_nothing(spec: str, place: Place) -> None:
    """A forward draws nothing from torch's stream, and gives the same output again."""
    attention, x = disturbed(built(spec, place)), inputs(place, dtype=torch.float32)
    for mode in (True, False):
        state = torch.get_rng_state()
        first, second = (attention.train(mode)(x, place.grid) for _ in range(2))
        if not torch.get_rng_state().equal(state):
            raise Broken("its forward draws from torch's stream, which unpairs the seeds; use a generator of its own")
        same(second, first, "the outputs of two forwards", "a forward depends on input, grid and weights alone")


def starts_as_sa(spec: str, place: Place) -> None:
    """Where it claims so (starts_as_sa = True), its output at initialisation is that of sa."""
    if all(part.cls.starts_as_sa for part in parse(spec)):
        plain, attention, x = built("sa", place).double(), built(spec, place).double(), inputs(place)
        same(attention(x, place.grid), plain(x, place.grid), "the outputs at initialisation and those of sa",
             "start at prior 1 and bias 0, or leave starts_as_sa out")  # fmt: skip


def training_and_inference_agree(spec: str, place: Place) -> None:
    """Training and inference give the same numbers, also after a weight has changed."""
    attention, x = built(spec, place).double(), inputs(place)
    for change in ("at first", "after a weight changed"):
        trained = attention.train()(x, place.grid).detach()
        with torch.no_grad():
            attention.eval()(x, place.grid)
            kept = attention(x, place.grid)
        same(kept, trained, f"the outputs in training and in inference, {change},",
             "keep nothing from one forward for the next, inference does it for you")  # fmt: skip
        disturbed(attention)


def backends_equal_eager(spec: str, place: Place) -> None:
    """Every backend that serves it gives eager's output and gradients in float64."""
    expected = _seen(spec, place, "eager")
    for backend in ("auto", "sdpa", "tiled", "grouped"):  # flex has no float64
        try:
            found = _seen(spec, place, backend)
        except Unsupported:
            continue
        for name, value in expected.items():
            same(found[name], value, f"backend={backend} and eager, in {name},", "eager defines the numbers")


def _seen(spec: str, place: Place, backend: str) -> dict[str, Tensor]:
    attention = disturbed(built(spec, place, backend=backend).double())
    x = inputs(place).requires_grad_()
    out = attention(x, place.grid)
    out.mul(inputs(place, seed=1)).sum().backward()
    gradients = {name: p.grad for name, p in attention.named_parameters() if p.grad is not None}
    return {"output": out, "gradient of the input": x.grad} | gradients


def sums_hold(spec: str, place: Place) -> None:
    """In a sum it keeps to what the others say: with a window of one patch, patches see themselves alone."""
    attention = disturbed(built(f"{spec}+window[height=0,width=0]", place).double())
    q, k, v = attention.project(inputs(place), place.grid)
    among = attention.weights(q, k, place.grid)[:, :, place.prefix :, place.prefix :]
    if (among - torch.diag_embed(among.diagonal(dim1=-2, dim2=-1))).any():
        raise Broken(f"{spec}+window[height=0,width=0] lets a patch see others; a weights of one's own calls "
                     f"super().weights or masks with variants.backends.eager.keep")  # fmt: skip
    out = attention.attend(q, k, v, place.grid)
    finite(out, f"the output of {spec}+window[height=0,width=0]")
    if type(attention).attend is not Attention.attend:
        wider = disturbed(built(f"{spec}+window[height=99,width=99]", place).double())
        if wider.attend(q, k, v, place.grid).equal(out):
            raise Broken(f"{spec}+window attends as if no window were there; an attend of one's own reads self.terms "
                         f"or calls super().attend")  # fmt: skip


def terms_follow_the_device(spec: str, place: Place) -> None:
    """Terms and masks are where their arguments are: no tensor of theirs is made on the CPU for a GPU."""
    remedy = "make tensors with device=offsets.device, or register them as buffers"
    y, x = geometry.coordinates(place.grid, torch.device("meta"))
    for relation in relations(built(spec, place).to("meta")):
        for term in TERMS:
            try:
                tables = _tables(relation, term, geometry.offsets(place.grid, torch.device("meta")))
            except RuntimeError as error:
                if "is not on the expected device" in str(error):  # whatever else meta tensors cannot do, a GPU can
                    raise Broken(f"{term} mixes devices{at(error)}; {remedy}") from error
                continue
            if any(table.device.type != "meta" for table in tables):
                raise Broken(f"{term} stays on the CPU when its offsets are elsewhere; {remedy}")
        kept = relation.mask(y[:, None], x[:, None], y, x, place.grid)
        if kept is not None and kept.device.type != "meta":
            raise Broken("mask stays on the CPU when its coordinates are elsewhere; compute it from them")


def cost_can_be_counted(spec: str, place: Place) -> None:
    """Its operations are known to the counter of GMACs."""
    if place == PLACES[0]:  # tracing is slow, and the operations are the same everywhere
        try:
            count(_Alone(built(spec, place), place), inputs(place, dtype=torch.float32))
        except NotImplementedError as error:
            raise Broken(f"{error}, or write the term with others") from error


class _Alone(nn.Module):
    """x [B, P+N, C] -> [B, P+N, C] on one grid."""

    def __init__(self, attention: Attention, place: Place):
        super().__init__()
        self.attention, self.grid = attention, place.grid

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, self.grid)


def decay_names_exist(spec: str, place: Place) -> None:
    """no_weight_decay names parameters that exist."""
    attention = built(spec, place)
    unknown = sorted(attention.no_weight_decay() - {name for name, _ in attention.named_parameters()})
    if unknown:
        there = ", ".join(n for n, _ in attention.named_parameters() if not n.startswith(("qkv.", "proj.")))
        raise Broken(f"no_weight_decay names {', '.join(unknown)}, which is no parameter; there are {there or 'none'}")


RULES: tuple[Rule, ...] = (
    can_be_built, terms_have_their_shape, masks_have_their_shape, output_is_finite, map_is_what_attends,
    every_parameter_learns, images_are_independent, prefix_tokens_are_neutral, unseen_grids,
    no_step_is_the_same_everywhere, resample_keeps_the_output, resolution_rule_holds, state_dict_round_trip,
    shared_weights, same_seed_same_module, forward_draws_nothing, starts_as_sa, training_and_inference_agree,
    backends_equal_eager, bfloat16, terms_follow_the_device, sums_hold, cost_can_be_counted, decay_names_exist,
)  # fmt: skip


def _tables(relation: SpatialRelation, term: str, offsets: Tensor) -> tuple[Tensor, ...]:
    found = getattr(relation, term)(offsets)
    return found if isinstance(found, tuple) else () if found is None else (found,)


def _centre(table: Tensor) -> Tensor:
    return table[..., table.shape[-2] // 2, table.shape[-1] // 2]


def _tensors(attention: Attention) -> list[tuple[str, Tensor]]:
    return [*attention.named_parameters(), *attention.named_buffers()]


def _kind(thing: object) -> str:
    return f"tensor of {thing.dtype}" if isinstance(thing, Tensor) else type(thing).__name__


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(2)
