"""What the verdict and the table make of the statistics: Holm's p, wins, test images, costs without times, fronts."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harness.report.analysis.pareto import on_front
from harness.report.analysis.summary import summaries
from harness.report.study import images
from harness.report.study.study import study as take_apart
from harness.report.tables import main
from harness.report.text import formatting
from harness.report.text.verdict import BETTER, EQUAL, OPEN, WORSE, outcome, verdicts
from harness.results import stats, store
from tests.support import rows as made
from tests.support.page import Page, render


def found(folder):
    study = take_apart(store.load(folder), store.recipes(folder), store.correct(folder))
    return {one.variant: one for one in summaries(study.settings[0])}


def said(found):
    return {one.variant: one.sentence for one in verdicts(list(found.values()), "sa", 0.5)}


def by_seed(rows, variant):
    mine = [r for r in rows if (r["variant"], r["metric"]) == (variant, "top1")]
    return {str(r["seed"]): r["value"] for r in mine}


# ---- p values and wins


def test_p_is_adjusted_for_the_family_and_stands_in_verdict_and_table(tmp_path):
    rows = made.accuracy(["sa", "psa", "gpsa", "swin"], range(5), [8])
    here = found(made.save(tmp_path / "study", rows))
    challengers = [variant for variant in here if variant != "sa"]
    raw = [scipy_stats.ttest_rel(list(by_seed(rows, v).values()), list(by_seed(rows, "sa").values())).pvalue
           for v in challengers]  # fmt: skip
    assert min(raw) < 0.05 / 3
    for variant, p in zip(challengers, raw, strict=True):
        assert p > 0.05 or here[variant].p == pytest.approx(3 * p)
    expected = {v: here[v].p for v in challengers}
    page = Page(render(tmp_path, rows, name="page", figures=False))
    for variant, p in expected.items():
        line = next(" ".join(row) for row in page.rows if row[0].startswith(variant))
        any_runs = stats.probability_of_improvement(by_seed(rows, variant), by_seed(rows, "sa")).any_runs
        assert f"{formatting.p_value(p)}; P {any_runs:.2f}" in line
        assert f"adjusted {formatting.p_value(p)})" in said(here)[variant]
    assert "p: of the paired t test over seeds, moderated and adjusted for its family" in page.text
    assert here["sa"].p is None


def test_what_a_step_after_each_verdict_would_decide_is_undetermined(tmp_path):
    """psa's p is the second smallest: Holm multiplies it by 1, the family by 2."""
    base = made.accuracy(["sa"], range(5), [8])
    steps = {"swin": [-4.0, -4.1, -3.9, -4.0, -4.05], "psa": [1.3, 0.25, 0.9, 0.5, 0.25]}
    rows = base + [r | {"variant": v, "value": r["value"] + more[r["seed"]]} for v, more in steps.items() for r in base]
    here = found(made.save(tmp_path / "study", rows))
    assert here["psa"].difference.p < 0.05 < 2 * here["psa"].difference.p == pytest.approx(here["psa"].p)
    assert (outcome(here["swin"]), outcome(here["psa"])) == (WORSE, OPEN)
    assert "undetermined; " in said(here)["psa"]
    assert "power for 0.5 points" in said(here)["psa"]


def test_a_small_difference_is_equal_and_a_control_arm_only_suggests(tmp_path):
    base = made.accuracy(["sa"], range(5), [8])
    steps = {"psa": [0.1, 0.0, -0.1, 0.1, 0.05], made.CONTROL: [2.0, 2.1, 2.2, 2.0, 2.1]}
    rows = base + [r | {"variant": v, "value": r["value"] + more[r["seed"]]} for v, more in steps.items() for r in base]
    rows = [r | {"family": "controls"} if r["variant"] == made.CONTROL else r for r in rows]
    folder = made.save(tmp_path / "study", rows)
    here = found(folder)
    assert [outcome(here[v]) for v in steps] == [EQUAL, f"suggests {BETTER}"]
    assert "equal within 0.5 points." in said(here)["psa"]
    assert here["psa"].difference.estimate.confidence == pytest.approx(0.95), "a family of one"
    store.write_recipe(folder, made.HASH, made.RECIPE | {"delta": 0.05, "primary": [made.CONTROL]})
    here = found(folder)
    assert [outcome(here[v]) for v in steps] == [OPEN, BETTER]


