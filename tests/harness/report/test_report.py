"""The page, from rows to browser: every number from the rows, nothing hidden, nothing too strong, nothing alive."""

import csv
import io
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from harness.report.__main__ import main
from harness.report.analysis.summary import summaries
from harness.report.figures import tradeoff
from harness.report.figures.context import Context
from harness.report.figures.style import palette
from harness.report.figures.style.labels import short, spread
from harness.report.study.rows import natural, side
from harness.report.study.study import study as take_apart
from harness.report.text import formatting
from harness.results import stats, store
from tests import recompute
from tests.support import rows as made
from tests.support.page import HOSTILE, Page, render

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return render(tmp_path_factory.mktemp("full"), made.study())


def by_seed(rows, variant, px=8):
    return {
        r["seed"]: r["value"] for r in rows if (r["variant"], r["metric"], r.get("test_px")) == (variant, "top1", px)
    }


# ---- what it says


def judged(rows):
    """The differences by numpy and scipy alone."""
    base, others = by_seed(rows, "sa"), [variant for variant in made.VARIANTS if variant != "sa"]
    return recompute.judged({v: recompute.differences(by_seed(rows, v), base) for v in others}, len(others))


def planned(rows, variant):
    """The seeds for half a point, at the spread that the family's interval stands for."""
    base, others = by_seed(rows, "sa"), [v for v in made.VARIANTS if v != "sa"]
    prior = recompute.moderate({v: recompute.differences(by_seed(rows, v), base) for v in others})
    return stats.seeds_for_power(0.5, prior[variant][0] ** 0.5, 5, 1 - 0.05 / 7)


def test_a_setting_that_does_not_rank_is_led_by_its_card(full):
    text = Page(full).text
    assert text.index("whether this setting ranks biases") < text.index("Of 7 variants")
    assert text.count("Of 7 variants") == 1


def test_the_sections_come_in_order(full):
    text = Page(full).text
    text = text[text.index("What these settings can tell", text.index("Provenance")) :]  # after the contents
    places = [
        text.index(part)
        for part in (
            "whether this setting ranks biases",
            "Differences at a glance.",
            "Of 7 variants",
            "1 GFLOP here = 1 GMAC",
            "Zero-shot resolution transfer.",
        )
    ]
    places += [text.index(part) for part in ("Failed and refused", "Provenance", "Recipe", "Machine", "Parity")]
    assert places[:6] == sorted(places[:6])
    assert text.rindex("Provenance") > text.rindex("Failed and refused")


def test_the_table_says_what_the_rows_say(full):
    rows = made.study()
    page = Page(full)
    line = next(row for row in page.main if row[0].startswith("gpsa"))
    mean = stats.mean_interval(list(by_seed(rows, "gpsa").values()))
    difference = judged(rows)["gpsa"]
    images = next(r["value"] for r in rows if (r["variant"], r["metric"]) == ("gpsa", "images_per_s"))
    ratio = next(r["value"] for r in rows if (r["variant"], r["metric"]) == ("gpsa", "train_ratio"))
    assert line[1].strip() == "213.06"  # K, in the head; psa has 213.05
    assert line[2].strip() == "0.0151"
    assert line[3].strip().startswith(formatting.significant(images))
    assert line[8].strip().startswith(f"{ratio:.2f}")
    assert line[10].split() == [f"{mean.center:.2f}", f"[{mean.low:.2f},", f"{mean.high:.2f}]"]
    assert formatting.points(difference["difference"]) in line[11]
    assert formatting.points(difference["low"]) in line[11]
    assert line[12].strip() == "5"


def test_the_intervals_are_paired_and_simultaneous(tmp_path):
    rows = made.study()
    folder = made.save(tmp_path / "study", rows)
    setting = take_apart(store.load(folder), store.recipes(folder)).settings[0]
    found = {s.variant: s for s in summaries(setting)}
    assert found["sp_sa"].difference.estimate.low == pytest.approx(judged(rows)["sp_sa"]["low"])
    assert found["sp_sa"].difference.estimate.confidence == pytest.approx(1 - 0.05 / 7)  # the refused one has none
    top1 = [found["sp_sa"].seeds[str(seed)] for seed in range(5)]
    mine = [by_seed(rows, "sp_sa")[seed] for seed in range(5)]
    assert top1 == pytest.approx(mine, abs=1e-9)  # and not those of another test resolution


