"""Made-up study rows for the tests of statistics and report: seeded, in the format that harness.run writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.report.study.study import Study
from harness.report.study.study import study as study_of
from harness.results import store

MACHINE = {"cpu": "Made-up CPU", "cores": 2, "threads": 2, "memory_gib": 24, "gpu": None, "os": "Linux"}
VERSIONS = {"python": "3.11.9", "torch": "2.11.0", "timm": "1.0.20"}
RECIPE = {
    "command": "python -m harness.run --variants psa,sp_sa", "baseline": "sa", "dataset": "digits", "img_size": 8,
    "patch_size": 1, "size": "micro", "class_token": "late", "spatial_layers": 4, "pos_embed": "learned", "epochs": 30,
    "batch_size": 64, "lr": 0.001, "weight_decay": 0.05, "warmup_epochs": 3, "smoothing": 0.1, "resolutions": [8, 12],
    "seeds": [0, 1, 2, 3, 4], "note": "lr found on sa alone, on the validation split, among 0.0005, 0.001, 0.002",
}  # fmt: skip
HASH = "0123456789abcdef"

# variant: family, gain in points, slope of transfer, time ratio, parameters, GMAC
VARIANTS: Mapping[str, tuple[str, float, float, float, int, float]] = {
    "sa": ("baseline", 0.0, 6.0, 1.00, 213_000, 0.0131),
    "sp_sa": ("priors", 1.6, 2.0, 1.06, 214_400, 0.0132),
    "psa": ("convit", 0.9, 3.0, 1.02, 213_050, 0.0131),
    "gpsa": ("convit", 0.3, 3.5, 1.62, 213_060, 0.0151),
    "rpe_1d": ("rpe", 0.2, 5.5, 1.21, 216_300, 0.0140),
    "rpe_2d[mode=bias]": ("rpe", 1.1, 4.0, 1.09, 213_900, 0.0131),
    "swin": ("windows", -1.3, 4.5, 0.83, 213_000, 0.0109),
    "cswin": ("windows", -0.6, 4.8, 0.88, 213_000, 0.0113),
}
# what is added to the exponent of a time ratio from 8 to 12 px: gpsa overtakes sa, swin falls behind it
CROSSING: Mapping[str, float] = {"gpsa": -2.0, "swin": -2.0, "cswin": 1.0}


def row(variant: str, metric: str, value: float | None, **columns: Any) -> dict[str, Any]:
    """One row with what all rows of the study share."""
    known = VARIANTS.get(variant, ("custom", 0.0, 0.0, 1.0, 1, 1.0))
    shared = {
        "study": "made-up", "cell": "all" if columns.get("seed") is None else f"{variant}-{columns['seed']}",
        "variant": variant, "family": known[0],
        "size": "micro", "dataset": "digits", "train_px": 8, "grid": "8x8", "train_fraction": 1.0, "metric": metric,
        "value": value, "unit": "1", "recipe_hash": HASH, "source_hash": "feed", "code": "abcdef0", "machine": MACHINE,
        "versions": VERSIONS, "when": "2026-01-05T10:00:00+00:00",
    }  # fmt: skip
    return shared | columns


def accuracy(variants: Iterable[str], seeds: Sequence[int], resolutions: Sequence[int | str]) -> list[dict[str, Any]]:
    """Top-1 per variant, seed and test resolution; a seed moves all variants alike, as paired seeds do."""
    found = []
    for variant in variants:
        gain, slope = VARIANTS.get(variant, ("", 0.5, 3.0))[1:3]
        for seed in seeds:
            shared = 1.2 * np.random.default_rng(seed).standard_normal()
            own = np.random.default_rng([seed, *variant.encode()])
            for px in resolutions:
                side = px if isinstance(px, int) else int(px.split("x")[1])
                top1 = 93.0 + gain + shared + 0.35 * own.standard_normal() - slope * abs(side - 8) / 4
                cell = {"seed": seed, "epoch": 30, "test_px": px, "unit": "%", "n": 360}
                found.append(row(variant, "top1", round(min(100.0, max(0.0, top1)) * 3.6) / 3.6, **cell))
            found.append(row(variant, "val_top1", 94.0 + gain + shared, seed=seed, epoch=30, unit="%"))
    return found


def timings(variants: Iterable[str], prefix: str, base_s: float, px: int, rounds: int, baseline: str) -> list[Any]:
    """(variant, metric without prefix, value, unit, samples) of one condition; a larger image costs by its pixels."""
    noise = np.random.default_rng([px, *prefix.encode()])
    common = 1 + 0.02 * noise.standard_normal(rounds)
    reference = base_s * common * (px / 8) ** 2
    found: list[Any] = []
    for variant in variants:
        factor = VARIANTS.get(variant, ("", 0.0, 0.0, 1.3))[3] ** (1 + CROSSING.get(variant, 0.0) * (px - 8) / 4)
        seconds = reference * factor * (1 + 0.006 * noise.standard_normal(rounds))
        ratios, name = seconds / reference, "ms" if prefix == "latency_" else "images_per_s"
        value = 1e3 * np.median(seconds) if prefix == "latency_" else 64 / np.median(seconds)
        found.append((variant, name, float(value), "ms" if prefix == "latency_" else "1/s", seconds.tolist()))
        if variant != baseline:
            found.append((variant, "ratio", float(np.median(ratios)), "1", ratios.tolist()))
        if prefix != "latency_":
            shares = 0.0131 * 64 / seconds / 200
            found.append((variant, "mfu", float(np.median(shares)), "1", shares.tolist()))
            found.append((variant, "peak_mib", base_s * 5000 * factor, "MiB", None))
    aa = 1 + 0.01 * noise.standard_normal(rounds)
    found.append((baseline, "aa_ratio", float(np.median(aa)), "1", aa.tolist()))
    return found


def speed(
    variants: Iterable[str], baseline: str = "sa", rounds: int = 15, resolutions: Iterable[int] = (8,)
) -> list[dict[str, Any]]:
    """Throughput, ratios, MFU, peak memory, latency and parity of a run with interleaved rounds, and its A/A ratios."""
    found, variants = [], list(variants)
    where = {"backend": "sdpa", "device": "cpu", "precision": "fp32", "seed": None}
    for prefix, base_s in (("", 0.012), ("train_", 0.041), ("latency_", 0.001)):
        for px in resolutions if prefix != "latency_" else (8,):
            here = where | {"test_px": px, "batch_size": 1 if prefix == "latency_" else 64}
            for variant, name, value, unit, samples in timings(variants, prefix, base_s, px, rounds, baseline):
                count = {"n": len(samples or [0]), "unit": unit, "samples": samples}
                found.append(row(variant, prefix + name, value, **here | count))
            if prefix != "latency_":
                words = {"unit": "GMAC/s", "note": "a 1024 x 1024 matmul in float32", "backend": None}
                found.append(row(baseline, prefix + "ceiling_gmac_per_s", 200.0, **here | words))
            if not prefix:
                found += [row(variant, "parity", 2.1e-7, **here) for variant in variants]
    return found


def cost(variants: Iterable[str]) -> list[dict[str, Any]]:
    """Parameters and multiply-adds."""
    found = []
    for variant in variants:
        params, gmac = VARIANTS.get(variant, ("", 0, 0, 0, 1000, 0.01))[4:6]
        found.append(row(variant, "params", params, seed=None))
        found.append(row(variant, "gmac", gmac, seed=None, test_px=8, unit="GMAC"))
    return found


def study(
    variants: Sequence[str] = tuple(VARIANTS),
    seeds: Sequence[int] = range(5),
    resolutions: Sequence[int | str] = (8, 10, 12),
) -> list[dict[str, Any]]:
    """A whole study: accuracy, cost and speed, and one variant that was refused."""
    refused = row(
        "neighborhood", "top1", None, note="neighborhood needs a grid of at least 3x3; use img_size 8 or more."
    )
    return accuracy(variants, seeds, resolutions) + cost(variants) + speed(variants) + [refused]


def save(folder: Path, rows: Iterable[Mapping[str, Any]], recipe: Mapping[str, Any] | None = RECIPE) -> Path:
    """Writes the rows, one file a variant, and the recipe beside them."""
    by_variant: dict[str, list[Mapping[str, Any]]] = {}
    for one in rows:
        by_variant.setdefault(str(one["variant"]), []).append(one)
    for number, cell in enumerate(by_variant.values()):
        store.write(folder / "cells" / f"{number:04d}.jsonl", cell)
    if recipe is not None:
        store.write_recipe(folder, HASH, recipe)
    return folder


# a control arm: its name is no spec, and its rows say how it is paired
CONTROL = "sa as large as sp_sa"
RULES: Mapping[str, str] = {"sp_sa": "recomputed", "rpe_2d[mode=bias]": "interpolated"}
WIDE = 272  # of the control's MLPs


def transfer(variant: str, how: str, **more: Any) -> dict[str, Any]:
    """What the params say of a resolution that a variant was not trained at."""
    rule = {"rule": RULES[variant]} if variant in RULES else {}
    return {"transfer": how, **more, **rule, "position": "resampled"}


def training(
    variants: Iterable[str], seeds: Sequence[int], epochs: int = 20, every: int = 1, fraction: float = 1.0
) -> list[dict[str, Any]]:
    """Loss and seconds of each epoch and validation accuracy of every so many: it climbs faster the larger the gain."""
    found = []
    for variant in variants:
        gain, _, factor = VARIANTS.get(variant, ("", 0.5, 3.0, 1.1))[1:4]
        for seed in seeds:
            own = np.random.default_rng([seed, epochs, *variant.encode()])
            shared = np.random.default_rng([seed, 7]).standard_normal(epochs)
            seconds = np.cumsum(0.4 * factor * (1 + 0.05 * own.random(epochs)))
            for epoch in range(1, epochs + 1):
                climb = np.exp(-epoch * (4 + gain) / epochs)
                top1 = 95 + gain - 12 * (1 - fraction) - 85 * climb + 0.8 * shared[epoch - 1]
                top1 += 0.7 * own.standard_normal()
                about = {"seed": seed, "epoch": epoch, "train_fraction": fraction, "test_px": 8, "device": "cpu"}
                found.append(row(variant, "loss", 2.3 * float(climb) + 0.5, unit="nat", **about))
                found.append(row(variant, "train_s", float(seconds[epoch - 1]), unit="s", **about))
                if epoch % every == 0 or epoch == epochs:
                    value = round(float(top1) * 1.8) / 1.8
                    found.append(row(variant, "val_top1", min(value, 100.0), unit="%", n=180, **about))
    return found


def low_data(
    variants: Iterable[str],
    seeds: Sequence[int],
    fractions: Sequence[float] = (0.01, 0.1, 1.0),
    resolutions: Sequence[int] = (8,),
) -> list[dict[str, Any]]:
    """Top-1 by share of the training images: fewer images cost accuracy, less so where the gain is large."""
    found = []
    for one in accuracy(list(variants), seeds, resolutions):
        gain = VARIANTS.get(one["variant"], ("", 0.5))[1]
        for fraction in fractions:
            decades = -float(np.log10(fraction))
            lost = decades * (9 - 2 * gain) + 0.4 * decades * np.random.default_rng([one["seed"]]).standard_normal()
            if one["metric"] == "top1":
                params = None if one["test_px"] == one["train_px"] else transfer(one["variant"], "zero-shot")
                found.append(one | {"value": one["value"] - lost, "train_fraction": fraction, "params": params})
    return found


def finetuned(
    variants: Iterable[str],
    seeds: Sequence[int],
    resolutions: Sequence[int] = (10, 12),
    epochs: int = 5,
    fraction: float = 1.0,
) -> list[dict[str, Any]]:
    """Top-1 after fine-tuning at other resolutions than the training's."""
    found = []
    for one in accuracy(list(variants), seeds, resolutions):
        if one["metric"] == "top1":
            slope = VARIANTS.get(one["variant"], ("", 0.5, 3.0))[2]
            value = min(100.0, one["value"] + slope * abs(one["test_px"] - 8) / 4 - 0.3)
            params = transfer(one["variant"], "fine-tuned", epochs=epochs)
            about = {"epoch": epochs, "params": params, "cell": f"{one['cell']}-{one['test_px']}"}
            found.append(one | about | {"metric": "finetuned_top1", "value": value, "train_fraction": fraction})
    return found


