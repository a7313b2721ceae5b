"""Speed on the page: by resolution, at batch 1, as a share of the ceiling, and what is said where it is missing."""

import csv
import io
import re
from urllib.parse import unquote

import numpy as np
import pytest

from harness.report.analysis import crossover
from harness.report.analysis.quantity import Quantity
from harness.report.analysis.timing import Condition, Speed
from harness.report.study.study import study as take_apart
from harness.report.text import formatting
from harness.results import stats, store
from tests.support import rows as made
from tests.support.page import Page, render, sketched

RESOLUTIONS = (8, 10, 12)


@pytest.fixture(scope="module")
def rows():
    return made.accuracy(made.VARIANTS, range(3), RESOLUTIONS) + made.speed(made.VARIANTS, resolutions=RESOLUTIONS)


@pytest.fixture(scope="module")
def few(rows):
    """Enough for what is said of a variant; a page takes its time by variants."""
    return [r for r in rows if r["variant"] in ("sa", "psa", "gpsa")]


@pytest.fixture(scope="module")
def full(rows, tmp_path_factory):
    return render(tmp_path_factory.mktemp("speed"), rows)


def value(rows, variant, metric, px=8):
    return next(r for r in rows if (r["variant"], r["metric"], r.get("test_px")) == (variant, metric, px))


def line(page, variant):
    return next(row for row in page.main if row[0].split()[0] == variant)


def said(page, variant):
    """The sentences on a variant under "Speed by resolution"."""
    found = page.text[page.text.rindex("Speed by resolution") : page.text.rindex("Failed and refused")]
    after = found.split(f" {variant} Inference :")[1]
    return re.split(r" [a-z_0-9=\[\]]+ Inference :", after)[0]


def test_the_figures_by_resolution_draw_what_the_rows_say(rows, full):
    page = Page(full)
    links = [a for a in page.named("a") if a.get("href", "").startswith("data:text/csv")]
    named = {link["download"]: link["href"] for link in links}
    assert len(named) == len(page.named("figure")) == 5
    for prefix in ("", "train_"):
        table = list(csv.DictReader(io.StringIO(unquote(named[f"s1-{prefix}time.csv"].split(",", 1)[1]))))
        assert len(table) == 3 * len(made.VARIANTS)
        for one in table:
            px = int(one["test_px"])
            assert float(one["images_per_s"]) == value(rows, one["variant"], prefix + "images_per_s", px)["value"]
            aa = stats.median_interval(value(rows, "sa", prefix + "aa_ratio", px)["samples"])
            assert float(one["aa_floor"]) == pytest.approx(stats.aa_floor(aa))
            if one["variant"] == "sa":
                assert (one["time_ratio"], one["outcome"]) == ("1.0", "baseline")
                continue
            ratio = stats.median_interval(value(rows, one["variant"], prefix + "ratio", px)["samples"])
            found = [float(one[f"time_ratio{end}"]) for end in ("", "_low", "_high")]
            assert found == pytest.approx([ratio.center, ratio.low, ratio.high])
            resolved = stats.ratio_resolved(ratio, stats.aa_floor(aa))
            assert one["outcome"] == (("slower", "faster")[ratio.center < 1] if resolved else "not resolved")
    assert "Speed elsewhere" not in page.text


def test_it_says_where_a_variant_overtakes(full):
    page = Page(full)
    assert re.search(r"slower at 8 px \(time ratio 1\.6\d\); faster at 12 px \(.*?\); not resolved at 10 px\. It "
                     r"overtakes sa between 8 and 12 px\.", said(page, "gpsa"))  # fmt: skip
    assert "It falls behind sa between 8 and 12 px." in said(page, "swin")
    assert "faster at 8, 10 and 12 px" in said(page, "cswin")
    assert "sa overtakes it at none of the measured resolutions." in said(page, "cswin")
    assert "It overtakes sa at none of the measured resolutions." in said(page, "rpe_1d")


