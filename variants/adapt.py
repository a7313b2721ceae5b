"""Swaps a spatial bias into a model that exists: timm's ViTs, and those of transformers, with their weights.

    model = adapt(timm.create_model("deit_small_patch16_224", pretrained=True), "sp_sa", layers=10)

In the first layers the model's own projections, norms of q and k, rotary embedding, gates and dropouts stay, under
their names; between them the variant attends. What it brings lies below `spatial`: `blocks.0.attn.spatial.relation...`.
A variant that starts as plain attention leaves the logits as they are.

A model that is not known is refused, and so is what would change a meaning: a mask, dropped patches, keys or a second
rotation where the model turns q and k. No module of the model is kept for its caches: the terms are computed from the
weights in every forward, as everywhere here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import isclose
from operator import index
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from variants.attention import Attention
from variants.backends import eager
from variants.cosine import Cosine
from variants.geometry import Grid
from variants.registry import build, canonical
from variants.relation import Unsupported
from variants.rope import Rotary


def adapt(model: nn.Module, spec: str, layers: int | None = None, *, backend: str = "auto") -> nn.Module:
    """The model, changed in place: its first `layers` attentions are those of the spec; None means all, as in DeiT.

    Parameters that the published recipe does not decay join `model.no_weight_decay()`, which timm's optimizers ask.
    torch's random stream is left as it is; torch.manual_seed decides the variant's initial weights. Raises ValueError
    (Unsupported among them) for a model or a spec that does not fit, and has changed nothing then.
    """
    prefix, trunk, kind = _trunk(model)
    found = [(name, module) for name, module in trunk.named_modules() if isinstance(module, Adapted | Attention)]
    if found:
        raise Unsupported(f"{found[0][0]} of this {type(model).__name__} carries a variant; adapt a fresh model")
    hosts = [(name, module) for name, module in trunk.named_modules() if _name(module) in HOSTS]
    depth = len(kind.blocks(trunk))
    if len(hosts) != depth:
        raise Unsupported(f"{type(model).__name__} has {depth} blocks and {len(hosts)} attentions of a known kind; "
                          f"adapt wants one in each of {_words(HOSTS)}")  # fmt: skip
    count = depth if layers is None else layers
    if type(count) is not int or not 1 <= count <= depth:
        raise ValueError(f"layers={layers} does not fit a model of {depth} layers; choose 1 to {depth}, None for all")
    dropped = getattr(getattr(trunk, "patch_drop", None), "prob", 0)
    if dropped:
        raise Unsupported(f"patch_drop_rate={dropped} leaves tokens without a grid; create the model with a rate of 0")
    place, shared = Place(kind.embed(trunk), kind.prefix(trunk)), {}  # type: tuple[Place, dict[Any, Any]]
    turns = getattr(trunk, "rope", None) is not None
    made = []
    for layer, (_, host) in enumerate(hosts[:count]):
        spatial = _spatial(spec, host, place.home, layer, depth, backend, shared)
        _refuse(spec, spatial, host, turns)
        made.append(HOSTS[_name(host)](host, spatial, place))
    exempt = set()
    for (name, _), adapted in zip(hosts, made, strict=False):
        parent, _, last = name.rpartition(".")
        setattr(trunk.get_submodule(parent), last, adapted)
        exempt |= {f"{prefix}{name}.spatial.{own}" for own in adapted.spatial.no_weight_decay()}
    kind.embed(trunk).register_forward_pre_hook(place.see)
    before = getattr(model, "no_weight_decay", None)
    model.no_weight_decay = partial(_exempt, before, frozenset(exempt))  # type: ignore[assignment]
    return model


class Place:
    """The grids (h, w) of the images that went in, by their number of patches, and the grid the model was made for.

    Numbers alone do not tell 2x8 patches from 4x4: the patch embedding sees the image, and the layers ask here.
    """

    def __init__(self, embed: nn.Module, prefix: int):
        self.prefix, self.home = prefix, _home(embed)
        self._seen: dict[int, Grid] = {}

    def see(self, embed: Any, inputs: tuple[Tensor, ...]) -> None:
        """Before each patch embedding of images [B, c, H, W]."""
        height, width = (index(side) for side in inputs[0].shape[-2:])  # a number, where a graph would take a symbol
        if hasattr(embed, "dynamic_feat_size"):  # timm's, which knows of padding
            h, w = embed.dynamic_feat_size((height, width))
        else:
            h, w = height // embed.patch_size[0], width // embed.patch_size[1]
        if self._of(h * w) != (h, w):
            self._seen[h * w] = (h, w)

    def grid_of(self, tokens: int) -> Grid:
        """The grid behind so many tokens, prefix tokens included. Raises ValueError where no image had it."""
        grid = self._of(index(tokens) - self.prefix)
        if grid is None:
            h, w = self.home
            raise ValueError(
                f"{tokens} tokens, {self.prefix} of them before the patches, are of no image that "
                f"went in; call the whole model, or give {self.prefix + h * w} for {h}x{w} patches"
            )
        return grid

    def _of(self, patches: int) -> Grid | None:
        h, w = self.home
        return self._seen.get(patches, self.home if patches == h * w else None)


class Given(nn.Module):
    """In the place of a qkv layer: what the model projected, already packed [B, P+N, 3 H D], goes on as it is.

    Its weight holds nothing but a device and a precision, which a layer asks for.
    """

    weight: Tensor

    def __init__(self, like: Tensor):
        super().__init__()
        self.register_buffer("weight", like.detach().new_empty(0), persistent=False)

    def forward(self, packed: Tensor) -> Tensor:
        return packed


class Adapted(nn.Module):
    """A model's attention with all that it had, and `spatial`, the variant's, which gets its projections."""

    spatial: Attention
    qkv: Any  # of the host, as what follows
    q_proj: Any
    k_proj: Any
    v_proj: Any
    o_proj: Any
    q_bias: Any
    k_bias: Any
    v_bias: Any
    q_norm: Any
    k_norm: Any
    attn_drop: Any
    proj: Any
    proj_drop: Any
    config: Any
    attention_dropout: Any

    def __init__(self, host: nn.Module, spatial: Attention, place: Place):
        super().__init__()
        self.__dict__.update({k: v.copy() if isinstance(v, dict | set) else v for k, v in vars(host).items()})
        self.spatial, self.place = spatial.train(host.training), place

    def attended(self, packed: Tensor, rate: float) -> Tensor:
        """[B, P+N, H D] of q, k, v packed as [B, P+N, 3 H D]; rate: the dropout of the attention weights."""
        grid = self.place.grid_of(packed.shape[1])
        q, k, v = self.spatial.project(packed, grid)
        if not (rate and self.training):
            return self.spatial.attend(q, k, v, grid).transpose(1, 2).flatten(2)
        _refuse_dropout(self.spatial, rate)
        weights = F.dropout(self.spatial.weights(q, k, grid), rate)
        return eager.apply(weights, v, self.spatial.terms(q, grid)).transpose(1, 2).flatten(2)


class OfTimm(Adapted):
    """timm's Attention, AttentionRope and EvaAttention: qkv in one or three, norms, rotary, gate, proj, dropouts."""

    def forward(
        self, x: Tensor, rope: Tensor | None = None, attn_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """x [B, P+N, C] -> [B, P+N, C]; rope [..., N, 2D] turns the patches' q and k first. Refuses masks."""
        if attn_mask is not None or is_causal:
            raise Unsupported("an adapted layer takes no attn_mask and is not causal; leave both out, or do not adapt")
        gate = getattr(self, "gate", None)
        out = getattr(self, "norm", nn.Identity())(self.attended(self.packed(x, rope), self.attn_drop.p))
        if gate is not None:
            out = out * gate(x).sigmoid()
        return self.proj_drop(self.proj(out))

    def packed(self, x: Tensor, rope: Tensor | None) -> Tensor:
        """q, k and v [B, P+N, 3 H D], as the model makes them."""
        if self.qkv is None:
            each = [layer(x).unflatten(2, (-1, self.head_dim)) for layer in (self.q_proj, self.k_proj, self.v_proj)]
        else:
            qkv = self._together(x)
            if rope is None and isinstance(self.q_norm, nn.Identity) and isinstance(self.k_norm, nn.Identity):
                return qkv
            each = list(qkv.unflatten(2, (3, self.num_heads, -1)).unbind(2))
        q, k, v = (one.transpose(1, 2) for one in each)
        q, k = self.q_norm(q), self.k_norm(k)
        if rope is not None:
            q, k = self._turned(q, rope).type_as(v), self._turned(k, rope).type_as(v)
        groups = getattr(self, "num_kv_groups", 1)
        if groups > 1:  # several queries share a key
            k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        return torch.stack([one.transpose(1, 2) for one in (q, k, v)], dim=2).flatten(2)

    def _together(self, x: Tensor) -> Tensor:
        if getattr(self, "q_bias", None) is None:
            return self.qkv(x)
        bias = torch.cat([self.q_bias, self.k_bias, self.v_bias])
        return self.qkv(x) + bias if self.qkv_bias_separate else F.linear(x, self.qkv.weight, bias)

    def _turned(self, x: Tensor, rope: Tensor) -> Tensor:
        from timm.layers import apply_rot_embed_cat  # asked for by these models alone

        prefix, patches = x[:, :, : self.num_prefix_tokens], x[:, :, self.num_prefix_tokens :]
        turned = apply_rot_embed_cat(patches, rope, half=getattr(self, "rotate_half", False))
        return torch.cat([prefix, turned], dim=2)


class OfTransformers(Adapted):
    """transformers' ViTAttention and its like: q_proj, k_proj, v_proj, o_proj."""

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, **others: Any
    ) -> tuple[Tensor, Tensor | None]:
        """hidden_states [B, P+N, C] -> the same, and None for the map. Refuses masks, and to give maps."""
        if attention_mask is not None:
            raise Unsupported("an adapted layer takes no attention_mask; leave it out, or do not adapt")
        if others.get("output_attentions", self.config.output_attentions):
            raise Unsupported("an adapted layer hands no map to output_attentions=True; leave it out, and ask the "
                              "layer's attention.spatial.weights for it")  # fmt: skip
        packed = torch.cat([layer(hidden_states) for layer in (self.q_proj, self.k_proj, self.v_proj)], dim=-1)
        return self.o_proj(self.attended(packed, self.attention_dropout)), None


