"""One ViT, pre-norm, in which the attention is the only thing that changes."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.backbone.vit import create as create


def __getattr__(name: str) -> Any:
    """`harness.backbone.create`, brought when it is asked for: the sizes beside it need no torch."""
    if name == "create":
        from harness.backbone.vit import create

        return create
    raise AttributeError(name)
