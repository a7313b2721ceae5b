"""Multi-head self-attention with a slot for a spatial relation: project -> attend -> merge.

    out = proj(concat_h softmax(logits_h) v_h), the logits as in variants/relation.py

Source: Vaswani et al., arXiv 1706.03762, eq. 1, in the form of DeiT and timm (`qkv` one Linear, `proj` another). Prefix
tokens (a class token) are handled here and in the backends, once.

Most variants are a SpatialRelation. What is no function of the offset subclasses Attention and overrides `project`,
`weights` or `attend`.

The terms are computed from the weights in every forward, so no write to a weight can be missed. For inference with
weights that stay, `with model.keep_terms():` computes them once a grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from variants import backends
from variants.backends import eager
from variants.geometry import Grid
from variants.recording import as_like, is_fake, real_numbers, recorded
from variants.relation import Fixed, Site, SpatialRelation, Terms

Kept = TypeVar("Kept")
KEPT_AT_MOST = 8  # grids and their like, for each layer


@contextmanager
def keep_terms(model: nn.Module) -> Iterator[None]:
    """Inside, every Attention of the model computes what depends on its weights and the grid once a grid, and keeps it.

    Weights must not change inside: outputs would not follow. Only load_state_dict and .to() are followed. Where
    gradients are enabled nothing is kept, and on leaving, all is dropped. A copy of the model keeps nothing.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, Attention) and layer._kept is None]
    for layer in layers:
        layer._kept = {}
    try:
        yield
    finally:
        for layer in layers:
            layer._kept = None


