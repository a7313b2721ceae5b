"""The main tables of a study once more, from its rows, by numpy and scipy alone: nothing of harness is imported.

`primary(folder)` gives, for each setting (dataset, size, pixels, recipe) and variant of the primary family, its mean
with an interval, the difference to the baseline with a simultaneous interval, the adjusted p values and the verdict.
Written a second time, arm by arm, from the equations: results/stats.py and its neighbours are no part of it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from scipy import optimize, special, stats

# entries in which the committed recipes train apart, and what a size has where a recipe does not say
APART = ("class_token", "spatial_layers", "pos_embed")
OWN = {"micro": ("late", 2, "learned"), "nano": ("none", 2, "learned")}
DELTA = 0.5


def read(folder: Path) -> dict[tuple, dict[str, dict[int, float]]]:
    """By setting, variant and seed: top-1 at the training resolution, the newest row of each."""
    recipes = {file.stem: json.loads(file.read_text()) for file in (folder / "recipes").glob("*.json")}
    newest: dict[tuple, tuple[str, float]] = {}
    for file in sorted(folder.rglob("*.jsonl")):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            if row["metric"] != "top1" or row["value"] is None or row["test_px"] != row["train_px"]:
                continue
            recipe = recipes[row["recipe_hash"]]
            entries = [recipe.get(entry, own) for entry, own in zip(APART, OWN[row["size"]], strict=True)]
            setting = (row["dataset"], row["size"], str(row["train_px"]), *map(str, entries))
            key = (setting, row["train_fraction"], row["variant"], row["family"], row["seed"])
            if key not in newest or row["when"] > newest[key][0]:
                images = row["n"] * (row["params"] or {}).get("places", 1)
                whole = round(row["value"] * images / 100)  # a share of so many images was kept in float32
                newest[key] = (row["when"], 100 * whole / images)
    shares: dict[tuple, float] = {}
    for setting, share, *_ in newest:
        shares[setting] = max(share, shares.get(setting, 0.0))
    found: dict[tuple, dict[str, dict[int, float]]] = {}
    for (setting, share, variant, family, seed), (_, value) in newest.items():
        if share == shares[setting] and family != "controls":
            found.setdefault(setting, {}).setdefault(variant, {})[seed] = value
    return found


def arms(by_variant: dict[str, dict[int, float]]) -> list[str]:
    """The variants of the primary family: those that are no ablation of another."""
    named = [variant for variant in by_variant if variant != "sa"]
    return [v for v in named if "[" not in v or re.sub(r"\[[^\[\]]*\]", "", v) not in by_variant]


def primary(folder: Path) -> dict[tuple, dict[str, dict[str, Any]]]:
    """All numbers by setting and variant; a recipe of fewer than 4 arms beside a larger one is an ablation."""
    settings = {key: by_variant for key, by_variant in read(folder).items() if len(arms(by_variant)) >= 4}
    tested = {
        key: {v: one for v in arms(found) if len(one := differences(found[v], found["sa"])) >= 3}
        for key, found in settings.items()
    }
    compared, alpha = sum(len(one) for one in tested.values()), error_rate(folder)
    return {
        key: {v: about(settings[key][v]) | one for v, one in judged(tested[key], compared, alpha).items()}
        for key in settings
    }


def error_rate(folder: Path) -> float:
    """5 % over the most looks at the rows that a recipe has."""
    recipes = [json.loads(file.read_text()) for file in (folder / "recipes").glob("*.json")]
    return 0.05 / max(1, *(len(recipe.get("looks") or []) for recipe in recipes))


def differences(one: dict[int, float], base: dict[int, float]) -> dict[int, float]:
    return {seed: one[seed] - base[seed] for seed in sorted(one) if seed in base}


def about(seeds: dict[int, float]) -> dict[str, Any]:
    values = list(seeds.values())
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    return {"mean": np.mean(values), "mean_low": low, "mean_high": min(high, 100.0)}


def judged(by_arm: dict[str, dict[int, float]], compared: int, alpha: float = 0.05) -> dict[str, dict[str, Any]]:
    """The difference of each arm, judged by its moderated variance."""
    spread = {v: one for v, one in by_arm.items() if np.ptp(list(one.values())) > 1e-9}
    prior = moderate(spread)
    found: dict[str, dict[str, Any]] = {v: {"difference": np.mean(list(one.values()))} for v, one in by_arm.items()}
    raw = {}
    for v, one in spread.items():
        variance, df = prior[v]
        center, error = found[v]["difference"], np.sqrt(variance / len(one))
        reach = stats.t.ppf(1 - alpha / compared / 2, df) * error
        raw[v] = (2 * stats.t.sf(abs(center) / error, df), stats.t.cdf((abs(center) - DELTA) / error, df))
        found[v] |= {"low": center - reach, "high": center + reach}
    for v, one in adjusted(raw, compared).items():
        word = "undetermined"
        if min(one) <= alpha:
            differ, equal = raw[v]
            word = "equal" if equal < differ else "better" if found[v]["difference"] > 0 else "worse"
        found[v] |= {"p": min(one[0], 1.0), "p_equal": min(one[1], 1.0), "verdict": word}
    return found


def adjusted(raw: dict[str, tuple[float, float]], compared: int) -> dict[str, tuple[float, float]]:
    """The least error rate at which each hypothesis is rejected, where m falls by one for each pair of rejections."""
    both = sorted(max(pair) for pair in raw.values())
    rates, rate = [(0.0, compared)], 0.0
    for k, p in enumerate(both):
        rate = max(rate, p * (compared - k))
        rates.append((rate, max(1, compared - k - 1)))
    least = {v: tuple(min(max(p * many, rate) for rate, many in rates) for p in pair) for v, pair in raw.items()}
    return {v: (pair[0], pair[1]) for v, pair in least.items()}


def moderate(by_arm: dict[str, dict[int, float]]) -> dict[str, tuple[float, float]]:
    """By arm the variance and the degrees of freedom (Smyth 2004, for arms that share noise)."""
    variance = {v: float(np.var(list(one.values()), ddof=1)) for v, one in by_arm.items()}
    df = {v: len(one) - 1 for v, one in by_arm.items()}
    common = sorted(set.intersection(*(set(one) for one in by_arm.values())))
    plain = {v: (variance[v], float(df[v])) for v in by_arm}
    if len(by_arm) < 5 or len(common) < 3:
        return plain
    values = {v: [one[seed] for seed in common] for v, one in by_arm.items()}
    inside = list(by_arm)
    while len(inside) > 5:
        largest = max(inside, key=lambda v: variance[v])
        others = [v for v in inside if v != largest]
        s0, d0, _ = prior_of(others, variance, df, values)
        if stats.f.sf(variance[largest] / s0, df[largest], d0) >= 0.05 / len(inside):
            break
        inside = others
    s0, d0, pooled = prior_of(inside, variance, df, values)
    found = dict(plain)
    for v in inside if d0 >= 2 else []:
        if stats.f.sf(variance[v] / s0, df[v], d0) >= 0.3:
            found[v] = ((d0 * s0 + df[v] * variance[v]) / (d0 + df[v]), min(d0 + df[v], max(pooled, df[v])))
    return found


def prior_of(
    names: list[str], variance: dict[str, float], df: dict[str, int], values: dict[str, list[float]]
) -> tuple[float, float, float]:
    """s0 squared, d0, and the degrees of freedom of all arms together."""
    squared = [[1.0 if a == b else np.corrcoef(values[a], values[b])[0, 1] ** 2 for b in names] for a in names]
    count = len(names)
    apart = 1 - (np.sum(squared) - count) / (count * (count - 1))
    logs = [np.log(variance[v]) - special.digamma(df[v] / 2) + np.log(df[v] / 2) for v in names]
    scatter = np.var(logs, ddof=1) - apart * np.mean([special.polygamma(1, df[v] / 2) for v in names])
    if scatter <= 2e-10:
        d0 = 1e10
    else:
        d0 = 2 * optimize.brentq(lambda half: special.polygamma(1, half) - scatter, 1e-4, 1e10)
    s0 = np.exp(np.mean(logs) + special.digamma(d0 / 2) - np.log(d0 / 2))
    return float(s0), float(d0), float(np.mean([df[v] for v in names]) * count**2 / np.sum(squared))
