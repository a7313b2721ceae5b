"""The ViT with timm's methods: what a model of timm offers beyond `forward`, so that it goes wherever timm's ViTs go.

    model = build("sp_sa", size="small", img_size=224, patch_size=16)
    model.forward_head(model.forward_features(images))  # model(images), to the bit

Source: timm 1.0's `VisionTransformer`. Its `ConVit` is followed where a late class token differs: an intermediate has
patches alone, and the token goes when the layers that see it are pruned. Its `VOLO` is followed for the token head:
`get_classifier` is the class token's head, `pre_logits` the vector before that, and both heads are reset together.
No study executes this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from timm.layers import resample_patch_embed
from timm.models import checkpoint, register_notrace_function, register_notrace_module
from timm.models._features import feature_take_indices
from timm.models.vision_transformer import global_pool_nlc
from torch import Tensor, nn

from harness.backbone.embed import ConvStem, PatchEmbed
from harness.backbone.sizes import Size, size_of
from harness.backbone.start import resampled
from harness.backbone.vit import Block, Logits, ViT, create, grid_for, positions_on
from harness.backbone.weights import translate
from variants.geometry import Grid

try:
    from timm.models._input import update_model_input_size as note_size
except ImportError:  # an older timm, whose exports say no size
    note_size = None  # type: ignore[assignment]

POOLS = ("token", "avg", "max", "avgmax", "")
ABSENT = {  # settings of timm's ViTs that this one does not have, by the reason
    "attn_drop_rate": "no attention here drops weights; use drop_path_rate",
    "proj_drop_rate": "the layers drop whole branches alone; use drop_path_rate",
    "patch_drop_rate": "a spatial relation needs every patch of the grid; use drop_path_rate",
    "dynamic_img_pad": "images are not padded; choose a size that the patch divides",
}


class Refused(ValueError, AssertionError):
    """Bad input where timm asserts: code that catches timm's AssertionError catches it."""


