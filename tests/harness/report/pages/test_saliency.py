"""Saliency and binarised priors on the page: numbers of the rows, arrays that fit or are left out, pictures."""

import contextlib
import csv
import io
import re
from dataclasses import replace

import numpy as np
import pytest

from harness.report import render
from harness.report.analysis.binarized import Arm, Curves, arms
from harness.report.figures import saliency as figure
from harness.report.figures.context import Context
from harness.report.figures.style import palette
from harness.report.pages import binarized, saliency
from harness.report.study import saliency as beside
from harness.report.study.study import study as take_apart
from harness.results import map_files, store
from tests.support import rows as made

VARIANTS, SEEDS = ("sa", "sp_sa", "gpsa"), range(3)


def scores(covered=True):
    """Rows of saliency cells, and by cell what their arrays hold."""
    found, held = [], {}
    draw = np.random.default_rng(0)
    images = draw.integers(0, 255, (4, 1, 8, 8), dtype=np.uint8)
    for place, variant in enumerate(VARIANTS):
        for seed in SEEDS:
            cell = f"{place}{seed}aaaaaaaa"
            about = {"seed": seed, "cell": cell, "n": 128, "test_px": 8}
            for metric, value in (("deletion", 0.3), ("insertion", 0.6), ("random_deletion", 0.45)):
                found.append(made.row(variant, metric, value + 0.01 * seed + 0.02 * place, **about))
            if covered:
                found += [made.row(variant, "coverage", 40.0 + seed, unit="%", **about)]
            held[cell] = {
                "images": images, "relevance": draw.random((4, 4, 4)).astype(np.float16),
                "chosen": np.arange(4, dtype=np.int16), "labels": np.array([0, 1, 2, 9], np.int16),
            }  # fmt: skip
    return found, held


def saved(folder, rows, held=None):
    made.save(folder, rows)
    for cell, arrays in (held or {}).items():
        np.savez_compressed(folder / "cells" / f"some-{cell}.saliency.npz", **arrays)
    return folder


def first_setting(folder):
    maps = store.beside(folder, ".saliency.npz")
    return take_apart(store.load(folder), store.recipes(folder), {}, maps).settings[0]


def part(setting):
    return saliency.saliency(Context(setting, [], palette.looks(setting.variants, setting.baseline), "s1-"))


def lines_of(drawing):
    return list(csv.DictReader(io.StringIO(drawing.csv())))


def test_scores_are_means_over_seeds_with_intervals(tmp_path):
    rows, held = scores()
    setting = first_setting(saved(tmp_path, made.accuracy(VARIANTS, SEEDS, [8]) + rows, held))
    shown = part(replace(setting, maps={}))
    assert [column.title for column in shown.table.columns] == ["Deletion", "Insertion", "Random order", "Coverage"]
    line = next(line for line in shown.table.lines if line.variant == "sp_sa")
    assert [cell.text for cell in line.cells] == ["0.330", "0.630", "0.480", "41.0"]
    assert line.cells[3].detail == "[38.5, 43.5]"
    assert "128 test images" in shown.how
    assert shown.drawings == []  # no arrays were handed over


def test_without_scores_there_is_no_part(tmp_path):
    setting = first_setting(saved(tmp_path, made.accuracy(VARIANTS, SEEDS, [8])))
    assert part(setting) is None
    assert binarized.binarised(setting, "s1-") == []


def test_the_panel_has_the_first_seeds_maps_and_names_what_was_chosen_wrongly(tmp_path):
    rows, held = scores()
    setting = first_setting(saved(tmp_path, rows, held))
    (drawing,) = part(setting).drawings
    table = lines_of(drawing)
    assert len(table) == 3 * 4 * 16
    for one in table[::7]:
        cell = f"{VARIANTS.index(one['variant'])}0aaaaaaaa"
        expected = held[cell]["relevance"][int(one["image"]), int(one["row"]), int(one["column"])]
        assert float(one["relevance"]) == pytest.approx(float(expected), abs=1e-4)
    assert "sa (1 image)" in drawing.caption
    assert drawing.svg.count("<image") == 4 * (1 + 3) + 1
    assert 'href="data:image/png;base64,' in drawing.svg
    assert len(drawing.svg) < 60_000


