"""Every number on the page is in the rows, or follows from them: a walk over all of its text and all of its CSVs.

Numbers that stand beside a variant must be that variant's own; the others anyone's. A digit changed on the page, and a
row changed behind it, are both noticed.
"""

import csv
import io
import json
import re
from collections import defaultdict
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest

from harness.report.text import formatting
from harness.results import stats
from tests import recompute
from tests.support import rows as made
from tests.support.page import VOID, render

VARIANTS = ("sa", "sp_sa", "sp_sa[hidden=16]", "psa", "swin")
UNITS = {"p", "li", "tr", "figcaption", "h1", "h2", "h3", "output", "label"}
NUMBER = re.compile(r"(?<![\w.])[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\d.]*\d)")
# what sentences of the page always say: 95 % intervals, 1 GFLOP = 1 GMAC, 0 and 1 to compare with, top-1,
# an error rate of 5 %, equal within 0.5 points
ALWAYS = {"95", "0", "1", "5", "0.5"}
PAPER = {"100", "2206.07662", "32", "16"}  # ImageNet-100, the paper's number, the hidden widths that it compared
PRIMARY = ("sp_sa", "psa", "swin")
FINDINGS = (
    "sa",
    "psa",
    "sp_sa[hidden=16]",
)  # what sp_sa is compared with to test its findings; that with sa is primary


class Units(HTMLParser):
    """The text of the page in units, each with the variant it begins with, and the CSVs behind its links."""

    def __init__(self, html):
        super().__init__()
        self.open, self.units, self.tables = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        href = dict(attributes).get("href") or ""
        if href.startswith("data:text/csv"):
            self.tables.append(list(csv.DictReader(io.StringIO(unquote(href.split(",", 1)[1])))))
        if tag in UNITS and not {"li", "tr"} & set(self.open):
            self.units.append(["", ""])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            self.open.pop()
        if tag in UNITS:
            self.units.append(["", ""])

    def handle_data(self, data):
        if {"svg", "style", "script", "title"} & set(self.open) or not self.units:
            return
        unit = self.units[-1]
        if self.open[-1] == "code" and not unit[0] and not unit[1].strip() and {"li", "tr"} & set(self.open):
            unit[0] = data
        elif self.open[-1] == "sup" or self.open[-2:] == ["sup", "a"]:
            return  # the numbers of footnotes
        else:
            unit[1] += data if self.open[-1] in ("a", "code", "b", "i", "time") else f" {data} "


def tokens(text):
    """The numbers of a text, thousands joined, without a sign."""
    text = text.replace(formatting.THIN, "").replace(formatting.MINUS, "-")
    return [one.lstrip("+-") for one in NUMBER.findall(text)]


def forms(value):
    """All the ways in which the page writes a number."""
    value = abs(float(value))
    texts = [f"{value:.{digits}f}" for digits in (0, 1, 2, 3, 4)] + [
        formatting.significant(value, n) for n in (1, 2, 3)
    ]
    if value >= 1e3 and value == round(value):  # sizes, with the unit in the head
        texts += [f"{value / 1e3:.{digits}f}" for digits in range(4)]
    texts += [formatting.count(value), formatting.tick(value), f"{value:g}", formatting.percent(value)]
    return {token for text in texts for token in tokens(text)}


def numbers_of(rows, variant, baseline="sa"):
    """What the rows say of a variant, worked out here: values, means, differences, medians, and their intervals."""
    mine = [r for r in rows if r["variant"] == variant and r["value"] is not None]
    found = [x for r in mine for x in (r["value"], r.get("n"), r.get("seed"), r.get("epoch"), r.get("test_px"),
                                       r.get("batch_size"), r["train_px"])]  # fmt: skip
    by_group = defaultdict(dict)
    for r in mine:
        if r.get("seed") is not None:
            by_group[r["metric"], r.get("test_px"), r.get("epoch")][r["seed"]] = r["value"]
    for (metric, *_), seeds in by_group.items():
        share = "top1" in metric or metric.endswith("consistency")
        one = stats.mean_interval(list(seeds.values()), within=(0.0, 100.0) if share else stats.UNBOUNDED)
        found += [one.center, one.low, one.high, one.n, *seeds.values()]
    for r in mine:
        samples = r.get("samples")
        if samples:
            for one in (stats.median_interval(samples), stats.median_interval([1e3 * s for s in samples])):
                found += [one.center, one.low, one.high, one.n]
            time = stats.median_interval(samples)
            if r["metric"].endswith("images_per_s"):
                batch = r["value"] * time.center
                found += [batch / time.high, batch / time.low, 1e3 / r["value"]]
                found += [1e3 * time.low / batch, 1e3 * time.high / batch]
            if r["metric"].endswith("mfu"):
                found.append(100 * r["value"])
    found += reached(rows, variant, baseline)
    if variant != baseline:
        found += against(rows, variant, baseline)
    return [x for x in found if isinstance(x, int | float) and np.isfinite(x)]