def test_numbers_in_the_verdict_are_computed_from_the_rows(full):
    """Every number of every verdict is one of the few that may stand there."""
    rows, page = made.study(), Page(full)
    found = judged(rows)
    allowed = {"95", "1", "5", "7", "0.5"}
    for variant in made.VARIANTS:
        mean = stats.mean_interval(list(by_seed(rows, variant).values()))
        shown = [formatting.percent(x) for x in (mean.center, mean.low, mean.high)]
        if variant != "sa":
            one = found[variant]
            shown += [formatting.points(one[key]) for key in ("difference", "low", "high")]
            shown += [str(planned(rows, variant)), "80"]
            won = stats.probability_of_improvement(by_seed(rows, variant), by_seed(rows, "sa")).pairs
            shown += [formatting.p_value(one["p"]), f"{won.center * won.n:g}"]
            shown += [f"{r['value']:.2f}" for r in rows if r["variant"] == variant and r["metric"].endswith("ratio")]
        allowed |= {re.sub(r"[^\d.]", "", part) for part in shown}
    verdicts = page.text[page.text.index("Of 7 variants") : page.text.index("Bars:")]
    verdicts = re.sub(r"\d+\W%\Wof resamples", "", verdicts)  # test_verdict.py counts these
    for name in [*made.VARIANTS, "neighborhood needs a grid of at least 3x3; use img_size 8 or more"]:
        verdicts = verdicts.replace(name, "")
    verdicts = verdicts.replace("Of 8 variants", "").replace("top-1", "").replace("without an accuracy", "")
    verdicts = re.sub(r"compared with : .*?\.", "", verdicts)
    found = re.findall(r"\d+(?:\.\d+)?", verdicts)
    assert len(found) > 60
    assert set(found) <= allowed, set(found) - allowed


def test_undetermined_is_said_where_it_is_so(tmp_path):
    rows = made.accuracy(["sa", "psa"], range(4), [8])
    even = [r | {"value": 93.0 + 0.7 * (r["seed"] % 2)} if r["variant"] == "psa" else r for r in rows]
    text = Page(render(tmp_path, even)).text
    values = [by_seed(even, "psa")[seed] - by_seed(even, "sa")[seed] for seed in range(4)]
    planned = stats.seeds_for_power(0.5, float(np.std(values, ddof=1)), 4, 0.95)
    assert planned > 4
    said = f"{planned} seeds give 80 % power for 0.5 points"
    assert re.search(rf"psa undetermined \S+ points against sa .*: undetermined; {said}\.", text)
    assert not re.search("psa [▲▼]", text)


def test_a_clear_difference_is_resolved_and_only_with_three_seeds(tmp_path):
    def shifted(seeds):
        rows = made.accuracy(["sa"], seeds, [8])
        return rows + [r | {"variant": "psa", "value": r["value"] + 2 + 0.01 * r["seed"]} for r in rows]

    assert "psa ▲ more accurate" in Page(render(tmp_path, shifted(range(3)), name="three", figures=False)).text
    two = Page(render(tmp_path, shifted(range(2)), name="two", figures=False)).text
    assert "psa undetermined" in two
    assert "2 paired seeds are too few for an interval" in two


def test_a_time_ratio_below_the_floor_is_not_resolved(tmp_path):
    rows = made.study(["sa", "psa", "gpsa"])
    noisy = np.linspace(0.90, 1.10, 15).tolist()
    rows = [r | {"samples": noisy, "value": 1.0} if r["metric"].endswith("aa_ratio") else r for r in rows]
    page = Page(render(tmp_path, rows, figures=False))
    line = {row[0].split()[0]: row for row in page.main}
    assert "not resolved" in line["psa"][4]
    assert "not resolved" not in line["gpsa"][4]  # 1.6 times is above any such floor
    assert re.search(r"Time not resolved from the baseline's: inference 1\.0\d and training 1\.0\d measured", page.text)


