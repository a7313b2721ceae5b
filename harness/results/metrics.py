"""What a metric is."""

KINDS = {"shift": ("shift_px_consistency",), "calibration": ("nll",), "corruption": ("corrupted_top1",),
         "maps": ("attention_distance",), "saliency": ("deletion",)}  # fmt: skip


def of_kind(kind: str) -> tuple[str, ...]:
    """The metrics that a kind of cell yields, the one that stands for all first."""
    return KINDS[kind]
