"""One Vision Transformer, pre-norm, in which the attention is the only thing that changes.

    x = x + attention(norm1(x), grid);  x = x + mlp(norm2(x))

Source: Dosovitskiy et al., ViT, arXiv 2010.11929, as in DeiT (arXiv 2012.12877) and timm, whose parameter names are
kept: timm's weights load as they are, and `sa` gives timm's logits. The leading `spatial_layers` blocks carry the
variant, the others plain attention. A late class token (ConViT, arXiv 2103.10697; SP-ViT, arXiv 2206.07662) joins after
them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from operator import index
from typing import Any, NamedTuple, get_args

import torch
from timm.layers import Mlp, build_sincos2d_pos_embed, resample_abs_pos_embed
from torch import Tensor, nn

from harness.backbone.embed import PEG, ConvStem, PatchEmbed
from harness.backbone.sizes import ClassToken, PosEmbed, Precision, Size, size_of
from harness.distributed import DropPath
from variants import Attention, build, keep_terms
from variants.geometry import Grid
from variants.relation import Unsupported


class Block(nn.Module):
    """x [B, P+N, C] -> [B, P+N, C]: attention and MLP, each with a norm before and a skip around it."""

    def __init__(self, attention: Attention, size: Size, drop_path: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(size.width, eps=size.norm_eps)
        self.attn = attention
        self.norm2 = nn.LayerNorm(size.width, eps=size.norm_eps)
        self.mlp = Mlp(size.width, size.hidden)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.skip_scale = size.skip_scale
        self.peg = PEG(size.width) if size.peg else None

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        x = x + self._branch(self.attn(self.norm1(x), grid))
        x = x + self._branch(self.mlp(self.norm2(x)))
        return x if self.peg is None else self.peg(x, grid)

    def _branch(self, x: Tensor) -> Tensor:
        x = self.drop_path(x)
        return x if self.skip_scale == 1 else x / self.skip_scale


class Logits(NamedTuple):
    """What the heads say apart: of the class token or the mean [B, classes], the distillation token [B, classes], and
    the patches [B, N, classes]; None where there is no such head."""

    cls: Tensor
    dist: Tensor | None = None
    patches: Tensor | None = None

    def together(self) -> Tensor:
        """[B, classes]: the mean of class and distillation token, and half of the largest logit over the patches.

        Sources: DeiT, arXiv 2012.12877, section 3; LV-ViT's and SP-ViT's code.
        """
        logits = self.cls if self.dist is None else (self.cls + self.dist) / 2
        return logits if self.patches is None else logits + 0.5 * self.patches.amax(dim=1)

    def float(self) -> Logits:
        return Logits(*(None if part is None else part.float() for part in self))  # type: ignore[arg-type]


class ViT(nn.Module):
    """images [B, in_chans, H, W] -> logits [B, num_classes], for any H and W that the patch divides. See `create`."""

    dynamic_img_size = True

    def __init__(
        self,
        spec: str,
        size: Size,
        *,
        grid: Grid,
        patch_size: int,
        in_chans: int,
        num_classes: int,
        spatial_layers: int,
        drop_path: float,
        backend: str,
        precision: Precision,
    ):
        super().__init__()
        self.precision = precision
        self.spec, self.size, self.grid, self.patch_size = spec, size, grid, patch_size
        self.spatial_layers = spatial_layers
        self.prefix = size.prefix  # tokens before the patches, in the end
        self._prefix = size.prefix if size.class_token == "input" else 0  # those that have a position embedding
        tokens = grid[0] * grid[1] + self._prefix
        self.patch_embed = (
            PatchEmbed(patch_size, in_chans, size.width) if size.stem_width is None
            else ConvStem(patch_size, in_chans, size.width, size.stem_width)
        )  # fmt: skip
        self.cls_token = None if size.class_token == "none" else nn.Parameter(torch.zeros(1, 1, size.width))
        self.dist_token = nn.Parameter(torch.zeros(1, 1, size.width)) if size.distilled else None
        learned = size.pos_embed == "learned"
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, size.width)) if learned else None
        shared: dict[Any, Any] = {}
        self.blocks: Any = nn.ModuleList()
        for layer in range(size.depth):
            rate = drop_path * layer / max(1, size.depth - 1)
            attention = build(
                spec if layer < spatial_layers else "sa",
                size.width, size.num_heads, grid=grid, layer=layer, depth=size.depth, qkv_bias=size.qkv_bias,
                backend=backend, shared=shared,
            )  # fmt: skip
            self.blocks.append(Block(attention, size, rate))
        self.norm = nn.LayerNorm(size.width, eps=size.norm_eps)
        self.head = nn.Linear(size.width, num_classes)
        self.head_dist = nn.Linear(size.width, num_classes) if size.distilled else None
        self.aux_head = nn.Linear(size.width, num_classes) if size.aux_head else None
        self._init_shared()
        self.register_load_state_dict_pre_hook(_fit_pos_embed)

    def _init_shared(self) -> None:
        for token in (self.cls_token, self.dist_token):
            if token is not None:
                nn.init.trunc_normal_(token, std=0.02)
        if self.pos_embed is not None:
            nn.init.trunc_normal_(self.pos_embed, std=self.size.pos_std, a=-10, b=10)
        heads = [head for head in (self.head, self.head_dist, self.aux_head) if head is not None]
        for linear in [*heads, *(fc for block in self.blocks for fc in (block.mlp.fc1, block.mlp.fc2))]:
            nn.init.trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)

    def grid_of(self, images: Tensor) -> Grid:
        """The patches (h, w) of a batch. Raises ValueError where the patch does not divide the image.

        So it does for another size than the training grid's, where a model of timm's kind says not dynamic_img_size.
        """
        own = None if self.dynamic_img_size else self.grid
        return grid_for((images.shape[-2], images.shape[-1]), self.patch_size, own)

    def positions(self, grid: Grid, like: Tensor) -> Tensor | None:
        """The position embedding [1, N or 1+N, C] on a grid, resampled (bicubic) if it was learned on another."""
        if self.size.pos_embed == "none":
            return None
        return positions_on(self.pos_embed, grid, self.grid, self._prefix, like)

    def tokens(self, images: Tensor, box: Tensor | None = None) -> Tensor:
        """[B, P+N, C]: the tokens after the last norm; box: as of `embed`."""
        x, grid = self.embed(images, box)
        for layer in range(len(self.blocks)):
            x = self.layer(layer, x, grid)
        return self.norm(x)

    def embed(self, images: Tensor, box: Tensor | None = None) -> tuple[Tensor, Grid]:
        """The tokens [B, P+N, C] before the first block, positions added, and the grid; P counts no late token.

        box: bool [h, w], the patches that image i takes from image B-1-i, before positions are added (MixToken).
        """
        grid = self.grid_of(images)
        x = self.patch_embed(images)
        if box is not None:
            x = torch.where(box.flatten()[:, None], x.flip(0), x)
        positions = self.positions(grid, x)
        if self._prefix:
            x = self._with_tokens(x)
        return x if positions is None else x + positions, grid

    def layer(self, number: int, x: Tensor, grid: Grid) -> Tensor:
        """Block `number` on tokens [B, P+N, C]; a late class token joins before the first plain block."""
        if self.size.class_token == "late" and number == self.spatial_layers:
            x = self._with_tokens(x)
        out: Tensor = self.blocks[number](x, grid)
        return out

    def forward(self, images: Tensor) -> Tensor:
        """[B, num_classes]; in bfloat16 torch's autocast does the products, relations and logits are float32."""
        if self.precision == "float32":
            return self.head_of(self.tokens(images))
        with torch.autocast(images.device.type, getattr(torch, self.precision)):
            return self.head_of(self.tokens(images)).float()

    def apart(self, images: Tensor, box: Tensor | None = None) -> Logits:
        """As the forward, but what each head says, for training; box: as of `embed`."""
        if self.precision == "float32":
            return self.heads_of(self.tokens(images, box))
        with torch.autocast(images.device.type, getattr(torch, self.precision)):
            return self.heads_of(self.tokens(images, box)).float()

    def head_of(self, tokens: Tensor) -> Tensor:
        """[B, num_classes] of the tokens [B, P+N, C] after the last norm."""
        return self.heads_of(tokens).together()

    def heads_of(self, tokens: Tensor) -> Logits:
        """What each head says of the tokens [B, P+N, C] after the last norm."""
        return Logits(
            self.head(tokens[:, 0] if self.prefix else tokens.mean(dim=1)),
            None if self.head_dist is None else self.head_dist(tokens[:, 1]),
            None if self.aux_head is None else self.aux_head(tokens[:, self.prefix :]),
        )

    def keep_terms(self) -> AbstractContextManager[None]:
        """For inference with weights that stay: inside, each layer computes its terms once a grid.

        Everywhere else they are computed in every forward. Weights must not change inside; see variants/attention.py.
        """
        return keep_terms(self)

    def set_grid(self, grid: Grid) -> None:
        """Makes `grid` the training grid, for fine-tuning: learned embeddings and tables take its size."""
        if self.pos_embed is not None:
            resampled = resample_abs_pos_embed(self.pos_embed.detach(), list(grid), list(self.grid), self._prefix)
            self.pos_embed = nn.Parameter(resampled.clone())
        for block in self.blocks:
            block.attn.resample(grid)
        self.grid = grid

    def executes(self, images: Tensor) -> str:
        """The backends that the layers with the variant take for a batch, as one word; under no_grad, in inference."""
        return "+".join(sorted({layer.executes(like, grid) for layer, like, grid in self._with_variant(images)}))

    def sdpa_kernel(self, images: Tensor) -> str:
        """The kernels of those of these layers that take sdpa, as one word such as flash or math; "" for none.

        A fused kernel or, as for a bias that needs a gradient on the CPU, one that is written out.
        """
        casts = self.precision != "float32"
        dtype = getattr(torch, self.precision) if casts else None
        with torch.autocast(images.device.type, dtype, enabled=casts):
            used = {layer.sdpa_kernel(like, grid) for layer, like, grid in self._with_variant(images)}
        return "+".join(sorted(used - {""}))

    def _with_variant(self, images: Tensor) -> Iterator[tuple[Attention, Tensor, Grid]]:
        """The layers that carry the variant, each with an input of the shape that it gets, and the grid."""
        grid = self.grid_of(images)
        late = self.size.class_token == "late" and self.spatial_layers > 0
        prefix = 0 if late else self.prefix
        like = images.new_zeros(len(images), prefix + grid[0] * grid[1], self.size.width)
        for block in self.blocks[: self.spatial_layers] or self.blocks:
            yield block.attn, like, grid

    def no_weight_decay(self) -> set[str]:
        """timm's exemptions by name (1-D parameters are exempt by timm's rule), and those that a variant names."""
        own = {f"blocks.{i}.attn.{n}" for i, block in enumerate(self.blocks) for n in block.attn.no_weight_decay()}
        return {"pos_embed", "cls_token", "dist_token"} | own

    def _with_tokens(self, x: Tensor) -> Tensor:
        tokens = [token.expand(x.shape[0], -1, -1) for token in (self.cls_token, self.dist_token) if token is not None]
        return torch.cat([*tokens, x], dim=1)


