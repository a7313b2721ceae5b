"""What is measured after training on the page: fine-tuning at other resolutions, shift consistency, controls."""

import re
import time

import pytest

from harness.report import render as render_page
from harness.report.analysis import transfer
from harness.report.analysis.summary import failure, summaries
from harness.report.study import rules
from harness.report.study.study import study as take_apart
from harness.report.tables import means
from harness.results import stats, store
from tests.support import rows as made
from tests.support.page import HOSTILE, Page, cells, render, table_of

NAMES = ("sa", "sp_sa", "psa")


def setting_of(tmp_path, rows):
    folder = made.save(tmp_path / "study", rows)
    return take_apart(store.load(folder), store.recipes(folder)).settings[0]


@pytest.fixture(scope="module")
def rows():
    zero = made.low_data(NAMES, range(5), (1.0,), (8, 10, 12))
    return zero + made.finetuned(NAMES, range(5)) + made.shift(NAMES, range(5)) + made.control(zero)


@pytest.fixture(scope="module")
def page(rows, tmp_path_factory):
    return Page(render(tmp_path_factory.mktemp("after"), rows))


def by_seed(rows, variant, metric, px):
    return [r["value"] for r in rows if (r["variant"], r["metric"], r["test_px"]) == (variant, metric, px)]


# ---- fine-tuning


def agrees_with_the_rows(table, rows):
    """Whether each line has the zero-shot and the fine-tuned mean of its variant and resolution, and nothing else."""
    good = True
    for line in table:
        for metric, name in (("top1", "top1"), ("finetuned_top1", "finetuned")):
            values = by_seed(rows, line["variant"], metric, int(line["test_px"]))
            shown = [line[f"{name}_{end}"] for end in ("mean", "low", "high")]
            if not values:
                good &= shown == ["", "", ""]
                continue
            interval = stats.mean_interval(values)
            good &= [float(one or "nan") for one in shown] == pytest.approx(
                [interval.center, interval.low, interval.high]
            )
    return good


def test_the_figure_has_zero_shot_and_fine_tuned_means(page, rows):
    table = table_of(page, "s1-transfer.csv")
    assert len(table) == 3 * (len(NAMES) + 1)
    assert agrees_with_the_rows(table, rows)
    assert "Resolution transfer, zero-shot and fine-tuned." in page.text
    assert "hollow marks: after fine-tuning at that resolution for 5 epochs." in page.text


def test_swapped_or_mixed_metrics_are_noticed(page, rows):
    table = table_of(page, "s1-transfer.csv")
    swap = {"top1": "finetuned_top1", "finetuned_top1": "top1"}
    swapped = [r | {"metric": swap.get(r["metric"], r["metric"])} for r in rows]
    mixed = [r | {"metric": "finetuned_top1" if r["metric"] == "top1" else r["metric"]} for r in rows]
    assert not agrees_with_the_rows(table, swapped)
    assert not agrees_with_the_rows(table, mixed)


def test_fine_tuning_for_other_epochs_is_not_mixed_in(tmp_path, rows):
    longer = [r | {"epoch": 50, "value": 10.0, "when": "2025-01-01T00:00:00+00:00"} for r in rows
              if r["metric"] == "finetuned_top1"]  # fmt: skip
    curves = transfer.curves(setting_of(tmp_path, rows + longer))
    assert min(point.top1.center for curve in curves for point in curve.finetuned) > 50


def test_without_fine_tuning_the_figure_stays_as_it_was(tmp_path):
    page = Page(render(tmp_path, made.low_data(NAMES, range(3), (1.0,), (8, 12))))
    assert "Zero-shot resolution transfer." in page.text
    assert "finetuned_mean" not in table_of(page, "s1-transfer.csv")[0]


def test_the_rule_for_a_new_resolution_is_told_once_a_variant(page, tmp_path, rows):
    assert page.text.count("sp_sa recomputed; position embedding resampled") == 1
    found = rules.rules(setting_of(tmp_path, rows))
    assert found == [(["sa", made.CONTROL, "psa"], "position embedding resampled"),
                     (["sp_sa"], "sp_sa recomputed; position embedding resampled")]  # fmt: skip
    clipped = [r | {"params": r["params"] | {"rule": "clipped"}} if (r["variant"], r.get("test_px")) == ("psa", 12)
               and r["params"] else r for r in rows]  # fmt: skip
    told = {variants[-1]: words for variants, words in rules.rules(setting_of(tmp_path / "clipped", clipped))}
    assert told["psa"] == ("position embedding resampled (10 px); psa clipped; position embedding resampled (12 px)")


# ---- shift consistency


def test_shift_consistency_is_a_mean_over_seeds_with_its_interval(page, rows):
    for variant in NAMES:
        row = cells(page, variant, 3)[0]
        for column, metric in ((1, "shift_px_consistency"), (2, "shift_patch_consistency")):
            interval = stats.mean_interval(by_seed(rows, variant, metric, 8))
            assert row[column].split() == [f"{interval.center:.2f}", f"[{interval.low:.2f},", f"{interval.high:.2f}]"]
    assert "predictions of 360 test images" in page.text


def test_shift_consistency_of_pixel_and_patch_are_not_swapped(tmp_path, rows):
    table = means.table(setting_of(tmp_path, rows), "shift")
    assert [column.key for column in table.columns] == ["shift_px_consistency", "shift_patch_consistency"]
    assert [column.title for column in table.columns] == ["By a pixel", "By a patch"]
    assert all(line.cells[0].sort > line.cells[1].sort for line in table.lines if line.cells[0].sort)