def test_without_an_aa_ratio_no_time_is_resolved(tmp_path):
    rows = [r for r in made.study(["sa", "gpsa"]) if not r["metric"].endswith("aa_ratio")]
    page = Page(render(tmp_path, rows))
    assert "There is no A/A floor" in page.text
    assert re.search(r"Time not resolved from the baseline's: inference 1\.6\d", page.text)
    assert "Time relative to the baseline" not in page.text


def test_failures_are_shown_with_their_sentences_and_explain_the_gaps(tmp_path):
    rows = [r for r in made.study(["sa", "psa"]) if (r["variant"], r["metric"]) != ("psa", "train_images_per_s")]
    rows.append(made.row("psa", "train_images_per_s", None, note="out of memory at batch 64"))
    rows.append(made.row("psa", "top1", None, seed=7, test_px=8, note="the loss became NaN in epoch 3"))
    page = Page(render(tmp_path, rows, figures=False))
    psa = next(row for row in page.main if row[0].startswith("psa"))
    assert "—" in psa[7]
    assert "—" not in psa[3]
    assert "5 of 6" in psa[12]
    failed = page.text[page.text.rindex("Failed and refused") :]
    for sentence in ("out of memory at batch 64", "the loss became NaN in epoch 3", "neighborhood needs a grid"):
        assert sentence in failed
    titles = [attributes.get("title", "") for attributes in page.named("td")]
    assert any("out of memory at batch 64" in title for title in titles)
    assert not any("out of memory" in title and "—" in psa[3] for title in titles)


def test_stale_rows_are_shown_and_marked(tmp_path):
    old = {"source_hash": "old", "when": "2025-12-01T00:00:00+00:00"}
    rows = [r | old if r["variant"] == "swin" else r for r in made.study(["sa", "psa", "swin"])]
    page = Page(render(tmp_path, rows, figures=False))
    assert any(row[0].startswith("swin") and "—" not in row[10] for row in page.main)
    assert re.search(r"swin: \d+ rows \(.*\) of source old, last at 2025-12-01", page.text)
    assert "Stale: measured with another state of the source" in page.text
    assert "psa: " not in page.text[page.text.rindex("Stale rows") : page.text.rindex("Provenance")]


def test_a_later_row_replaces_an_earlier_one(tmp_path):
    first = made.accuracy(["sa", "psa"], range(3), [8])
    later = [
        r | {"value": 50.0 + r["seed"], "when": "2026-02-01T00:00:00+00:00"} for r in first if r["variant"] == "psa"
    ]
    page = Page(render(tmp_path, later + first, figures=False))
    psa = next(row for row in page.main if row[0].startswith("psa"))
    assert psa[-3].strip().startswith("51.00")
    assert "replaced by later rows" in page.text


def test_another_baseline_comes_from_the_recipe(tmp_path):
    rows = made.accuracy(["sa", "psa"], range(4), [8])
    page = Page(render(tmp_path, rows, made.RECIPE | {"baseline": "psa"}))
    assert "points against psa" in page.text
    assert "points against sa" not in page.text
    assert [row[0].split()[0] for row in page.main] == ["psa", "sa"]


def test_settings_are_never_mixed(tmp_path):
    other = [r | {"dataset": "cifar10", "value": r["value"] - 40} for r in made.accuracy(["sa", "psa"], range(3), [8])]
    page = Page(render(tmp_path, made.study(["sa", "psa"]) + other, figures=False))
    assert "digits · micro · 8 px" in page.text
    assert "cifar10 · micro · 8 px" in page.text
    lines = [row for row in page.main if row[0].startswith("psa")]
    means = [float(line[-3].split()[0].split("[")[0]) for line in lines]
    assert len(means) == 2
    assert abs(means[0] - means[1]) > 30