class TimmViT(ViT):
    """images [B, in_chans, H, W] -> logits [B, num_classes], or what is pooled [B, C] with num_classes = 0.

    global_pool: `token` or, with no class token, `avg` are the model's own; "" leaves the tokens [B, P+N, C] as they
    are, each with its logits. dynamic_img_size: whether images may have another size than that of the training grid.
    """

    patch_embed: Any
    norm: Any
    head: Any
    pretrained_cfg: Any  # timm's builder sets it

    def __init__(self, spec: str, size: Size, *, in_chans: int, num_classes: int, **given: Any):
        super().__init__(spec, size, in_chans=in_chans, num_classes=num_classes, **given)
        self.in_chans, self.num_classes = in_chans, num_classes
        self.num_features = self.head_hidden_size = self.embed_dim = size.width
        self.global_pool = "avg" if self.cls_token is None else "token"
        self.pos_drop, self.head_drop = nn.Dropout(0.0), nn.Dropout(0.0)
        self.dynamic_img_size = True
        self.grad_checkpointing = False
        self.first_grid = self.grid
        self._describe()

    def _describe(self) -> None:
        """Says the size where timm's tools look for it."""
        px = (self.grid[0] * self.patch_size, self.grid[1] * self.patch_size)
        about = {"img_size": px, "grid_size": self.grid, "num_patches": self.grid[0] * self.grid[1],
                 "patch_size": (self.patch_size, self.patch_size)}  # fmt: skip
        for name, value in about.items():
            setattr(self.patch_embed, name, value)
        self.feature_info = [
            {"module": f"blocks.{layer}", "num_chs": self.embed_dim, "reduction": self.patch_size}
            for layer in range(self.size.depth)
        ]

    @property
    def num_prefix_tokens(self) -> int:
        """How many tokens of `forward_features` stand before the patches."""
        return self.prefix

    def embed(self, images: Tensor, box: Tensor | None = None) -> tuple[Tensor, Grid]:
        """As ViT.embed, with dropout."""
        x, grid = super().embed(images, box)
        return self.pos_drop(x), grid

    def layer(self, number: int, x: Tensor, grid: Grid) -> Tensor:
        """As ViT.layer; with grad_checkpointing the backward pass computes it again."""
        if not self.grad_checkpointing:
            return super().layer(number, x, grid)
        out: Tensor = checkpoint(super().layer, number, x, grid)
        return out

    def head_of(self, tokens: Tensor) -> Tensor:
        """As ViT.head_of, with the pooling of `global_pool` and dropout; [B, C] where there is no head."""
        return self.heads_of(tokens).together() if self.num_classes else self._pooled(tokens)

    def heads_of(self, tokens: Tensor) -> Logits:
        """As ViT.heads_of, with the pooling of `global_pool` and dropout; without pooling the one head alone."""
        logits = self.head(self._pooled(tokens))
        if not self.global_pool:
            return Logits(logits)
        return Logits(
            logits,
            None if self.head_dist is None else self.head_dist(self.head_drop(tokens[:, 1])),
            None if self.aux_head is None else self.aux_head(self.head_drop(tokens[:, self.prefix :])),
        )

    def _pooled(self, tokens: Tensor) -> Tensor:
        pooled: Tensor = self.head_drop(global_pool_nlc(tokens, self.global_pool, self.num_prefix_tokens))
        return pooled

    def _cast(self, like: Tensor) -> AbstractContextManager[Any]:
        """The autocast of ViT.forward."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(like.device.type, getattr(torch, self.precision))

    def forward_features(self, images: Tensor) -> Tensor:
        """[B, P+N, C]: the tokens after the last norm."""
        with self._cast(images):
            return self.tokens(images)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits [B, num_classes] of forward_features' tokens, or with pre_logits the vector [B, C] that is pooled."""
        with self._cast(x):
            out = self._pooled(x) if pre_logits else self.head_of(x)
        return out if self.precision == "float32" else out.float()

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | tuple[int, ...] | None = None,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
        output_dict: bool = False,
    ) -> Any:
        """The patches after chosen blocks, [B, C, h, w] (NCHW) or [B, N, C] (NLC), as timm's ViTs return them.

        indices: the last so many blocks, these blocks, or all (None). Returns (tokens after the last norm, list), or
        with intermediates_only the list. return_prefix_tokens: each entry is (patches, prefix [B, P, C]); P is 0 in the
        layers that a late class token has not joined. Raises ValueError for an index or a format of nothing.
        """
        if output_fmt not in ("NCHW", "NLC"):
            raise Refused(f"output_fmt={output_fmt!r} is not available; choose NCHW or NLC")
        taken, last = self._taken(indices)
        with self._cast(x):
            tokens, grid = self.embed(x)
            seen = []
            for number in range(last + 1 if stop_early else len(self.blocks)):
                tokens = self.layer(number, tokens, grid)
                if number in taken:
                    seen.append(self.norm(tokens) if norm else tokens)
            final = None if intermediates_only else self.norm(tokens)
        patches = grid[0] * grid[1]
        prefixes = [y[:, : y.shape[1] - patches] for y in seen]
        found = [y[:, y.shape[1] - patches :] for y in seen]
        if output_fmt == "NCHW":
            found = [y.transpose(1, 2).unflatten(2, grid).contiguous() for y in found]
        with_prefixes = return_prefix_tokens and self.size.class_token != "none"
        if output_dict:
            named: dict[str, Any] = {"image_intermediates": found}
            named |= {"image_intermediates_prefix": prefixes} if with_prefixes else {}
            return named if final is None else named | {"image_features": final}
        entries = list(zip(found, prefixes, strict=True)) if with_prefixes else found
        return entries if final is None else (final, entries)

    def _taken(self, indices: int | list[int] | tuple[int, ...] | None) -> tuple[list[int], int]:
        try:
            return feature_take_indices(len(self.blocks), indices)  # type: ignore[arg-type]
        except AssertionError as error:
            raise Refused(f"indices={indices} are not all among the {len(self.blocks)} blocks; choose 1 to "
                             f"{len(self.blocks)} for the last ones, or a list of 0 to {len(self.blocks) - 1}"
                             ) from error  # fmt: skip

    def prune_intermediate_layers(
        self, indices: int | list[int] | tuple[int, ...] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drops the blocks after the last of these, and with them a class token that would have joined there.

        Returns the numbers of the blocks that were asked for. prune_norm, prune_head: drop these, too. A head that
        pools the class token goes with it.
        """
        taken, last = self._taken(indices)
        self.blocks = self.blocks[: last + 1]
        if self.size.class_token == "late" and last < self.spatial_layers:
            self.cls_token = self.dist_token = None
            self.prefix = 0
            prune_head = prune_head or self.global_pool == "token"
        if prune_norm:
            self.norm = nn.Identity()
        if prune_head:
            self.reset_classifier(0, "")
        return taken

    def get_classifier(self) -> Any:
        """The head; with a distillation token both, as timm's distilled models say; else that of the class token."""
        return self.head if self.head_dist is None else (self.head, self.head_dist)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new head, or with 0 classes none; with it the other heads, if there are any. None keeps the pooling.

        Raises ValueError for what cannot be pooled, or fewer classes than none.
        """
        if num_classes < 0:
            raise ValueError(f"num_classes={num_classes} must be at least 0; 0 leaves the head out")
        if global_pool is not None:
            self._set_pool(global_pool)
        self.num_classes = num_classes
        self.head = self._linear() if num_classes else nn.Identity()
        self.head_dist = self._linear() if num_classes and self.dist_token is not None else None
        self.aux_head = self._linear() if num_classes and self.size.aux_head else None

    def _set_pool(self, pool: str) -> None:
        choices = POOLS if self.cls_token is not None else POOLS[1:]
        if pool not in choices:
            why = " with no class token" if pool in POOLS else ""
            raise Refused(f"global_pool={pool!r} is not available{why}; choose "
                             f"{', '.join(map(repr, choices))}")  # fmt: skip
        self.global_pool = pool

    def _linear(self) -> nn.Linear:
        like = self.patch_embed.proj.weight
        linear = nn.Linear(self.embed_dim, self.num_classes, device=like.device, dtype=like.dtype)
        nn.init.trunc_normal_(linear.weight, std=0.02)
        nn.init.zeros_(linear.bias)
        return linear.train(self.training)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Whether the backward pass computes each block again, which takes less memory and more time."""
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of parameter names by depth, for timm's layer decay. The heads match none, and so come last."""
        return {
            "stem": r"^cls_token|dist_token|pos_embed|patch_embed",
            "blocks": [(r"^blocks\.(\d+)", None), (r"^norm", (99999,))],
        }

    def set_grid(self, grid: Grid) -> None:
        """As ViT.set_grid; what is frozen stays frozen."""
        frozen = {name for name, parameter in self.named_parameters() if not parameter.requires_grad}
        super().set_grid(grid)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name not in frozen)
        self._describe()

    def set_input_size(
        self,
        img_size: int | tuple[int, int] | None = None,
        patch_size: int | tuple[int, int] | None = None,
    ) -> None:
        """Makes a size in pixels the training size, and a patch the patch; None: as before. Weights are resampled.

        Raises ValueError for a patch that is not square, does not divide the size, or is odd below a stem.
        """
        patch = self.patch_size if patch_size is None else _side(patch_size)
        given = self.patch_embed.img_size if img_size is None else img_size
        px = (given, given) if isinstance(given, int) else (given[0], given[1])
        grid = grid_for(px, patch)
        if patch != self.patch_size:
            self._set_patch(patch)
        self.set_grid(grid)
        if note_size is not None:
            note_size(self, px, patch_size=None if patch_size is None else patch, first_grid=self.first_grid)

    def _set_patch(self, patch: int) -> None:
        old, stem_width = self.patch_embed.proj, self.size.stem_width
        fresh: Any = (
            PatchEmbed(patch, self.in_chans, self.embed_dim) if stem_width is None
            else ConvStem(patch, self.in_chans, self.embed_dim, stem_width)
        )  # fmt: skip
        new = fresh.proj.to(old.weight.device, old.weight.dtype)
        with torch.no_grad():
            new.weight.copy_(resample_patch_embed(old.weight, list(new.kernel_size)))
            new.bias.copy_(old.bias)
        new.weight.requires_grad_(old.weight.requires_grad)
        new.bias.requires_grad_(old.bias.requires_grad)
        self.patch_embed.proj = new.train(self.training)
        self.patch_size = patch