DAMAGE = {
    "cut off": lambda file: file.write_bytes(file.read_bytes()[:40]),
    "no archive": lambda file: file.write_bytes(b"nothing"),
    "another image": lambda file: resaved(file, "images", lambda x: x + 1),
    "not a number": lambda file: resaved(file, "relevance", lambda x: x * np.nan),
    "one map less": lambda file: resaved(file, "relevance", lambda x: x[1:]),
    "pickled": lambda file: resaved(file, "relevance", lambda x: np.array([{}] * 4, dtype=object)),
}


def resaved(file, name, change):
    with np.load(file) as held:
        arrays = dict(held)
    np.savez_compressed(file, **arrays | {name: change(arrays[name])})


@pytest.mark.parametrize("how", DAMAGE)
def test_damaged_arrays_are_left_out_and_the_next_seeds_are_drawn(tmp_path, how):
    rows, held = scores()
    folder = saved(tmp_path, rows, held)
    file = next(folder.rglob("*-10aaaaaaaa.saliency.npz"))  # sp_sa's first seed
    DAMAGE[how](file)
    setting = first_setting(folder)
    assert (beside.read(file) is None) == (how != "another image")
    found = beside.arrays(setting)
    if how == "another image":
        assert list(found) == ["sa", "gpsa"]
    else:
        assert np.array_equal(found["sp_sa"]["relevance"], held["11aaaaaaaa"]["relevance"])
        assert np.array_equal(found["sa"]["relevance"], held["00aaaaaaaa"]["relevance"])
    assert {line["variant"] for line in lines_of(part(setting).drawings[0])} == set(found)


def test_an_overlay_is_grey_where_nothing_is_relevant_and_orange_where_all_is():
    image = np.full((3, 4, 4), 100, np.uint8)
    found = figure.overlay(image, np.array([[0.0, 1.0], [0.0, 0.5]]))
    assert found[0, 0].tolist() == [100, 100, 100]
    assert found[0, 3].tolist() == [round(0.2 * 100 + 0.8 * part) for part in (0xD5, 0x5E, 0x00)]
    assert found[3, 3, 0] - found[3, 3, 2] < found[0, 3, 0] - found[0, 3, 2]
    assert found[3, 0].tolist() == [100, 100, 100]  # rows first


# ---- binarised priors

ARMS = {  # loss of points, after fine-tuning, pairs
    "sp_sa kept 100 %": (0.0, -0.1, 100.0), "sp_sa kept 100 %, prior 1": (0.2, 0.0, 100.0),
    "sp_sa kept 50 % by mass": (1.0, 0.2, 70.0), "sp_sa kept 50 % by mass, prior 1": (1.5, 0.4, 70.0),
    "sp_sa kept 10 % by mass": (20.0, 2.0, 20.0), "sp_sa kept 10 % by mass, prior 1": (25.0, 2.5, 20.0),
}  # fmt: skip
TIMES = {
    ("sp_sa kept 10 % by mass", 8): 1.3,
    ("sp_sa kept 10 % by mass", 64): 0.5,
    ("sp_sa kept 50 % by mass", 64): 0.9,
}


def mask(name):
    """The params of an arm, by the name that the tests give it."""
    spec, _, rest = name.partition(" kept ")
    keep, _, how = rest.partition(" %")
    return {"spec": spec, "keep": float(keep), "by": "mass" if "mass" in how else "", "ones": "prior 1" in how}