def test_wins_are_counted_over_paired_seeds(tmp_path):
    base = made.accuracy(["sa"], range(4), [8])
    more = {0: 1.0, 1: -0.5, 2: 0.0, 3: 2.0}
    rows = base + [r | {"variant": "psa", "value": r["value"] + more[r["seed"]]} for r in base]
    assert "better in 2.5 of 4 paired seeds" in said(found(made.save(tmp_path / "study", rows)))["psa"]


def test_two_seeds_have_neither_p_nor_interval(tmp_path):
    here = found(made.save(tmp_path / "study", made.accuracy(["sa", "psa"], range(2), [8])))
    assert here["psa"].p is None
    assert "too few for an interval, which needs 3" in said(here)["psa"]


# ---- test images


def answered(folder, gains, seeds=5, n=400, damage=lambda variant, seed, right: right):
    """A study whose cells keep which images were right; `gains`: variant -> (images gained, images lost)."""
    generator = np.random.default_rng(2)
    hard = np.arange(n) < n // 10
    rows = []
    for variant, (gained, lost) in gains.items():
        for seed in range(seeds):
            right = ~hard
            right[: gained + (gained and seed % 2)] = True  # the seeds differ a little, so there is an interval
            right[n - lost :] = False
            both = np.stack([right, generator.random(n) < 0.5])
            cell = f"{seed}feed{len(rows):04d}"
            about = {"seed": seed, "n": n, "cell": cell, "unit": "%"}
            rows.append(made.row(variant, "top1", 100 * float(np.float32(right.mean())), test_px=8, **about))
            rows.append(made.row(variant, "top1", 100 * float(both[1].mean()), test_px=12, **about))
            name = f"{variant}-seed-{seed}-{cell}.correct.npy"
            folder.mkdir(exist_ok=True)
            np.save(folder / name, damage(variant, seed, both))
    return made.save(folder, rows)


def test_the_interval_over_images_is_that_of_the_answers_beside_the_rows(tmp_path):
    here = found(answered(tmp_path / "study", {"sa": (0, 0), "psa": (8, 2)}))
    wide, narrow = here["psa"].over_images, here["psa"].difference.estimate
    assert wide.n == 400
    assert wide.center == pytest.approx(narrow.center, abs=1e-3)
    assert wide.low < narrow.low < narrow.high < wide.high
    assert (
        f"Over other test images, too (400 here): {formatting.points(wide.low)} to {formatting.points(wide.high)}"
        in (said(here)["psa"])
    )


def test_what_other_images_would_not_show_is_said(tmp_path):
    """Six images gained and two lost in every seed: sure on these images, not on others like them."""
    folder = answered(tmp_path / "study", {"sa": (0, 0), "psa": (6, 2)})
    here = found(folder)
    assert here["psa"].difference.resolved
    assert not here["psa"].over_images.excludes(0.0)
    assert said(here)["psa"].count("which holds 0") == 1
    shown = main.table(list(here.values()), "sa", None, None)
    place = [column.key for column in shown.columns].index("difference")
    assert main.THESE_IMAGES in [shown.notes[number - 1] for number in shown.lines[1].cells[place].notes]


def test_many_images_gained_are_resolved_on_others_too(tmp_path):
    here = found(answered(tmp_path / "study", {"sa": (0, 0), "psa": (30, 0)}))
    assert here["psa"].over_images.excludes(0.0)
    assert "which holds 0" not in said(here)["psa"]