def build(
    spec: str,
    *,
    size: str | Size,
    embed_dim: int | None = None,
    depth: int | None = None,
    mlp_ratio: float | None = None,
    num_classes: int = 1000,
    global_pool: str | None = None,
    drop_rate: float = 0.0,
    pos_drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    img_size: int | tuple[int, int],
    patch_size: int,
    first_grid: Grid | None = None,
    dynamic_img_size: bool = True,
    device: Any = None,
    dtype: torch.dtype | None = None,
    **factors: Any,
) -> TimmViT:
    """The TimmViT of a spec, by timm's names of settings; `factors` are those of `create`. None: the size's own choice.

    num_classes: 0 leaves the heads out. drop_rate: of what enters a head. pos_drop_rate: of the tokens before the first
    block. first_grid: the grid before set_input_size, which some windows and scales keep to, for a model that is built
    again. Raises ValueError for what cannot be built, among it the rates of ABSENT, and TypeError for what is unknown.
    """
    for name, why in ABSENT.items():
        if given := factors.pop(name, None):
            raise ValueError(f"{name}={given} is not available: {why}")
    for name, rate in (("drop_rate", drop_rate), ("pos_drop_rate", pos_drop_rate)):
        if not 0 <= rate < 1:
            raise ValueError(f"{name}={rate} is no rate; choose 0 or more and less than 1")
    chosen = size_of(size) if isinstance(size, str) else size
    given = {"width": embed_dim, "depth": depth, "mlp_ratio": mlp_ratio}
    chosen = replace(chosen, **{name: value for name, value in given.items() if value is not None})
    if num_classes < 0:
        raise ValueError(f"num_classes={num_classes} must be at least 0; 0 leaves the head out")
    with nullcontext() if device is None else torch.device(device):
        model = create(
            spec, kind=TimmViT, size=chosen, num_classes=num_classes or 1, drop_path=drop_path_rate,
            img_size=img_size if first_grid is None else (first_grid[0] * patch_size, first_grid[1] * patch_size),
            patch_size=patch_size, **factors,
        )  # fmt: skip
    assert isinstance(model, TimmViT)
    if first_grid is not None:
        model.set_input_size(img_size)
    model.pos_drop.p, model.head_drop.p, model.dynamic_img_size = pos_drop_rate, drop_rate, dynamic_img_size
    if global_pool is not None:
        model._set_pool(global_pool)
    if num_classes == 0:
        model.reset_classifier(0)
    return model.to(dtype=dtype) if dtype is not None else model


def fitted(state: Mapping[str, Tensor], model: TimmViT) -> dict[str, Tensor]:
    """Weights in this backbone's names, as `translate`, and resampled where they were trained on another grid.

    Which one that was stands in the export's arguments or, for other files, in the pretrained_cfg of the model.
    """
    own = translate(state)
    told = getattr(model, "pretrained_model_args", {}).get("img_size") or model.pretrained_cfg["input_size"][-2:]
    px = (told, told) if isinstance(told, int) else (told[0], told[1])
    grid = (px[0] // model.patch_size, px[1] // model.patch_size)
    learned = own.get("pos_embed")
    if grid == model.grid or (
        learned is not None and learned.shape[1] not in (grid[0] * grid[1], grid[0] * grid[1] + model.size.prefix)
    ):
        return own
    return resampled(own, model, grid)  # of another head, say, timm takes care


def _side(patch: int | tuple[int, int]) -> int:
    sides = {patch} if isinstance(patch, int) else set(patch)
    if len(sides) != 1:
        raise ValueError(f"a patch of {patch} px is not square; choose one number")
    return sides.pop()


register_notrace_module(Block)  # torch.fx takes what depends on a grid as a whole
for _function in (grid_for, positions_on):
    register_notrace_function(_function)