def masked():
    """Rows as harness.binarize leaves them."""
    found = made.accuracy(["sa", "sp_sa"], SEEDS, [8])
    plain = {row["seed"]: row["value"] for row in found if (row["variant"], row["metric"]) == ("sp_sa", "top1")}
    for name, (loss, left, pairs) in ARMS.items():
        for seed in SEEDS:
            about = {"seed": seed, "test_px": 8, "family": "binarised", "cell": f"{name}-{seed}",
                     "params": mask(name)}  # fmt: skip
            found.append(made.row(name, "kept_top1", plain[seed] - loss, unit="%", n=360, **about))
            tuned = {"unit": "%", "n": 360, "epoch": 4}
            found.append(made.row(name, "kept_finetuned_top1", plain[seed] - left, **about, **tuned))
            found.append(made.row(name, "kept_pairs", pairs, unit="%", **about))
    where = {"seed": 0, "cell": "times"}
    for px, grid in ((8, "8x8"), (64, "32x32")):
        aa = [0.99, 1.01, 1.0, 1.02, 0.98]
        about = {"test_px": px, "grid": grid, "samples": aa, "n": 5}
        found.append(made.row("sp_sa", "kept_aa_ratio", 1.0, **about, **where))
    for (name, px), value in TIMES.items():
        for backend, more in (("eager", 0.4), ("flex", 0.2), ("gathered", 0.0)):
            samples = [value + more + 0.001 * number for number in range(5)]
            about = {"test_px": px, "grid": "8x8" if px == 8 else "32x32", "backend": backend, "n": 5,
                     "params": mask(name)}  # fmt: skip
            found.append(
                made.row(name, "kept_ratio", samples[2], samples=samples, family="binarised", **about, **where)
            )
    return found


def test_arms_are_what_params_say_whatever_the_rows_are_called(tmp_path):
    params = {"spec": "sp_sa[hidden=16]+swin", "keep": 12.5, "by": "deviation", "ones": True}
    found = arms(first_setting(made.save(tmp_path, [
        *masked(), made.row("some arm", "kept_top1", 90.0, seed=0, test_px=8, family="binarised", params=params),
        made.row("sp_sa kept 9 %", "kept_top1", 90.0, seed=0, test_px=8, family="binarised"),
        made.row("half", "kept_top1", 90.0, seed=0, test_px=8, family="binarised", params={"keep": 50.0}),
        made.row("odd", "kept_top1", 90.0, seed=0, test_px=8, family="binarised", params=params | {"keep": "most"}),
    ])))  # fmt: skip
    assert found["sp_sa[hidden=16]+swin"] == [Arm("some arm", "sp_sa[hidden=16]+swin", 12.5, "deviation", True)]
    assert [(one.keep, one.by, one.ones) for one in found["sp_sa"]] == [
        (100.0, "", False), (100.0, "", True), (50.0, "mass", False), (50.0, "mass", True), (10.0, "mass", False),
        (10.0, "mass", True),
    ]  # fmt: skip


def wrong(table):
    """The arms whose mean is not that of the rows."""
    found = []
    for line in table:
        if line["test_px"] == "8" and line["top1_mean"]:
            mine = [r["value"] for r in masked() if (r["variant"], r["metric"]) == (line["arm"], "kept_top1")]
            tuned = [
                r["value"] for r in masked() if (r["variant"], r["metric"]) == (line["arm"], "kept_finetuned_top1")
            ]
            numbers = [float(line["top1_mean"]), float(line["finetuned_mean"])]
            if numbers != pytest.approx([np.mean(mine), np.mean(tuned)]):
                found.append(line["arm"])
    return found


def test_the_curve_has_the_rows_numbers_and_the_fastest_backend(tmp_path):
    (shown,) = binarized.binarised(first_setting(made.save(tmp_path, masked())), "s1-")
    (drawing,) = shown.drawings
    table = lines_of(drawing)
    assert wrong(table) == []
    assert wrong([line | {"top1_mean": line["finetuned_mean"]} for line in table]) != []  # mutant: columns swapped
    timed = {(line["arm"], int(line["test_px"])): line for line in table if line["time_ratio"]}
    assert {key: float(line["time_ratio"]) for key, line in timed.items()} == pytest.approx(
        {key: value + 0.002 for key, value in TIMES.items()}
    )
    assert {line["backend"] for line in timed.values()} == {"gathered"}
    assert drawing.panels == 2
    assert "after 4 epochs of fine-tuning" in drawing.caption
    assert "by the fastest backend of eager, flex and gathered, over" in drawing.caption


