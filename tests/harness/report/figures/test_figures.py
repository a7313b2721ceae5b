"""Figures of ablations, of memory and of time under transfer, from the rows; colours; a table without empty columns."""

import csv
import io
import re
from dataclasses import replace

import numpy as np
import pytest

from harness.report.analysis import ablation, crossover, timing
from harness.report.analysis.summary import summaries
from harness.report.figures import forest_plot, resolution
from harness.report.figures.style import palette
from harness.report.pages import section
from harness.report.pages.page import page
from harness.report.tables import main
from harness.results import stats
from tests.support import rows as made
from tests.support.page import sketched, undrawn

ARMS = ["sa", "sp_sa", "sp_sa[hidden=16]", "sp_sa[hidden=64]", "sp_sa[scope=layer]", "psa", "swin+rpe_2d[extent=7]"]


def drawn(study, name):
    """The CSV of a figure, line by line."""
    setting = study.settings[0]
    look = palette.looks(setting.variants, setting.baseline)
    with sketched():
        shown = section.section(setting, summaries(setting), look, 1, 1)
    drawing = next(one for one in shown.drawings + shown.timings if one.name == name)
    return list(csv.DictReader(io.StringIO(drawing.csv())))


# ---- ablations


def test_settings_of_one_variant_are_arms_by_what_varies(tmp_path):
    found = summaries(made.take(tmp_path, made.accuracy(ARMS, range(4), [8])).settings[0])
    assert {factor.name: [arm.label for arm in factor.arms] for factor in ablation.of_settings(found)} == {
        "sp_sa: hidden": ["sp_sa", "sp_sa[hidden=16]", "sp_sa[hidden=64]"],
        "sp_sa: scope": ["sp_sa", "sp_sa[scope=layer]"],
    }


def wrong(table, rows):
    """The arms whose difference is not that of the rows, paired seed by seed."""
    by_variant = {v: {r["seed"]: r["value"] for r in rows if (r["variant"], r["metric"]) == (v, "top1")} for v in ARMS}
    found = []
    for line in table:
        primary = not line["variant"].startswith("sp_sa[")  # three ablations are a family of their own, undecided
        one = stats.paired_difference(by_variant[line["variant"]], by_variant["sa"], compared=3)
        expected = [one.estimate.center, one.estimate.low, one.estimate.high]
        by_seed = {part.split(":")[0]: float(part.split(":")[1]) for part in line["difference_by_seed"].split()}
        mine = by_variant[line["variant"]]
        numbers = [float(line[f"difference{end}"]) for end in ("", "_low", "_high")]
        right = numbers == pytest.approx(expected) and (line["resolved"] == "yes") == (primary and one.resolved)
        if not right or by_seed != pytest.approx({str(seed): mine[seed] - by_variant["sa"][seed] for seed in mine}):
            found.append(line["arm"])
    return found


def test_an_arm_is_the_paired_difference_to_the_baseline(tmp_path):
    rows = made.accuracy(ARMS, range(4), [8])
    table = drawn(made.take(tmp_path, rows), "s1-ablation")
    assert len(table) == 5
    assert wrong(table, rows) == []
    other = [r | {"value": r["value"] + r["seed"]} if r["variant"] == "sp_sa[hidden=16]" else r for r in rows]
    assert wrong(table, other) == ["sp_sa[hidden=16]"]


def test_each_factor_has_a_heading_and_its_arms_below(tmp_path):
    found = summaries(made.take(tmp_path, made.accuracy(ARMS, range(4), [8])).settings[0])
    hidden, scope = ablation.of_settings(found)
    again = replace(scope, name=hidden.name)  # as where recipes differ in another entry, too
    drawing = forest_plot.draw_factors([hidden, again], palette.looks(ARMS, "sa"), "sa", "x")
    texts = re.findall(r'<text style="[^"]*?(bold)?[^"]*"[^>]*>([^<]+)</text>', drawing.svg)
    names = [words for _, words in texts if words.startswith("sp_sa")]
    assert sorted(names) == sorted(["sp_sa: hidden", "sp_sa", "sp_sa[hidden=16]", "sp_sa[hidden=64]",
                                    "sp_sa: hidden", "sp_sa", "sp_sa[scope=layer]"])  # fmt: skip
    heights = {words: float(y) for y, words in re.findall(r'y="([\d.]+)"[^>]*>([^<]+)</text>', drawing.svg)}
    assert heights["sp_sa[hidden=64]"] < heights["sp_sa: hidden"] < heights["sp_sa[scope=layer]"]


def test_without_settings_there_is_no_ablation(tmp_path):
    found = summaries(made.take(tmp_path, made.accuracy(["sa", "sp_sa", "psa"], range(3), [8])).settings[0])
    assert ablation.of_settings(found) == []