def reached(rows, variant, baseline):
    """The targets that follow from the baseline, and the epochs and seconds that the variant's seeds take to them."""
    curves = {name: defaultdict(dict) for name in ("val_top1", "train_s")}
    last = {}
    for r in rows:
        if r["metric"] in curves and r["variant"] == variant:
            curves[r["metric"]][r["seed"]][r["epoch"]] = r["value"]
        if r["metric"] == "val_top1" and r["variant"] == baseline:
            last[r["seed"]] = max(last.get(r["seed"], (0, 0)), (r["epoch"], r["value"]))
    found = []
    for target in stats.round_targets(float(np.mean([value for _, value in last.values()]))):
        firsts = {seed: stats.first_at_least(by_epoch, target) for seed, by_epoch in curves["val_top1"].items()}
        firsts = {seed: epoch for seed, epoch in firsts.items() if epoch is not None}
        found.append(target)
        for values in (list(firsts.values()), [curves["train_s"][s].get(e) for s, e in firsts.items()]):
            if values and None not in values:
                one = stats.mean_interval(values)
                found += [one.center, one.low, one.high, one.n]
    return found


def by_seed(rows, variant):
    return {r["seed"]: r["value"] for r in rows
            if (r["variant"], r["metric"], r.get("test_px")) == (variant, "top1", 8)}  # fmt: skip


def against(rows, variant, baseline):
    """The paired difference with its tests, and the costs relative to the baseline."""
    family = [name for name in VARIANTS if name != baseline and ("[" in name) == ("[" in variant)]  # ablations apart
    mine, base = by_seed(rows, variant), by_seed(rows, baseline)
    one = stats.paired_difference(mine, base, compared=len(family))
    differences = {name: recompute.differences(by_seed(rows, name), base) for name in family}
    p = recompute.judged(differences, len(family))[variant]["p"]
    won = stats.probability_of_improvement(mine, base)
    found = [one.estimate.center, one.estimate.low, one.estimate.high, one.estimate.n]
    found.append(stats.seeds_for_power(recompute.DELTA, one.sd, one.estimate.n, one.estimate.confidence))
    found += [won.pairs.center * won.pairs.n, won.any_runs, *tokens(formatting.p_value(p))]
    found += [mine[seed] - base[seed] for seed in mine]
    for metric in ("params", "gmac", "peak_mib", "train_peak_mib"):
        values = {r["variant"]: r["value"] for r in rows if r["metric"] == metric}
        if {variant, baseline} <= values.keys():
            found.append(values[variant] / values[baseline])
    return [float(x) for x in found if x is not None]


def powered(rows):
    """The numbers of the power card: the gain of the last tenth, the ceiling, the spread, what is detected."""
    gains, means, spreads, least = [], [], [], []
    for variant in VARIANTS:
        means.append(np.mean(list(by_seed(rows, variant).values())))
        curves = defaultdict(dict)
        for r in rows:
            if (r["variant"], r["metric"]) == (variant, "val_top1"):
                curves[r["seed"]][r["epoch"]] = r["value"]
        gains.append(
            np.mean([one[max(one)] - one[max(e for e in one if e <= 0.9 * max(one))] for one in curves.values()])
        )
    for variant in PRIMARY:
        one = stats.paired_difference(by_seed(rows, variant), by_seed(rows, "sa"), len(PRIMARY))
        spreads.append(one.sd)
        least.append(stats.detectable(one))
    return [np.mean(gains), max(gains), 100 - max(means), np.median(spreads), np.median(least), 100 * stats.POWER, 3]