def test_recipes_that_train_differently_are_never_mixed(tmp_path):
    rows = made.accuracy(["sa", "psa"], range(3), [8])
    longer = [r | {"recipe_hash": "b" * 16, "value": r["value"] + 4} for r in rows]
    seeds = [r | {"recipe_hash": "c" * 16, "seed": r["seed"] + 3} for r in rows]
    folder = made.save(tmp_path / "study", rows + longer + seeds)
    store.write_recipe(folder, "b" * 16, made.RECIPE | {"epochs": 300})
    store.write_recipe(folder, "c" * 16, made.RECIPE | {"seeds": [3, 4, 5], "command": "again"})
    settings = take_apart(store.load(folder), store.recipes(folder)).settings
    assert {setting.name: len(summaries(setting)[0].seeds) for setting in settings} == {
        "digits · micro · 8 px · epochs 30": 6,
        "digits · micro · 8 px · epochs 300": 3,
    }


def test_speed_is_compared_under_one_condition_and_the_others_are_listed(tmp_path):
    elsewhere = [r | {"device": "cuda"} for r in made.speed(["psa"]) if "aa" not in r["metric"]]
    page = Page(render(tmp_path, made.study(["sa", "psa"]) + elsewhere, figures=False))
    assert "timed on cpu, fp32, batch 64, 8 px" in page.text
    assert "Speed elsewhere" in page.text
    assert any(row[:1] == ["psa"] and "cuda" in row[2] for row in page.rows if len(row) == 6)


def test_provenance_is_complete(full):
    text = Page(full).text
    for part in ("python -m harness.run --variants psa,sp_sa", "lr found on sa alone", "commit abcdef0", "Made-up CPU"):
        assert part in text
    for part in ("memory_gib", "2.11.0", "A/A floor", "2.1e", "2026-01-05T10:00:00+00:00", "weight_decay"):
        assert part in text


def test_each_figure_carries_its_data(full):
    page = Page(full)
    links = [a for a in page.named("a") if a.get("href", "").startswith("data:text/csv")]
    assert len(links) == len(page.named("figure")) == 3
    picture, *tables = [list(csv.DictReader(io.StringIO(unquote(link["href"].split(",", 1)[1])))) for link in links]
    rows = made.study()
    for line in picture:
        mine, base = by_seed(rows, line["variant"]), by_seed(rows, "sa")
        assert float(line["difference"]) == pytest.approx(np.mean([mine[seed] - base[seed] for seed in mine]))
    assert {line["variant"] for line in picture} == {*made.VARIANTS} - {"sa"}
    sp_sa = next(line for line in tables[0] if line["variant"] == "sp_sa")
    assert float(sp_sa["top1_mean"]) == pytest.approx(np.mean(list(by_seed(rows, "sp_sa").values())))
    assert (float(sp_sa["params"]), float(sp_sa["gmac"])) == (214_400, 0.0132)
    assert float(sp_sa["images_per_s_low"]) < float(sp_sa["images_per_s"]) < float(sp_sa["images_per_s_high"])
    assert {line["test_px"] for line in tables[1]} == {"8", "10", "12"}
    assert len(tables[1]) == 3 * len(made.VARIANTS)


# ---- how it is made


def test_it_is_self_contained_and_small(full):
    assert len(full.encode()) < 3_000_000
    page = Page(full)
    for _, attributes in page.elements:
        for key in ("href", "src", "action", "data", "srcset", "xlink:href"):
            assert attributes.get(key, "#").startswith(("#", "data:text/csv"))
    assert not re.search(r"@import|url\((?!#)", full)
    assert "default-src 'none'" in full


def test_ids_are_unique_and_references_lead_somewhere(full, tmp_path):
    second = [r | {"dataset": "twice"} for r in made.study(["sa", "psa"])]
    for html in (full, render(tmp_path, made.study(["sa", "psa"]) + second)):
        page = Page(html)
        ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        wanted = re.findall(r'(?:xlink:)?href="#([^"]+)"|url\(#([^)]+)\)|aria-labelledby="([^"]+)"', html)
        assert {one for group in wanted for one in group if one} <= set(ids)