DAMAGES = {
    "another resolution first": lambda variant, seed, right: right[::-1],
    "not of these rows": lambda variant, seed, right: ~right if seed == 2 else right,
    "fewer images": lambda variant, seed, right: right[:, :200] if variant == "psa" else right,
    "counts": lambda variant, seed, right: right.astype(np.int64),
    "empty": lambda variant, seed, right: right[:0],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_answers_that_do_not_agree_with_their_rows_are_not_used(damage, tmp_path):
    here = found(answered(tmp_path / "study", {"sa": (0, 0), "psa": (8, 2)}, damage=DAMAGES[damage]))
    assert here["psa"].over_images is None
    assert here["psa"].difference is not None
    assert "test images" not in said(here)["psa"]


def test_a_file_that_is_no_array_is_not_used(tmp_path):
    folder = answered(tmp_path / "study", {"sa": (0, 0), "psa": (8, 2)})
    next(folder.glob("psa-seed-3-*.npy")).write_bytes(b"nothing")
    assert found(folder)["psa"].over_images is None
    next(folder.glob("psa-seed-4-*.npy")).write_bytes(b"")
    assert found(folder)["psa"].over_images is None


def test_without_a_check_wrong_answers_would_be_used(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "HAIR", 100.0)
    swapped = DAMAGES["another resolution first"]
    here = found(answered(tmp_path / "study", {"sa": (0, 0), "psa": (8, 2)}, damage=swapped))
    assert here["psa"].over_images is not None


# ---- cost and fronts


def test_without_a_time_the_cost_is_what_is_counted(tmp_path):
    rows = made.accuracy(["sa", "gpsa"], range(3), [8]) + made.cost(["sa", "gpsa"])
    here = found(made.save(tmp_path / "study", rows))
    assert "Not timed; relative to the baseline: GMACs 1.15 and parameters 1.00." in said(here)["gpsa"]
    timed = found(made.save(tmp_path / "timed", rows + made.speed(["sa", "gpsa"])))
    assert "Not timed" not in said(timed)["gpsa"]
    assert "Time relative to the baseline: inference 1.6" in said(timed)["gpsa"]


def test_how_often_a_variant_is_on_the_front_and_who_keeps_it_off(tmp_path):
    rows = made.study(["sa", "sp_sa", "gpsa", "swin"], range(5), [8])
    here = found(made.save(tmp_path / "study", rows))
    text = said(here)
    for variant in ("sp_sa", "swin"):
        assert "On the Pareto front of accuracy and throughput in 100\u00a0% of resamples" in text[variant]
    assert "Dominated by sp_sa and sa, at least as accurate and as fast: off the Pareto front in" in text["gpsa"]
    untimed = [r for r in rows if r["metric"] in ("top1", "gmac", "params")]
    text = said(found(made.save(tmp_path / "untimed", untimed)))
    assert "Dominated by sp_sa and sa, at least as accurate and as cheap: off" in text["gpsa"]
    assert "On the Pareto front of accuracy and GMACs" in text["swin"]


def front_by_loops(found, gains):
    """The shares, a resample at a time by stats.pareto_front."""
    seeds = sorted(found["sa"].seeds)
    drawn = np.random.default_rng(0).integers(len(seeds), size=(stats.RESAMPLES, len(seeds)))
    names, counts = list(gains), dict.fromkeys(gains, 0)
    for draw in drawn:
        means = [np.mean([found[v].seeds[seeds[k]] for k in draw]) for v in names]
        for place in stats.pareto_front(means, [-gains[v] for v in names]):
            counts[names[place]] += 1
    return {v: counts[v] / len(drawn) for v in names}


def test_the_share_of_the_front_is_that_of_resamples_of_paired_seeds(tmp_path):
    here = found(made.save(tmp_path / "study", made.accuracy(["sa", "gpsa", "rpe_1d"], range(5), [8])))
    gains = {"sa": 3.0, "gpsa": 1.0, "rpe_1d": 2.0}
    assert on_front(list(here.values()), gains) == pytest.approx(front_by_loops(here, gains))
    turned = dict(zip(here["sa"].seeds, list(here["sa"].seeds.values())[::-1], strict=True))
    unpaired = here | {"sa": replace(here["sa"], seeds=turned)}
    assert on_front(list(unpaired.values()), gains) != pytest.approx(front_by_loops(here, gains))
    assert on_front(list(here.values())[:1], gains) == {}