def test_without_shift_rows_there_is_no_table(tmp_path):
    setting = setting_of(tmp_path, made.accuracy(NAMES, range(3), [8]))
    assert means.table(setting, "shift") is None
    assert "Shift consistency" not in Page(render(tmp_path, made.study(NAMES), name="none", figures=False)).text


# ---- failures


def test_a_failed_fine_tuning_is_listed_and_blanks_nothing_else(tmp_path, rows):
    note = "fine-tuning: out of memory at batch 64"
    lost = [r for r in rows if (r["variant"], r["metric"]) != ("psa", "finetuned_top1")]
    lost += [made.row("psa", "finetuned_top1", None, seed=s, epoch=5, test_px=12, note=note) for s in range(5)]
    extra = made.cost(["sa", "psa"])
    before = Page(render(tmp_path, rows + extra, name="all", figures=False))
    after = Page(render(tmp_path, lost + extra, name="lost", figures=False))
    failed = after.text[after.text.rindex("Failed and refused") :]
    assert re.search(rf"psa finetuned_top1; seed 0, 1, 2, 3, 4; test px 12 {note}", failed)
    assert cells(after, "psa", 6)[0] == cells(before, "psa", 6)[0]
    assert cells(after, "psa", 3)[0] == cells(before, "psa", 3)[0]
    titles = [attributes.get("title", "") for attributes in after.named("td")]
    assert not any(note in title for title in titles)


def test_a_failed_training_explains_what_was_to_follow_it(tmp_path, rows):
    rest = [r for r in rows if r["variant"] != "psa"]
    failed = [made.row("psa", "top1", None, seed=0, test_px=8, note="the loss became NaN")]
    tuned = [made.row("psa", "finetuned_top1", None, seed=0, test_px=12, note="no weights")]
    setting = setting_of(tmp_path, rest + failed + tuned)
    assert failure(setting, "psa", "shift") == "the loss became NaN"
    assert failure(setting, "psa", "finetuning") == "no weights"
    assert failure(setting, "psa", "accuracy") == "the loss became NaN"


def test_a_failure_tells_its_share_of_the_training_images(tmp_path):
    rows = made.low_data(NAMES, range(3), (0.1, 1.0))
    rows.append(made.row("psa", "top1", None, seed=7, test_px=8, train_fraction=0.1, note="the loss became NaN"))
    assert "psa top1; seed 7; test px 8; 10 % of the images the loss became NaN" in Page(
        render(tmp_path, rows, figures=False)).text  # fmt: skip


# ---- controls, and many rows


def test_a_control_is_a_label_and_says_how_it_is_paired(page, tmp_path, rows):
    assert len(cells(page, "sa", 6)) == 2  # the baseline and "sa as large as sp_sa"
    assert "Paired by data only: its MLPs are 272 wide." in page.text
    found = {s.variant: s for s in summaries(setting_of(tmp_path, rows))}
    assert found[made.CONTROL].family == "controls"
    assert found[made.CONTROL].difference.estimate.n == 5
    assert found["psa"].remark == ""


def test_all_at_once_renders(tmp_path):
    page = Page(render(tmp_path, made.everything(NAMES, range(3), (0.1, 1.0), epochs=4)))
    assert not re.search(r"\b(nan|None|inf|undefined|NaN)\b", page.text)
    assert len(page.named("figure")) == 1 + 2 + 2 * 4 + 2
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [a["href"] for a in page.named("a") if a.get("href", "").startswith("#")]
    assert {link.removeprefix("#") for link in links} <= set(ids)


def small(names=NAMES, seeds=range(3), fractions=(0.1, 1.0)):
    return [r for r in made.everything(names, seeds, fractions, epochs=4) if r.get("seed") is not None]


ODD = {
    "one seed": small(seeds=[0]),
    "two seeds": small(seeds=[0, 1]),
    "no baseline": small(("psa", "sp_sa")),
    "one variant": small(("sa",)),
    "hostile names": [r | {"variant": {"psa": HOSTILE[0], "sp_sa": HOSTILE[5]}.get(r["variant"], r["variant"])}
                      for r in small()],
    "odd fractions": [r | {"train_fraction": {0.1: "a tenth", 1.0: -1.0}[r["train_fraction"]]} for r in small()],
    "odd epochs": [r | {"epoch": [1]} if r["metric"] == "train_s" else r | {"epoch": 1e300} for r in small()],
    "rectangles": [r | {"test_px": {8: 8, 10: "8x12", 12: "12x8"}.get(r.get("test_px"))} for r in small()],
    "all alike": [r | {"value": 90.0} for r in small()],
    "nothing right": [r | {"value": 0.0} if r.get("unit") == "%" else r for r in small()],
    "shares all but the same": small(fractions=(0.5, 0.51, 0.52, 1.0)),
}  # fmt: skip


@pytest.mark.parametrize("case", ODD)
@pytest.mark.filterwarnings("error")
def test_every_study_gives_a_sensible_page(case, tmp_path):
    page = Page(render(tmp_path, ODD[case]))
    assert not re.search(r"\b(nan|None|inf|undefined|NaN)\b", page.text)
    assert len(page.named("script")) == 1
    assert not page.named("img")


def test_twenty_thousand_rows_of_training_in_ten_seconds(tmp_path):
    names, rows = ("sa", *(f"psa[gate={n}]" for n in range(8))), []
    for fraction in (0.01, 0.1, 1.0):
        rows += made.training(names, range(5), 50, fraction=fraction)
    rows += made.low_data(names, range(5))
    assert len(rows) > 20_000
    folder = made.save(tmp_path / "study", rows)
    start = time.process_time()
    report = render_page(folder, tmp_path / "page.html")
    assert time.process_time() - start < 10
    assert report.path.stat().st_size < 3_000_000