def test_hostile_names_are_inert(tmp_path):
    rows = made.study(["sa", *HOSTILE], seeds=range(3))
    rows.append(made.row("sa", "train_s", None, note="</td><script>alert(4)</script>"))
    recipe = made.RECIPE | {"note": "<img src=x onerror=alert(5)>", "<b>key": {"</script>": 1}}
    html = render(tmp_path, [r | {"study": "</title><script>alert(6)</script>"} for r in rows], recipe)
    page = Page(html)
    assert len(page.named("script")) == 1
    assert not page.named("img")
    assert not page.named("b")[3:]  # the three captions' own
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]
    assert "<script>alert(1)</script>" in page.text
    assert "$x^2$ $\\frac{1}" in page.text
    assert "n" * 300 in page.text
    assert "{{ 7 * 7 }}" in page.text
    drawn = [text for text in re.findall(r"<text[^>]*>([^<]*)</text>", html) if "x^2" in text]
    assert drawn
    assert all("$x^2$" in text for text in drawn)


CASES = {
    "one variant": made.study(["sa"]),
    "only another variant": made.study(["psa"]),
    "one seed": made.study(["sa", "psa"], seeds=[0]),
    "two seeds": made.study(["sa", "psa"], seeds=[0, 1]),
    "no speed": made.accuracy(["sa", "psa"], range(3), [8]),
    "no accuracy": made.speed(["sa", "psa"]) + made.cost(["sa", "psa"]),
    "all failed": [made.row(v, "top1", None, seed=s, note="no room") for v in ("sa", "psa") for s in (0, 1)],
    "bare": [{"study": "s", "variant": "sa", "metric": "top1", "value": 90}],
    "rectangles": [r | {"train_px": "8x16", "test_px": {8: "8x16", 12: "16x8"}.get(r.get("test_px"))} for r in
                   made.study(["sa", "psa"], resolutions=(8, 12))],
    "odd types": [made.row("sa", "top1", 90.0, seed=[1], test_px={"a": 1}, when=5, machine="m", versions=[1])],
    "odd values": [made.row("sa", "top1", v, seed=s, test_px=8) for s, v in enumerate([-1e300, 0, 1e300, 1e-30])],
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("error")
def test_every_study_gives_a_sensible_page(case, tmp_path):
    page = Page(render(tmp_path, CASES[case], None if case == "bare" else made.RECIPE))
    assert not re.search(r"\b(nan|None|inf|undefined|NaN)\b", page.text)
    assert "Provenance" in page.text
    assert "Failed and refused" in page.text


def test_what_the_odd_studies_say(tmp_path):
    alone = Page(render(tmp_path, made.accuracy(["sa"], range(3), [8]), name="alone")).text
    assert "nothing is compared" in alone
    timed = Page(render(tmp_path, made.speed(["sa", "psa"]), name="timed")).text
    assert "Nothing was trained here: what 1 variant cost beside sa." in timed
    assert "No top-1" not in timed
    lost = Page(render(tmp_path, made.study(["psa"]), name="lost")).text
    assert "The baseline sa has no top-1 in these rows" in lost
    failed = Page(render(tmp_path, CASES["all failed"], name="failed")).text
    assert "No top-1 accuracy: no room." in failed
    assert "seed 0, 1" in failed


def test_twenty_thousand_rows_in_ten_seconds(tmp_path):
    rows = made.accuracy(["sa", *(f"sp_sa[hidden={n}]" for n in range(20))], range(120), (8, 9, 10, 11, 12, 14, 16))
    assert len(rows) > 20_000
    folder = made.save(tmp_path / "study", rows)
    from harness.report import render

    start = time.process_time()
    report = render(folder, tmp_path / "page.html")
    assert time.process_time() - start < 10
    assert report.path.stat().st_size < 3_000_000


# ---- parts


def test_colours_are_fixed_per_variant_and_the_baseline_is_grey():
    look = palette.looks(["sa", *(f"v{n}" for n in range(40))], "sa")
    assert look["sa"].color == palette.GREY
    assert len({(one.color, one.marker) for one in look.values()}) == 41


@pytest.mark.parametrize(("theme", "paper"), [(0, 0), (1, 1)])
def test_colours_stand_out_from_the_paper(theme, paper):
    def luminance(color):
        parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    def contrast(one, two):
        low, high = sorted((luminance(one), luminance(two)))
        return (high + 0.05) / (low + 0.05)

    background = palette.THEME["paper"][paper]
    for name, colors in palette.THEME.items():  # WCAG: 4.5 for text, 3 for what is drawn
        if name not in ("paper", "rule"):
            assert contrast(colors[theme], background) > (4.5 if name in ("ink", "faint") else 3.0), name


def test_labels_are_moved_apart_and_keep_their_order():
    moved = spread([10.0, 10.5, 50.0, 11.0], 12.0, 0.0, 100.0)
    assert np.diff(sorted(moved)).min() > 11.99
    assert np.argsort(moved).tolist() == [0, 1, 3, 2]


def test_labels_and_marks_do_not_overlap(tmp_path):
    folder = made.save(tmp_path / "study", made.study(seeds=range(3)))
    setting = take_apart(store.load(folder), store.recipes(folder)).settings[0]
    look = palette.looks(setting.variants, setting.baseline)
    drawing = tradeoff.draw(Context(setting, summaries(setting), look, ""))
    panels = drawing.svg.split("</svg>")[:-1]
    assert len(panels) == 3
    for panel in panels:
        texts = re.findall(r'class="label">.*?<text[^>]*?x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]+)<', panel, re.S)
        # DejaVu Sans at 9.5 units: a letter is at least 5 wide on average here, 9 high
        boxes = [(float(x), float(y) - 8, float(x) + 5 * len(name), float(y)) for x, y, name in texts]
        assert len(boxes) >= len(made.VARIANTS) - 2  # in the panel of parameters, most are at one place
        for number, (left, top, right, bottom) in enumerate(boxes):
            for other in boxes[:number]:
                assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_words():
    assert formatting.significant(0.0051234) == "0.00512"
    assert formatting.significant(1234.4) == "1\u202f230"
    assert formatting.points(-0.5) == "\u22120.50"
    assert formatting.points(0.001) == "0.00"
    assert formatting.count(5_717_416) == "5.72\u202fM"
    assert formatting.listing(["a", "b", "c"]) == "a, b and c"
    names = ["a[n=16]", "a[n=4]", "a", "b", "a[n=4,m=1]"]
    assert sorted(names, key=natural) == ["a", "a[n=4,m=1]", "a[n=4]", "a[n=16]", "b"]
    assert side("12x16") == pytest.approx(192**0.5)
    assert len(short("n" * 300)) <= 26


# ---- the program


def test_the_program_renders_to_the_default_place_and_the_same_every_time(full, tmp_path):
    made.save(tmp_path / "results" / "study", made.study())
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo"}
    command = [sys.executable, "-m", "harness.report", "results/study"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == "reports/study.html"
    assert (tmp_path / "reports" / "study.html").read_text(encoding="utf-8") == full


def test_damaged_lines_are_named_and_the_rest_renders(tmp_path, capsys):
    folder = made.save(tmp_path / "study", made.accuracy(["sa"], range(3), [8]))
    file = folder / "cells" / "0000.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], lines[1][:40], *lines[2:], '{"value": NaN, "metric": "top1"}']) + "\n")
    assert main([str(folder), "--report", str(tmp_path / "page.html")]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 2
    assert re.search(r"0000\.jsonl:2: .+", said[0])
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "0000.jsonl:2:" in page.text
    assert "2 damaged lines" in page.text


@pytest.mark.parametrize(
    "arguments",
    [["missing"], ["empty"], ["broken"], ["fine", "--report", "file/page.html"], ["fine", "--report", "empty"]],
)
def test_nothing_to_render_is_one_sentence(arguments, tmp_path, capsys, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.jsonl").write_text("{\n")
    made.save(tmp_path / "fine", made.accuracy(["sa"], range(3), [8]))
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    assert not list(tmp_path.glob("**/*.draft"))


def test_help_answers_at_once_and_nothing_imports_torch(tmp_path):
    code = (
        "import sys, runpy; sys.argv = ['report', '--help']\n"
        "try: runpy.run_module('harness.report', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'pandas', 'seaborn', 'scipy', 'matplotlib', 'numpy', 'jinja2'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)
    loads = "import sys, harness.report.pages.page, harness.results; assert not {'torch', 'timm'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", loads], check=True, cwd=ROOT)