@dataclass(frozen=True)
class Kind:
    """Where a known model has its blocks and its patch embedding, and how many tokens stand before the patches."""

    blocks: Callable[[Any], Any]
    embed: Callable[[Any], Any]
    prefix: Callable[[Any], int]


def _of_transformers(prefix: Callable[[Any], int]) -> Kind:
    def blocks(trunk: Any) -> Any:
        return range(trunk.config.num_hidden_layers)

    return Kind(blocks, lambda trunk: trunk.embeddings.patch_embeddings, prefix)


_TIMM = Kind(lambda trunk: trunk.blocks, lambda trunk: trunk.patch_embed, lambda trunk: trunk.num_prefix_tokens)
# by the class's name, since neither library need be there: exactly these, as a subclass may order its tokens anew
TRUNKS: dict[str, Kind] = {
    "timm.models.vision_transformer.VisionTransformer": _TIMM,
    "timm.models.deit.VisionTransformerDistilled": _TIMM,
    "timm.models.eva.Eva": _TIMM,
    "transformers.models.vit.modeling_vit.ViTModel": _of_transformers(lambda trunk: 1),
    "transformers.models.deit.modeling_deit.DeiTModel": _of_transformers(lambda trunk: 2),
    "transformers.models.dinov2.modeling_dinov2.Dinov2Model": _of_transformers(lambda trunk: 1),
    "transformers.models.dinov2_with_registers.modeling_dinov2_with_registers.Dinov2WithRegistersModel":
        _of_transformers(lambda trunk: 1 + trunk.config.num_register_tokens),
}  # fmt: skip
HOSTS: dict[str, type[Adapted]] = {
    "timm.layers.attention.Attention": OfTimm,
    "timm.layers.attention.AttentionRope": OfTimm,
    "timm.models.eva.EvaAttention": OfTimm,
    "transformers.models.vit.modeling_vit.ViTAttention": OfTransformers,
    "transformers.models.deit.modeling_deit.DeiTAttention": OfTransformers,
    "transformers.models.dinov2.modeling_dinov2.Dinov2Attention": OfTransformers,
    "transformers.models.dinov2_with_registers.modeling_dinov2_with_registers.Dinov2WithRegistersAttention":
        OfTransformers,
}  # fmt: skip
LIBRARIES = {"timm": "timm's", "transformers": "transformers'"}