class Attention(nn.Module):
    """x [B, P+N, C] on a grid of N = h*w patches -> [B, P+N, C].

    `qkv` and `proj` are the shared weights, which all variants of a seed start from; `relation` may be the empty one.
    A subclass takes `*parts` and its settings as keyword arguments, and passes the rest on.
    """

    equation: ClassVar[str] = ""  # as in SpatialRelation, for tables
    source: ClassVar[str] = ""
    starts_as_sa: bool = False  # a claim, which the conformance rules hold it to: at initialisation it is plain

    def __init__(
        self, site: Site, relation: SpatialRelation, qkv: nn.Linear, proj: nn.Linear, *, backend: str = "auto"
    ):
        super().__init__()
        backends.check(backend)
        self.site, self.num_heads, self.backend = site, site.num_heads, backend
        self.qkv, self.proj, self.relation = qkv, proj, relation
        self._kept: dict[Any, Any] | None = None  # a dictionary inside keep_terms()
        self._fixed: dict[Any, Fixed] = {}

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        q, k, v = self.project(x, grid)
        return self.proj(self.attend(q, k, v, grid).transpose(1, 2).flatten(2))

    def project(self, x: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v, each [B, H, P+N, D]; the scale 1/sqrt(D) comes later."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v

    def weights(self, q: Tensor, k: Tensor, grid: Grid) -> Tensor:
        """[B, H, P+N, P+N]: the attention map, always by the plain formula, differentiable."""
        return eager.logits(q, k, self.terms(q, grid)).softmax(dim=-1)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> Tensor:
        """[B, H, P+N, D], by the backend."""
        terms = self.terms(q, grid)
        return backends.BACKENDS[backends.choose(self.backend, q, q.shape, terms)](q, k, v, terms)

    def executes(self, x: Tensor, grid: Grid) -> str:
        """The backend that a forward of x [B, P+N, C] takes, with gradients or, under torch.no_grad, without."""
        shape = (x.shape[0], self.num_heads, x.shape[1], self.site.head_dim)
        return backends.choose(self.backend, x, shape, self.terms(x, grid))

    def sdpa_kernel(self, x: Tensor, grid: Grid) -> str:
        """The kernel behind a forward of x on backend sdpa: flash, efficient, cudnn or math; "" on other backends.

        With gradients or, under torch.no_grad, without, as for `executes`.
        """
        if self.executes(x, grid) != "sdpa":
            return ""
        return backends.sdpa.kernel(*self.project(x, grid), self.terms(x, grid))

    def given(self) -> frozenset[str]:
        """The names of the relation's tables over the offsets that are not neutral, for a class that refuses some."""
        weight = self.qkv.weight
        with torch.no_grad():
            return self.relation.terms(self.site.grid, weight.device, weight.dtype, (None, None)).present

    def init_qkv(self) -> None:
        """Lets the relation change the shared weights, once they are there."""
        self.relation.init_qkv(self.qkv)

    def no_weight_decay(self) -> set[str]:
        """The parameters that the published recipe exempts from weight decay."""
        return {f"relation.{name}" for name in self.relation.no_weight_decay()}

    def resolution_rule(self) -> str:
        """What happens on a grid that it did not train on, in the words of relation.RESOLUTION_RULES; "" for nothing.

        A class with something of its own that knows the grid says so too.
        """
        return self.relation.resolution_rule()

    def resample(self, grid: Grid) -> None:
        """Makes `grid` the training grid."""
        self.relation.resample(grid)
        self._forget()

    def terms(self, like: Tensor, grid: Grid) -> Terms:
        """The relation on the grid."""

        def compute() -> Terms:
            own = next((p.dtype for p in self.relation.parameters()), None)
            dtype = own or (like.dtype if like.dtype == torch.float64 else torch.float32)
            return self.relation.terms(grid, like.device, dtype, self.fixed(like, grid))

        return self.once(compute, "terms", grid, like.device, like.dtype)

    def fixed(self, like: Tensor, grid: Grid) -> Fixed:
        """(kept, groups) of the relation's terms, which no weight changes: computed once for a grid."""
        plain = like.device.type in ("cpu", "meta") or not is_fake(like)
        device = like.device if plain else torch.device("cpu")
        kept, groups = self._mask(grid, device), self._groups(grid, device)
        if is_fake(like) and groups is not None:  # windows are chosen by their numbers, which no fake tensor has
            with real_numbers():
                kept, groups = Terms(grid, kept=kept, groups=groups).mask(device), None
        return None if kept is None else as_like(kept, like), groups

    @torch.compiler.assume_constant_result  # one graph, without a guard on what is remembered
    def _mask(self, grid: Grid, device: torch.device) -> Tensor | None:
        return self._remembered(grid, device)[0]

    @torch.compiler.assume_constant_result
    def _groups(self, grid: Grid, device: torch.device) -> Tensor | None:
        return self._remembered(grid, device)[1]

    def _remembered(self, grid: Grid, device: torch.device) -> Fixed:
        key = (self.relation, grid, device)
        if key not in self._fixed:
            if len(self._fixed) >= KEPT_AT_MOST:
                self._fixed.clear()
            with real_numbers():
                self._fixed[key] = self.relation.fixed(grid, device)
        return self._fixed[key]

    def keep_terms(self) -> AbstractContextManager[None]:
        """A context in which terms are computed once a grid; see `keep_terms` of this module."""
        return keep_terms(self)

    def once(self, compute: Callable[[], Kept], *key: Any) -> Kept:
        """What depends on weights and grid and not on the input: inside keep_terms() computed once for a key."""
        if self._kept is None or torch.is_grad_enabled() or recorded():
            return compute()
        return self._look_up(compute, key)

    @torch.compiler.disable  # a dictionary that grows would be traced anew with every entry
    def _look_up(self, compute: Callable[[], Kept], key: Any) -> Kept:
        assert self._kept is not None
        if key not in self._kept:
            if len(self._kept) >= KEPT_AT_MOST:
                self._kept.clear()
            self._kept[key] = compute()
        return self._kept[key]

    def _forget(self) -> None:
        self._fixed.clear()
        if self._kept is not None:
            self._kept.clear()

    def _apply(self, *args: Any, **kwargs: Any) -> Attention:
        self._forget()
        return super()._apply(*args, **kwargs)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._forget()
        super()._load_from_state_dict(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles, whose keep_terms() never was and would never end."""
        return {**self.__dict__, "_kept": None, "_fixed": {}}