def curve(*outcomes, missing=()):
    """A curve at 8, 16, ... px; an outcome is a time ratio, and text that of one which is not resolved."""
    points = []
    for place, ratio in enumerate(outcomes, start=1):
        here = Condition(("cpu", "fp32", "64", str(8 * place), "cell"), 0.01, Quantity())
        speed = Speed(Quantity(), Quantity(float(ratio)), Quantity(), Quantity(), not isinstance(ratio, str), "sdpa")
        points.append(crossover.Point(here, speed))
    return crossover.Curve("psa", points, list(missing))


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (curve(1.2, 0.8), "slower at 8 px (time ratio 1.20); faster at 16 px (time ratio 0.80). "
                          "It overtakes sa between 8 and 16 px."),
        (curve(1.3, 1.1, 0.8, 0.7), "slower at 8 and 16 px (time ratio 1.10 to 1.30); faster at 24 and 32 px (time "
                                    "ratio 0.70 to 0.80). It overtakes sa between 16 and 24 px."),
        (curve(1.2, "1.0", 0.8), "slower at 8 px (time ratio 1.20); faster at 24 px (time ratio 0.80); not resolved at "
                                 "16 px. It overtakes sa between 8 and 24 px."),
        (curve(0.8, 1.2), "faster at 8 px (time ratio 0.80); slower at 16 px (time ratio 1.20). "
                          "It falls behind sa between 8 and 16 px."),
        (curve(1.2, 0.8, 1.2), "slower at 8 px (time ratio 1.20); faster at 16 px (time ratio 0.80); slower at 24 px "
                               "(time ratio 1.20). It overtakes sa between 8 and 16 px and falls behind sa between 16 "
                               "and 24 px."),
        (curve(1.2, 1.3), "slower at 8 and 16 px (time ratio 1.20 to 1.30). It overtakes sa at none of the "
         "measured resolutions."),
        (curve(0.8, 0.8), "faster at 8 and 16 px (time ratio 0.80). sa overtakes it at none of the measured "
         "resolutions."),
        (curve(1.2, "1.0"), "slower at 8 px (time ratio 1.20); not resolved at 16 px. No crossover is resolved."),
        (curve("1.0", "0.9"), "not resolved at 8 and 16 px. Whether it overtakes sa is not resolved."),
        (curve(1.2, 1.3, missing=["24"]), "slower at 8 and 16 px (time ratio 1.20 to 1.30); not measured at 24 px. "
                                          "No crossover is resolved."),
    ],
)  # fmt: skip
def test_what_is_said_of_overtaking(found, says):
    assert crossover.sentence(found, "sa") == says


def test_one_resolution_is_no_curve(tmp_path):
    page = Page(render(tmp_path, made.speed(["sa", "psa"])))
    assert "Speed by resolution" not in page.text
    assert len(page.named("figure")) == 0


@sketched()
def test_curves_hold_one_run_alone(tmp_path, rows):
    """Another run's slower rounds are neither on the curve nor in its band; they are listed elsewhere."""
    rows = [r for r in rows if r["variant"] in ("sa", "rpe_1d")]
    other = [
        r | {"cell": "other", "samples": [2 * s for s in r["samples"] or []] or None, "value": 2 * r["value"]}
        for r in rows
        if r["metric"] in ("ratio", "images_per_s", "aa_ratio") and r.get("test_px") in (10, 12)
    ]
    folder = made.save(tmp_path / "study", rows + other)
    setting = take_apart(store.load(folder), store.recipes(folder)).settings[0]
    found = {c.variant: c for c in crossover.curves(setting, "")}["rpe_1d"]
    expected = [value(rows, "rpe_1d", "ratio", px)["value"] for px in RESOLUTIONS]
    assert [point.ratio for point in found.points] == pytest.approx(expected)
    page = Page(render(tmp_path, rows + other, name="page"))
    elsewhere = page.text[page.text.rindex("Speed elsewhere") :]
    assert "inference: cpu, fp32, batch 64, 12 px" in elsewhere
    assert "batch 64, 8 px" not in elsewhere


def test_latency_and_share_of_the_ceiling_are_in_the_table(rows, full):
    page = Page(full)
    found = line(page, "gpsa")
    ms = value(rows, "gpsa", "latency_ms")
    times = stats.median_interval([1e3 * s for s in ms["samples"]])
    ratio = value(rows, "gpsa", "latency_ratio")["value"]
    assert found[6].strip().startswith(formatting.significant(ms["value"]))
    assert f"[{formatting.significant(times.low)}, {formatting.significant(times.high)}]" in found[6]
    assert found[6].strip().endswith(f"{ratio:.2f} \N{MULTIPLICATION SIGN} sa")
    assert f"{formatting.significant(100 * value(rows, 'gpsa', 'mfu')['value'], 2)} % MFU" in found[3]
    assert f"{formatting.significant(100 * value(rows, 'gpsa', 'train_mfu')['value'], 2)} % MFU" in found[7]
    assert "The latency of a single image was timed on cpu, fp32, batch 1, 8 px" in page.text
    assert "MFU is the share of what a 1024 x 1024 matmul in float32 reached beside them, 200 GMAC/s." in page.text


def test_the_kernels_behind_sdpa_are_named(tmp_path, few, full):
    kernel = {"sa": "flash", "psa": "math", "gpsa": "math"}

    def with_kernel(row):
        timed = row["variant"] in kernel and row.get("samples") and "ceiling" not in row["metric"]
        return row | {"params": {"kernel": kernel[row["variant"]]}} if timed else row

    told = [with_kernel(row) for row in few]
    smaller = [row | {"batch_size": 8, "cell": "other"} for row in told
               if (row["variant"], row["metric"], row.get("test_px")) == ("psa", "images_per_s", 8)]  # fmt: skip
    text = Page(render(tmp_path, told + smaller, figures=False)).text
    assert re.search(r"Kernels behind sdpa: flash for sa; math for (gpsa and psa|psa and gpsa)\.", text)
    assert "sdpa (math) inference: cpu, fp32, batch 8, 8 px" in text
    assert "Kernels behind" not in Page(full).text


