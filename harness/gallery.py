"""python -m harness.gallery: one page with every variant, its equation, what it does to the map, and how it was proved.

The pictures are those of a layer as it starts: the prior and the bias over the offsets, the patches that a mask keeps
for a patch in the middle, and the attention of that patch where all patches look alike, so that what is seen is the
spatial bias alone (uniform for plain attention). Heads left to right, at most four.
"""

from __future__ import annotations

import argparse
import base64
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.results import targets
from harness.run.arguments import Parser
from harness.run.console import in_words

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from harness.run.catalogue import Entry
    from variants.attention import Attention

BADGES = Path("results/parity/badges.jsonl")
MOST = 4  # heads
PIXELS = 8  # of a cell of a map, so that it stays sharp on a dense screen


@dataclass(frozen=True)
class Picture:
    """Maps [a, b], one a head, as images in data URIs; `low` and `high` are the ends of their common scale."""

    title: str
    images: list[str]
    low: float
    high: float


def pictures(layer: Attention) -> Iterator[Picture]:
    """What a layer does by place alone, map by map; a term that it does not have is left out."""
    import torch

    from harness.run.catalogue import GRID, WIDTH
    from variants.relation import total_bias, total_prior

    h, w = GRID
    middle = (h // 2) * w + w // 2
    with torch.no_grad():
        alike = torch.randn(WIDTH, generator=torch.Generator().manual_seed(0)).expand(1, h * w, WIDTH)
        terms = layer.terms(alike, GRID)
        spans = (-1, 2 * h - 1, 2 * w - 1)
        prior, bias, kept = total_prior(terms), total_bias(terms), terms.mask()
        if prior is not None:
            yield drawn("prior over the offsets, neutral at 1", prior.expand(spans), neutral=1.0)
        if bias is not None:
            yield drawn("bias over the offsets, in logits, neutral at 0", bias.expand(spans), neutral=0.0)
        if kept is not None:
            yield drawn("kept for the patch in the middle", kept[:, middle].float().unflatten(1, GRID))
        q, k, _ = layer.project(alike, GRID)
        seen = layer.weights(q, k, GRID)[0, :, middle]
        yield drawn("attention of the patch in the middle where all patches look alike", seen.unflatten(1, GRID))


def drawn(title: str, maps: Tensor, neutral: float | None = None) -> Picture:
    """Maps [H or 1, a, b] on one scale: around `neutral` in two colours, else from nothing upwards in one."""
    import numpy as np
    from matplotlib import colormaps

    values = maps[:MOST].double().numpy()
    low, high = float(values.min()), float(values.max())
    if neutral is None:
        shares, colors = values / (high or 1.0), colormaps["cividis"]
    else:
        reach = float(np.abs(values - neutral).max()) or 1.0
        shares, colors = (values - neutral) / reach / 2 + 0.5, colormaps["RdBu_r"]
    return Picture(title, [png(colors(share)) for share in shares], low, high)


def png(pixels: np.ndarray) -> str:
    """RGBA [a, b, 4] in 0..1 as a data URI."""
    import numpy as np
    from matplotlib import image

    file = io.BytesIO()
    image.imsave(file, np.kron(pixels, np.ones((PIXELS, PIXELS, 1))), format="png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def page(found: Sequence[Entry], proofs: dict[str, str]) -> str:
    """The HTML of the variants and of what each was proved against."""
    from harness.report.pages.template import fill
    from harness.run.catalogue import LAYER, typical

    shown = [(one, list(pictures(typical(one.name)))) for one in found]
    return fill("gallery.html", variants=shown, proofs=proofs, layer=LAYER)


def proved(path: Path) -> dict[str, str]:
    """Variant -> against what it was proved, by the recorded badges; nothing where there are none."""
    from harness.report.text.sentences import oracles
    from harness.results import store

    if not path.exists():
        return {}
    rows = store.load(path)
    if rows.attrs["damaged"]:
        raise ValueError(
            f"{rows.attrs['damaged'][0]}; record the badges anew: pytest tests/variants/published --badges {path}"
        )
    rows = rows[rows["metric"] == "parity"]
    # Badges recorded before rows had params say their oracles in the note, after the variant's name.
    return {
        name: oracles(params["oracles"]) if isinstance(params, dict) else str(note).removeprefix(f"{name}: ")
        for name, params, note in zip(rows["variant"], rows["params"], rows["note"], strict=True)
    }


def parser() -> Parser:
    """The command line."""
    p = Parser(prog="python -m harness.gallery", description="Draw one page with every variant there is.")
    p.add_argument("--report", type=Path, default=Path("reports/variants.html"), metavar="FILE", help="(%(default)s)")
    p.add_argument("--variant-file", type=Path, action="append", default=[], metavar="FILE", help="your variants, too")
    p.add_argument("--badges", type=Path, default=BADGES, metavar="FILE", help="what was proved (%(default)s)")
    p.add_argument("--force", action="store_true", help="replace files that this program did not write")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns 0, or 2 for bad input."""
    args = parser().parse_args(argv)
    return in_words("harness.gallery", lambda: run(args), resumes=False)


def run(args: argparse.Namespace) -> int:
    """Draws the page."""
    from harness.jobs.variant_file import load
    from harness.results import store
    from harness.run.catalogue import entries

    targets.check({"report": args.report}, force=args.force)
    for path in args.variant_file:
        load(path)
    store.write_bytes(args.report, page(entries(), proved(args.badges)).encode())
    print(args.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