def by_recipe(tmp_path, entries):
    """The factors of sp_sa across recipes, each with its own entries; sp_sa gains 0, 1, 2 ... points with them."""
    rows, recipes = [], {}
    for gain, own in enumerate(entries):
        name = f"{gain}" * 16
        recipes[name] = made.RECIPE | own
        for one in made.accuracy(["sa", "sp_sa"], range(3), [8]):
            more = gain if one["variant"] == "sp_sa" else 0
            rows.append(one | {"recipe_hash": name, "value": one["value"] - 10 + more})
    study = made.take(tmp_path, rows, recipes)
    (across,) = ablation.of_recipes(study.settings, {setting.key: summaries(setting) for setting in study.settings})
    return {
        factor.name: {arm.label: arm.summary.difference.estimate.center for arm in factor.arms}
        for factor in across.factors
    }


def test_recipes_that_differ_in_one_entry_are_arms_too(tmp_path):
    (found,) = by_recipe(tmp_path, [{"spatial_layers": few} for few in (1, 2, 3)]).items()
    assert found[0] == "sp_sa: spatial layers"
    assert list(found[1]) == ["1", "2", "3"]
    assert found[1]["3"] - found[1]["1"] == pytest.approx(2.0)


def test_each_entry_of_a_recipe_is_a_factor_of_its_own(tmp_path):
    late = {"class_token": "late"}
    found = by_recipe(tmp_path, [
        late | {"spatial_layers": 1}, late | {"spatial_layers": 2}, {"class_token": "input", "spatial_layers": 2},
        {"pos_embed": "none"}, {},
    ])  # fmt: skip
    assert {name: list(arms) for name, arms in found.items()} == {
        "sp_sa: spatial layers": ["1", "2", "4"],
        "sp_sa: class token": ["input", "late"],
        "sp_sa: position embedding": ["learned", "none"],
    }
    embedded = found["sp_sa: position embedding"]
    assert found["sp_sa: class token"]["late"] - found["sp_sa: spatial layers"]["1"] == pytest.approx(1.0)
    assert embedded["learned"] - embedded["none"] == pytest.approx(1.0)


def test_recipes_that_differ_in_several_entries_are_arms_by_all_of_them(tmp_path):
    found = by_recipe(tmp_path, [{"lr": 1e-3, "epochs": 5}, {"lr": 2e-3, "epochs": 6}])
    assert list(found) == ["sp_sa"]
    assert [sorted(label.split(", ")) for label in found["sp_sa"]] == [
        ["epochs 5", "learning rate 0.001"], ["epochs 6", "learning rate 0.002"],
    ]  # fmt: skip


def test_an_arm_that_no_factor_has_is_shown_too(tmp_path):
    found = by_recipe(tmp_path, [{"lr": 1e-3}, {"lr": 5e-1}, {"lr": 7e-1, "epochs": 9}])
    assert list(found) == ["sp_sa: learning rate", "sp_sa"]
    assert len(found["sp_sa"]) == 3
    assert "epochs 9, learning rate 0.7" in {", ".join(sorted(label.split(", "))) for label in found["sp_sa"]}


def test_arms_are_in_the_order_of_their_numbers(tmp_path):
    (arms,) = by_recipe(tmp_path, [{"lr": lr} for lr in (0.5, 1e-5, 0.25, 0.05, 0.1)]).values()
    assert list(arms) == ["1e-05", "0.05", "0.1", "0.25", "0.5"]


@pytest.mark.parametrize("top1", [0.0, 50.0, 100.0])
def test_a_study_whose_arms_do_not_differ_is_drawn(tmp_path, top1):
    rows = [r | {"value": top1} if r["unit"] == "%" else r for r in made.accuracy(ARMS, range(3), [8, 12])]
    study = made.take(tmp_path, rows)
    assert {float(line["difference"]) for line in drawn(study, "s1-ablation")} == {0.0}
    assert "s1-ablation" in page(study)  # a warning of any of its figures would fail


@pytest.mark.parametrize(("lost", "interval"), [(3, False), (4, True)])
def test_what_a_float32_lost_is_no_spread(tmp_path, lost, interval):
    """sp_sa is wrong on three images more than sa, in every seed or in all but one."""
    rows = []
    for seed, right in enumerate((7807, 7552, 7683)):
        for variant, count in (("sa", right), ("sp_sa", right - (lost if seed == 2 else 3))):
            value = 100 * float(np.float32(count / 10_000))
            rows.append(made.row(variant, "top1", value, seed=seed, epoch=6, test_px=8, unit="%", n=10_000))
    found = summaries(made.take(tmp_path, rows).settings[0])
    (one,) = [s.difference for s in found if s.variant == "sp_sa"]
    assert one.estimate.center == pytest.approx(-0.01 * (6 + lost) / 3)
    assert (one.estimate.low is not None) == interval


# ---- memory and time


@pytest.fixture(scope="module")
def timed():
    names = ["sa", "psa", "gpsa"]
    return made.accuracy(names, range(3), (8, 10, 12)) + made.speed(names, resolutions=(8, 10, 12))


def value(rows, variant, metric, px):
    return next(r for r in rows if (r["variant"], r["metric"], r.get("test_px")) == (variant, metric, px))