def test_sentences_say_what_is_lost_and_where_it_pays(tmp_path):
    (shown,) = binarized.binarised(first_setting(made.save(tmp_path, masked())), "s1-")
    said = {re.sub(r"\s", " ", what): re.sub(r"\s", " ", words) for what, words in shown.sentences}
    minus = "\N{MINUS SIGN}"
    assert said["10 % of the offsets"].startswith(
        f"by mass, prior inside (20.0 % of the pairs) {minus}20.00 points (no interval, 3 seeds), "
        f"fine-tuned {minus}2.00 points (no interval, 3 seeds); by mass, prior 1"
    )
    assert said["8x8 grid"] == ("no mask pays beyond what is resolved; the lowest ratio is 1.30.")
    assert said["32x32 grid"] == (
        "2 masks of 2 pay, with 10 % and 50 % of the offsets (gathered); the lowest ratio is 0.502."
    )


def test_a_mask_alone_pays_only_beyond_what_dropping_the_prior_saves(tmp_path):
    where, samples = {"seed": 0, "cell": "times", "test_px": 64, "grid": "32x32"}, [0.602, 0.6, 0.601, 0.603, 0.599]
    about = {"family": "binarised", "backend": "sdpa", "samples": samples, "n": 5}
    said = {}
    for control in (0.6, 0.9):
        rows = [*masked(), made.row("sp_sa kept 10 % by mass, prior 1", "kept_ratio", 0.601, **about, **where,
                                   params=mask("sp_sa kept 10 % by mass, prior 1"))]  # fmt: skip
        every = about | {"samples": [control] * 4 + [control + 0.001]}
        kept = "sp_sa kept 100 %, prior 1"
        rows += [made.row(kept, "kept_ratio", control, **every, **where, params=mask(kept))]
        (shown,) = binarized.binarised(first_setting(made.save(tmp_path / str(control), rows)), "s1-")
        said[control] = dict(shown.sentences)["32x32 grid"]
    assert said[0.6].startswith("2 masks of 3 pay")
    assert said[0.6].endswith("Dropping the prior without a mask gives 0.600.")
    assert said[0.9].startswith("3 masks of 3 pay")


def test_masks_are_no_variants_of_the_comparison(tmp_path):
    folder = made.save(tmp_path / "study", masked())
    setting = first_setting(folder)
    assert setting.variants == ["sa", "sp_sa"]
    render(folder, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "Binarised priors: <code>sp_sa</code>" in page
    assert 'data-sort="sp_sa kept' not in page


def test_a_binarised_prior_is_compared_seed_by_seed():
    """The control that keeps all lost nothing, though the seeds it has are the worse ones."""
    curves = object.__new__(Curves)
    curves.trained = {"0": 80.0, "1": 90.0, "2": 85.0, "3": 99.0}
    assert curves._change({"0": 80.0}) == "0.00 points (no interval, 1 seed)"
    minus = "\N{MINUS SIGN}"
    change = curves._change({"0": 79.0, "1": 88.0, "2": 82.0})
    assert change == f"{minus}2.00 points ({minus}4.48 to +0.48, 3 seeds)"  # t = 4.303, sd 1
    assert curves._change({"7": 50.0}) == ""


@pytest.mark.parametrize("kind", ["saliency", "maps"])
def test_a_byte_that_is_wrong_anywhere_in_the_arrays_never_costs_the_page(tmp_path, kind):
    arrays = {"images": np.zeros((4, 1, 8, 8), np.uint8), "relevance": np.random.default_rng(0).random((4, 4, 4)),
              "chosen": np.zeros(4), "labels": np.zeros(4)}  # fmt: skip
    file = tmp_path / "one.npz"
    if kind == "maps":
        file.write_bytes(map_files.packed({(1, "prior", None): 1 + arrays["relevance"]}))
    else:
        np.savez_compressed(file, **arrays)
    whole, random = file.read_bytes(), np.random.default_rng(1)
    for place in random.integers(len(whole), size=300):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ int(random.integers(1, 256))]) + whole[place + 1 :])
        if kind == "saliency":
            beside.read(file)
            continue
        with contextlib.suppress(ValueError):  # the one that names the file
            map_files.unpacked(file)