def _name(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _words(table: dict[str, Any]) -> str:
    """ "timm's Eva, transformers' ViTModel": the classes of a table by library."""
    classes = {of: [name.rpartition(".")[2] for name in table if name.startswith(of)] for of in LIBRARIES}
    return " or ".join(f"{LIBRARIES[of]} {', '.join(names)}" for of, names in classes.items())


def _trunk(model: nn.Module) -> tuple[str, nn.Module, Kind]:
    """The one part of the model that is known: (its dotted place in the model, itself, its kind)."""
    found = [(name, module) for name, module in model.named_modules() if _name(module) in TRUNKS]
    if len(found) != 1:
        raise Unsupported(f"{_name(model)} holds {len(found)} models of a known kind; adapt wants one of "
                          f"{_words(TRUNKS)} (no subclass)")  # fmt: skip
    name, trunk = found[0]
    return f"{name}." if name else "", trunk, TRUNKS[_name(trunk)]


def _home(embed: Any) -> Grid:
    """The grid that the model was made for."""
    if getattr(embed, "grid_size", None) is not None:
        h, w = embed.grid_size
        return int(h), int(w)
    if not hasattr(embed, "image_size"):
        raise Unsupported(f"the patch embedding {type(embed).__name__} names no grid; create the model with img_size=")
    return embed.image_size[0] // embed.patch_size[0], embed.image_size[1] // embed.patch_size[1]


def _spatial(
    spec: str, host: Any, grid: Grid, layer: int, depth: int, backend: str, shared: dict[Any, Any]
) -> Attention:
    """The variant's layer for a host's heads, in its precision and place, without projections of its own."""
    heads = getattr(host, "num_heads", None) or host.num_attention_heads
    weight = next(host.parameters())
    with torch.random.fork_rng(devices=[]):
        spatial = build(
            spec, heads * host.head_dim if hasattr(host, "head_dim") else weight.shape[1], heads, grid=grid,
            layer=layer, depth=depth, backend=backend, shared=shared,
        )  # fmt: skip
    before = spatial.qkv.weight.detach().clone().zero_()
    spatial.qkv.weight.data.zero_()
    spatial.init_qkv()
    if not torch.equal(spatial.qkv.weight, before):
        raise Unsupported(f"{canonical(spec)} would write over the model's weights of q, k and v; choose a setting "
                          f"that keeps them, such as init=local")  # fmt: skip
    spatial.qkv, spatial.proj = Given(weight), nn.Identity()  # type: ignore[assignment]
    return spatial.to(weight.device, weight.dtype)


def _refuse(spec: str, spatial: Attention, host: Any, turns: bool) -> None:
    """Raises Unsupported for a variant that would mean something else in this model."""
    scale = getattr(host, "scale", None) or host.scaling
    if not isclose(scale, spatial.site.head_dim**-0.5, rel_tol=1e-6):
        raise Unsupported(f"the model scales its scores by {scale:.4g}, a variant by 1/sqrt({spatial.site.head_dim}); "
                          f"leave the scale of the model as it was made")  # fmt: skip
    if isinstance(spatial, Cosine):
        raise Unsupported(f"{canonical(spec)} projects q and k in a way of its own, and the model's is to stay; build "
                          f"it anew with harness.backbone.create, or choose a bias, a prior or windows")  # fmt: skip
    rate = host.attn_drop.p if hasattr(host, "attn_drop") else host.attention_dropout
    if rate:
        _refuse_dropout(spatial, rate)
    if turns and (isinstance(spatial, Rotary) or spatial.given() & {"keys", "queries"}):
        raise Unsupported(f"the model has rotary embeddings already, so {canonical(spec)} would not see offsets "
                          f"alone; choose a prior, a bias or windows (sp_sa, rpe_2d[mode=bias])")  # fmt: skip


def _refuse_dropout(spatial: Attention, rate: float) -> None:
    own = type(spatial)
    if own.attend is not Attention.attend and own.weights is Attention.weights:
        raise Unsupported(f"{own.__name__} adds to what the attention mixes, so a dropout of {rate} of its weights is "
                          f"not defined; create the model with a rate of 0")  # fmt: skip


def _exempt(before: Callable[[], set[str]] | None, names: frozenset[str]) -> set[str]:
    return (before() if before else set()) | names