def test_memory_is_drawn_relative_to_the_baseline_at_the_same_resolution(tmp_path, timed):
    def grown(one):  # memory grows with the image, and faster for gpsa
        grows = one["metric"] == "peak_mib"
        factor = (one.get("test_px", 8) / 8) ** (3 if one["variant"] == "gpsa" else 2) if grows else 1.0
        return one | {"value": one["value"] * factor}

    rows = [grown(one) for one in timed]
    table = drawn(made.take(tmp_path, rows), "s1-time")
    assert len(table) == 9
    for line in table:
        px = int(line["test_px"])
        mine, base = (value(rows, name, "peak_mib", px)["value"] for name in (line["variant"], "sa"))
        assert float(line["peak_mib"]) == mine
        assert float(line["peak_ratio"]) == pytest.approx(mine / base)
    curves = crossover.curves(made.take(tmp_path, rows).settings[0], "")
    assert resolution.memory(curves, "psa")["psa", "8"] == 1.0
    assert resolution.memory(curves, "nobody") == {}


def test_under_transfer_stands_the_time_of_an_image(tmp_path, timed):
    table = drawn(made.take(tmp_path, timed), "s1-transfer")
    for line in table:
        rate = value(timed, line["variant"], "images_per_s", int(line["test_px"]))["value"]
        assert float(line["ms_per_image"]) == pytest.approx(1e3 / rate)
        assert float(line["ms_per_image_low"]) < float(line["ms_per_image"]) < float(line["ms_per_image_high"])


def test_the_latency_of_one_image_is_taken_where_it_was_timed_at_several_resolutions(tmp_path, timed):
    one = [r for r in timed if r["metric"].startswith("latency")]
    rows = timed + [r | {"test_px": 12, "value": 2 * r["value"]} for r in one]
    found = timing.image_times(made.take(tmp_path, rows).settings[0])
    assert found.batch == "1"
    assert found.by_variant["psa"]["12"].value == 2 * value(timed, "psa", "latency_ms", 8)["value"]
    batch = timing.image_times(made.take(tmp_path / "batch", timed).settings[0])
    assert batch.batch == "64"


# ---- colours


def test_a_variant_looks_the_same_in_every_study():
    paper = palette.looks(["sa", "sp_sa", "psa", "gpsa", "rpe_1d", "rpe_2d", "swin", "cswin", "window"], "sa")
    assert len({look.color for look in paper.values()}) == 9
    small = palette.looks(["my_own", "swin", "sa"], "sa")
    large = palette.looks(["sa", "psa", "rope_mixed+swin", "swin", "my_own"], "sa")
    assert {name: small[name] for name in ("sa", "swin", "my_own")} == {n: large[n] for n in ("sa", "swin", "my_own")}
    assert small["swin"] == paper["swin"]
    assert palette.looks(["psa", "sa"], "psa")["sa"].color == palette.GREY  # sa is grey, whatever the baseline


def test_arms_of_each_ablation_of_the_paper_have_colours_of_their_own():
    from harness.ablations import ABLATIONS
    from harness.presets import PRESETS

    for name in ("hidden", "scope", "form", "combine", "relations"):
        variants = ABLATIONS[name](PRESETS["digits"]()).variants.split(",")
        look = palette.looks(["sa", *variants], "sa")
        assert len({one.color for one in look.values()}) == len(variants) + 1, name


def test_names_are_written_in_colours_that_can_be_read():
    for theme, declared in enumerate(palette.css_variables()):
        colors = dict(part.strip().split(": ") for part in declared.strip("; ").split(";"))
        texts = [color for name, color in colors.items() if name.startswith("--t")]
        assert len(texts) == 9
        paper = palette.THEME["paper"][theme]
        assert all(palette.contrast(color, paper) >= palette.TEXT for color in texts)
    assert palette.contrast(palette.THEME["c3"][0], palette.PAPER) < palette.TEXT  # which is why


# ---- a table without the columns that nobody measured


def test_speed_that_nobody_measured_is_a_sentence_and_no_columns(tmp_path, timed):
    def tables(rows, name):
        setting = made.take(tmp_path / name, rows).settings[0]
        look = palette.looks(setting.variants, setting.baseline)
        with undrawn():
            return section.section(setting, summaries(setting), look, 1, 1)

    whole = tables(timed, "whole")
    assert len(whole.table.columns) == 12
    assert whole.unmeasured == ""
    no_training = tables([r for r in timed if not r["metric"].startswith("train_")], "inference")
    assert [column.group for column in no_training.table.columns].count("Training") == 0
    assert no_training.unmeasured == "Not measured, and left out of the table: training."
    bare = tables([r for r in timed if r["metric"] == "top1"], "bare")
    assert [len(line.cells) for line in bare.table.lines] == [5] * 3
    for line in bare.table.lines:
        for cell in line.cells:
            assert all(0 < number <= len(bare.table.notes) for number in cell.notes)
    failed = made.row("psa", "images_per_s", None, note="out of memory")
    assert len(tables([r for r in timed if r["metric"] == "top1"] + [failed], "failed").table.columns) == 9
    assert main.measured(whole.table) == (whole.table, "")
    said = [r for r in timed if r["metric"] == "top1"] + [made.row(v, "images_per_s", None, note="Not measured.")
                                                          for v in ("sa", "sp_sa", "psa")]  # fmt: skip
    assert len(tables(said, "said").table.columns) == 9  # a failure is shown, whatever its words