def positions_on(learned: Tensor | None, grid: Grid, own: Grid, prefix: int, like: Tensor) -> Tensor:
    """The position embedding [1, prefix + N, C] on a grid: that learned on the grid `own`, or sines for None.

    A function, as is `grid_for`, so that torch.fx can take what depends on the grid as a whole.
    """
    if learned is None:
        table = build_sincos2d_pos_embed(list(grid), like.shape[-1], device=like.device, dtype=like.dtype)[None]
        return nn.functional.pad(table, (0, 0, prefix, 0))
    return learned if tuple(grid) == tuple(own) else resample_abs_pos_embed(learned, list(grid), list(own), prefix)


def grid_for(image: tuple[int, int], patch_size: int, own: Grid | None = None) -> Grid:
    """The patches of an image (height, width) in pixels.

    Raises ValueError where the patch does not divide it, or the grid is not `own`, the only one that is taken.
    """
    image = (index(image[0]), index(image[1]))  # the terms are of one grid, so torch.compile is not to leave it open
    if patch_size < 1 or any(side < patch_size or side % patch_size for side in image):
        near = sorted({max(1, side // patch_size) * patch_size for side in image}) if patch_size > 0 else ["any"]
        raise ValueError(f"an image of {image[0]}x{image[1]} px cannot be cut into patches of {patch_size} px; "
                         f"choose a size such as {near[0]} or a patch that divides it")  # fmt: skip
    grid = image[0] // patch_size, image[1] // patch_size
    if own is not None and grid != tuple(own):
        raise ValueError(f"an image of {image[0]}x{image[1]} px is not of the training size, {own[0] * patch_size}x"
                         f"{own[1] * patch_size} px; create the model with dynamic_img_size=True, or call "
                         f"set_input_size")  # fmt: skip
    return grid


def create(
    spec: str,
    *,
    kind: type[ViT] = ViT,
    size: str | Size = "micro",
    img_size: int | tuple[int, int],
    patch_size: int,
    in_chans: int = 3,
    num_classes: int,
    num_heads: int | None = None,
    class_token: ClassToken | None = None,
    spatial_layers: int | None = None,
    pos_embed: PosEmbed | None = None,
    pos_std: float | None = None,
    peg: bool | None = None,
    aux_head: bool | None = None,
    distilled: bool | None = None,
    qkv_bias: bool | None = None,
    mlp_hidden: int | None = None,
    drop_path: float = 0.0,
    backend: str = "auto",
    precision: Precision = "float32",
    seed: int | None = None,
) -> ViT:
    """The ViT of a spec. None means: the size's own choice. kind: the class of the model, a ViT with more methods.

    spatial_layers: how many leading layers carry the variant; by default all but two, all with no late class token.
    mlp_hidden: the width of the MLPs' hidden layer. drop_path: the rate of the last layer, growing linearly.
    seed: given, torch's stream is seeded first, so that all variants of a seed start from the same shared weights.
    Raises ValueError (Unsupported among them) for what cannot be built.
    """
    chosen = size_of(size) if isinstance(size, str) else size
    given: dict[str, Any] = {
        "num_heads": num_heads,
        "class_token": class_token,
        "pos_embed": pos_embed,
        "pos_std": pos_std,
        "peg": peg,
        "aux_head": aux_head,
        "distilled": distilled,
        "qkv_bias": qkv_bias,
        "mlp_hidden": mlp_hidden,
    }
    chosen = replace(chosen, **{name: value for name, value in given.items() if value is not None})
    _check_word("class_token", chosen.class_token, ClassToken)
    _check_word("pos_embed", chosen.pos_embed, PosEmbed)
    _check_word("precision", precision, Precision)
    if chosen.distilled and chosen.class_token == "none":
        raise ValueError("distilled=True adds a token beside the class token, and class_token=none has none; choose "
                         "class_token=late or input")  # fmt: skip
    late = chosen.class_token == "late"
    layers = spatial_layers if spatial_layers is not None else chosen.spatial_layers(chosen.class_token)
    if not 0 <= layers <= chosen.depth - late:
        raise ValueError(f"{layers} spatial layers do not fit {chosen.depth} layers with class_token="
                         f"{chosen.class_token}; choose 0 to {chosen.depth - late}")  # fmt: skip
    if chosen.pos_embed == "sincos" and chosen.width % 4:
        raise Unsupported(f"pos_embed=sincos wants a width that 4 divides, not {chosen.width}; use pos_embed=learned")
    if num_classes < 1 or in_chans < 1:
        raise ValueError(f"num_classes={num_classes} and in_chans={in_chans} must both be at least 1")
    if not 0 <= drop_path < 1:
        raise ValueError(f"drop_path={drop_path} is no rate; choose 0 or more and less than 1")
    image = (img_size, img_size) if isinstance(img_size, int) else img_size
    if seed is not None:
        torch.manual_seed(seed)
    return kind(
        spec, chosen, grid=grid_for(image, patch_size), patch_size=patch_size, in_chans=in_chans,
        num_classes=num_classes, spatial_layers=layers, drop_path=drop_path, backend=backend,
        precision=precision,
    )  # fmt: skip


def _check_word(name: str, word: str, choices: Any) -> None:
    if word not in get_args(choices):
        raise ValueError(f"{name}={word!r} is not available; choose {', '.join(get_args(choices))}")


def _fit_pos_embed(model: ViT, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Lets late tokens absorb their position entries: timm's N+1 become N and cls_token += pos_embed[:, 0]."""
    entries, names = state.get(f"{prefix}pos_embed"), [f"{prefix}{name}" for name in ("cls_token", "dist_token")]
    late = names[: model.size.prefix]
    if model.size.class_token != "late" or model.pos_embed is None or entries is None or not {*late} <= {*state}:
        return
    if entries.shape[1] == model.pos_embed.shape[1] + len(late):
        for at, name in enumerate(late):
            state[name] = state[name] + entries[:, at : at + 1]
        state[f"{prefix}pos_embed"] = entries[:, len(late) :]