def test_a_latency_below_the_floor_is_not_resolved(tmp_path, few):
    noisy = np.linspace(0.5, 2.0, 15).tolist()
    rows = [r | {"samples": noisy} if r["metric"] == "latency_aa_ratio" else r for r in few]
    page = Page(render(tmp_path, rows, figures=False))
    assert "not resolved" in line(page, "gpsa")[6]
    assert "not resolved" not in line(page, "gpsa")[4]


def red(variants, metrics, note, **columns):
    return [
        made.row(v, m, None, note=note, device="cpu", precision="fp32", **columns) for v in variants for m in metrics
    ]


@sketched()
def test_what_has_no_room_at_one_resolution_is_said_and_costs_nothing_at_the_others(tmp_path, few):
    metrics = ("images_per_s", "ratio", "peak_mib", "mfu")
    lost = red(["psa"], metrics, "out of memory with a single image", test_px=10, batch_size=64)
    kept = [r for r in few if not (r["variant"] == "psa" and r.get("test_px") == 10 and r["metric"] in metrics)]
    at = next(n for n, r in enumerate(kept) if r["variant"] == "psa" and r.get("test_px") == 12)
    page = Page(render(tmp_path, kept[:at] + lost + kept[at:]))  # the rows of 12 px come later
    assert "not measured at 10 px" in said(page, "psa")
    assert "out of memory with a single image" in page.text[page.text.rindex("Failed and refused") :]
    assert "replaced by later rows" not in page.text
    assert "—" not in line(page, "psa")[3]
    later = [r | {"when": "2026-03-01T00:00:00+00:00"} for r in few if r.get("test_px") == 10]
    again = Page(render(tmp_path, kept[:at] + lost + kept[at:] + later, name="again", figures=False))
    assert "a later row about the same has replaced it" in again.text


@sketched()
def test_a_red_baseline_is_said_and_leaves_the_others_speeds(tmp_path, few):
    why = "no ratio, since the baseline sa is not timed: sdpa: its logits differ"
    kept = [
        r for r in few if not r["metric"].endswith("ratio") and not (r["variant"] == "sa" and "images" in r["metric"])
    ]
    lost = [
        one
        for prefix in ("", "train_")
        for one in red(["psa", "gpsa"], [prefix + "ratio"], why, test_px=8, batch_size=64)
        + red(
            ["sa"], [prefix + "images_per_s", prefix + "aa_ratio"], "sdpa: its logits differ", test_px=8, batch_size=64
        )
    ]
    page = Page(render(tmp_path, kept + lost))
    found = line(page, "psa")
    assert found[3].strip().startswith(formatting.significant(value(few, "psa", "images_per_s")["value"]))
    assert found[4].strip().startswith("—")
    assert "—" in line(page, "sa")[3]
    assert "—" not in line(page, "sa")[10]
    assert why in page.text
    assert "Time relative to the baseline" not in page.text
    assert "Speed by resolution" not in page.text
    timed = [r for r in kept + lost if "top1" not in r["metric"]]
    alone = Page(render(tmp_path, timed, name="alone", figures=False))
    assert "its logits differ" not in alone.text[: alone.text.index("Cost and accuracy")]  # no reason for no accuracy


def test_a_gap_in_the_table_gives_the_reason_of_its_own_resolution(tmp_path, few):
    metrics = ("images_per_s", "ratio", "peak_mib", "mfu")
    kept = [r for r in few if not (r["variant"] == "psa" and r["metric"] in metrics)]
    lost = red(["psa"], metrics, "red at 8", test_px=8) + red(["psa"], metrics, "red at 12", test_px=12)
    page = Page(render(tmp_path, kept + lost, figures=False))
    notes = [attributes["title"] for attributes in page.named("td") if "red at" in attributes.get("title", "")]
    assert set(notes) == {"red at 8"}


@sketched()
def test_a_halved_batch_is_said(tmp_path, few):
    note = "batch halved from 64 to 16 for all variants: out of memory"
    halved = [r | {"batch_size": 16, "note": note} if r["metric"] in ("images_per_s", "ratio", "aa_ratio", "peak_mib")
              and r["test_px"] == 8 else r for r in few]  # fmt: skip
    page = Page(render(tmp_path, halved))
    assert "Inference was timed on cpu, fp32, batch 16, 8 px, in interleaved rounds." in page.text
    assert "Batch halved from 64 to 16 for all variants: out of memory." in page.text
    assert "Batch 16 and 64." in page.text


def test_the_parity_of_gradients_stands_beside_that_of_logits(tmp_path, few):
    gradients = [made.row("psa", "train_parity", 3.4e-6, backend="tiled", device="cpu", precision="fp32", test_px=8)]
    page = Page(render(tmp_path, few + gradients, figures=False))
    shown = formatting.significant(3.4e-6, 2)
    assert ["psa", "tiled cpu fp32", "the plain formula's gradients, in this run", shown] in page.rows