def known(rows, recipe=made.RECIPE):
    """By variant what may stand beside it, and under "" what may stand anywhere."""
    own = {name: set().union(*map(forms, numbers_of(rows, name))) for name in VARIANTS}
    origin = json.dumps([recipe, made.MACHINE, made.VERSIONS, sorted({r["when"] for r in rows}),
                         sorted({r["note"] for r in rows if r.get("note")})])  # fmt: skip
    anywhere = set().union(ALWAYS, *own.values(), tokens(origin), re.findall(r"\d+(?:\.\d+)*", origin))
    counted = [len(rows), len(VARIANTS), len(PRIMARY), 100 * (1 - 0.05 / len(PRIMARY)), *powered(rows)]
    for other in FINDINGS:
        one = stats.paired_difference(by_seed(rows, "sp_sa"), by_seed(rows, other), compared=len(FINDINGS) - 1).estimate
        counted += [one.center, one.low, one.high, one.n, round(100 * one.confidence, 2)]
    for r in rows:
        if r["metric"].endswith("aa_ratio"):
            aa = stats.median_interval(r["samples"])
            counted += [100 * stats.aa_floor(aa), aa.center, aa.low, aa.high, aa.n]
        if r["metric"].endswith("ceiling_gmac_per_s"):
            counted.append(r["value"])
    anywhere |= set().union(PAPER, *map(forms, counted))
    return own | {"": anywhere}


def strange(units, facts):
    """The numbers of the text that nothing accounts for."""
    found = []
    for variant, text in units:
        allowed = facts.get(variant, facts[""]) | ALWAYS
        for name in sorted(VARIANTS, key=len, reverse=True):
            text = text.replace(name, " ")
        text = re.sub(r"\d+\W%\Wof resamples", " ", text)  # test_verdict.py counts these
        found += [(variant, token) for token in tokens(text.replace("top-1", "").replace("Top-1", ""))
                  if token not in allowed]  # fmt: skip
    return found


def strange_data(tables, rows):
    """The cells of the CSVs that nothing accounts for; a number has all its digits there."""
    exact = {name: np.array(numbers_of(rows, name)) for name in VARIANTS}
    shared = [100 * (1 - 0.05 / len(PRIMARY)), 1 - 0.05 / len(PRIMARY), 0.95, 1.0, 1]
    shared += [stats.aa_floor(stats.median_interval(r["samples"])) for r in rows if r["metric"].endswith("aa_ratio")]
    found = []
    for table in tables:
        for line in table:
            allowed = np.concatenate([exact[line["variant"]], shared])
            for column, cell in line.items():
                parts = [part.split(":")[-1] for part in cell.split()] if column.endswith("by_seed") else [cell]
                for part in parts:
                    if (
                        re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", part)
                        and not np.isclose(allowed, float(part), rtol=1e-5, atol=1e-9).any()
                    ):
                        found.append((line["variant"], column, cell))
    return found


@pytest.fixture(scope="module")
def rows():
    names = list(VARIANTS)
    return [
        *made.study(names, range(3), (8, 12))[:-1],
        *made.training(names, range(3), 6),
        *made.shift(names, range(3)),
    ]


@pytest.fixture(scope="module")
def page(rows, tmp_path_factory):
    return Units(render(tmp_path_factory.mktemp("numbers"), rows))


def test_every_number_on_the_page_is_in_the_rows(page, rows):
    assert sum(len(tokens(text)) for _, text in page.units) > 350
    assert strange(page.units, known(rows)) == []


def test_every_number_behind_a_figure_is_in_the_rows(page, rows):
    assert len(page.tables) == 6
    assert strange_data(page.tables, rows) == []


def test_a_digit_changed_beside_a_variant_is_noticed(page, rows):
    facts = known(rows)
    noticed = []
    for variant, text in page.units:
        for token in tokens(text) if variant in VARIANTS else []:
            digits = [place for place, letter in enumerate(token) if letter.isdigit()]
            if len(digits) > 2 and "e" not in token:
                place = digits[len(digits) // 2]
                changed = token[:place] + str((int(token[place]) + 4) % 10) + token[place + 1 :]
                noticed.append(changed not in facts[variant])
    assert len(noticed) > 200
    assert np.mean(noticed) > 0.8  # the others are another number of the same variant


@pytest.mark.parametrize(
    ("metric", "change"),
    [("top1", 0.4), ("images_per_s", 30.0), ("params", 9000), ("train_s", 0.7), ("shift_px_consistency", 1.5)],
)
def test_a_row_changed_behind_the_page_is_noticed(metric, change, page, rows):
    other = [r | {"value": r["value"] + change} if (r["variant"], r["metric"]) == ("psa", metric) else r for r in rows]
    assert any(one[0] == "psa" for one in [*strange(page.units, known(other)), *strange_data(page.tables, other)])


def test_numbers_of_another_variant_are_noticed(page, rows):
    facts = known(rows)
    swapped = [["sp_sa" if variant == "psa" else variant, text] for variant, text in page.units]
    assert len(strange(swapped, facts)) > 20