def shift(variants: Iterable[str], seeds: Sequence[int], fraction: float = 1.0) -> list[dict[str, Any]]:
    """Shift consistency by a pixel and by a patch."""
    found = []
    for variant in variants:
        gain = VARIANTS.get(variant, ("", 0.5))[1]
        for seed in seeds:
            own = np.random.default_rng([seed, 3, *variant.encode()])
            for name, base in (("px", 88.0), ("patch", 71.0)):
                about = {"seed": seed, "epoch": 30, "unit": "%", "n": 360, "test_px": 8, "train_fraction": fraction}
                value = base + 2 * gain + float(own.standard_normal())
                found.append(row(variant, f"shift_{name}_consistency", value, **about))
    return found


def control(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the baseline again, as those of a control arm that is a little better."""
    found = []
    for one in rows:
        if one["variant"] == "sa" and one.get("seed") is not None:
            about = {"variant": CONTROL, "family": "controls", "cell": f"{CONTROL}-{one['seed']}"}
            value = one["value"] + 0.3 * (1 + one["seed"] % 2) if one["metric"].endswith("top1") else one["value"]
            params = (one.get("params") or {}) | {"mlp_hidden": WIDE} if one["metric"].endswith("top1") else None
            limited = min(value, 100.0) if one["unit"] == "%" else value
            found.append({**one, **about, "value": limited, "params": params})
    return found


def everything(
    variants: Sequence[str] = tuple(VARIANTS),
    seeds: Sequence[int] = range(5),
    fractions: Sequence[float] = (0.01, 0.1, 1.0),
    epochs: int = 20,
) -> list[dict[str, Any]]:
    """A study with all that a training leaves, at several shares of the images, a control arm among the variants."""
    found = low_data(variants, seeds, fractions, (8, 10, 12))
    for fraction in fractions:
        found += training(variants, seeds, epochs, fraction=fraction) + shift(variants, seeds, fraction)
        found += finetuned(variants, seeds, fraction=fraction)
    return found + control(found) + cost(variants) + speed(variants, resolutions=(8, 10, 12))


def take(tmp_path: Path, rows: Sequence[Mapping[str, Any]], recipes: Mapping[str, Any] | None = None) -> Study:
    """The study that these rows and recipes make up, saved and read again."""
    folder = save(tmp_path / "study", rows)
    for name, recipe in (recipes or {}).items():
        store.write_recipe(folder, name, recipe)
    return study_of(store.load(folder), store.recipes(folder))
