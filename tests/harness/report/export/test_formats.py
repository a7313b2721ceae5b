"""The study for elsewhere: timm's columns, LaTeX, Markdown, Parquet; the page's numbers, and nothing alive in any."""

import csv
import io
import re
from dataclasses import replace
from importlib.util import find_spec

import pytest

from harness.report.__main__ import main
from harness.report.export import formats, sheet
from harness.report.study.study import study as take_apart
from harness.results import stats, store
from tests.support import rows as made

# the heads of timm's results/results-imagenet.csv, and of its benchmark.py's inference and training files
RESULTS = ["model", "top1", "top1_err", "top5", "top5_err", "param_count", "img_size", "crop_pct", "interpolation"]
INFER = ["infer_samples_per_sec", "infer_step_time", "infer_batch_size", "infer_img_size", "infer_gmacs", "param_count"]
TRAIN = ["train_samples_per_sec", "train_step_time", "train_batch_size", "train_img_size", "param_count"]
HOSTILE = [
    "a|b", "`tick``s`", "\\input{/etc/passwd}", "100 % $x_1^2$ & #~", "[x](javascript:1)", "<img src=x onerror=1>",
    "*bold* _under_", "two\nlines\x07",
]  # fmt: skip


def of(tmp_path, rows, name="study"):
    folder = made.save(tmp_path / name, rows)
    return take_apart(store.load(folder), store.recipes(folder))


SHOWN = ["sa", "gpsa", "sp_sa", "swin"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return of(tmp_path_factory.mktemp("exports"), made.study(SHOWN))


def value(variant, metric):
    return next(r["value"] for r in made.study(SHOWN) if (r["variant"], r["metric"]) == (variant, metric))


def by_seed(variant):
    rows = made.study()
    mine = [r for r in rows if (r["variant"], r["metric"]) == (variant, "top1")]
    return {r["seed"]: r["value"] for r in mine if r["test_px"] == 8}


def lines_of(text):
    return {line["model"]: line for line in csv.DictReader(io.StringIO(text))}


# ---- timm


def test_timms_columns_hold_the_rows_numbers_in_timms_units(whole):
    text = formats.timm_csv(whole)
    line = lines_of(text)["gpsa"]
    assert text.splitlines()[0].split(",")[:9] == RESULTS
    assert set(INFER) | set(TRAIN) <= set(line)
    mean = sum(by_seed("gpsa").values()) / 5
    assert float(line["top1"]) == pytest.approx(mean, abs=5e-4)
    assert float(line["top1"]) + float(line["top1_err"]) == pytest.approx(100)
    assert float(line["param_count"]) == pytest.approx(0.21306)  # in millions
    assert float(line["infer_gmacs"]) == value("gpsa", "gmac")
    images = value("gpsa", "images_per_s")
    assert float(line["infer_samples_per_sec"]) == pytest.approx(images, abs=5e-3)
    assert float(line["infer_step_time"]) == pytest.approx(1e3 * 64 / images, abs=5e-4)  # ms of a batch
    assert float(line["train_step_time"]) == pytest.approx(1e3 * 64 / value("gpsa", "train_images_per_s"), abs=5e-4)
    assert (line["infer_batch_size"], line["infer_img_size"], line["img_size"]) == ("64", "8", "8")
    assert (line["top5"], line["crop_pct"]) == ("", "")  # what was not measured is not made up


def test_timms_columns_have_top5_and_tell_settings_apart(tmp_path):
    rows = made.accuracy(["sa", "psa"], range(3), [8, 12])
    top5 = [r | {"metric": "top5", "value": 98.0 + r["seed"] - 5 * (r["test_px"] != 8)} for r in rows if "epoch" in r
            and r["metric"] == "top1"]  # fmt: skip
    one = lines_of(formats.timm_csv(of(tmp_path, rows + top5, "one")))
    assert (one["psa"]["top5"], one["psa"]["top5_err"]) == ("99.000", "1.000")
    assert "setting" not in one["psa"]
    other = [r | {"dataset": "cifar10"} for r in rows]
    two = list(csv.DictReader(io.StringIO(formats.timm_csv(of(tmp_path, rows + other, "two")))))
    assert {line["setting"] for line in two} == {"digits · micro · 8 px", "cifar10 · micro · 8 px"}
    assert len(two) == 4


# ---- LaTeX and Markdown


def bold(table, mark):
    """Variant -> the numbers of its line that are bold."""
    found = {}
    for line in table.splitlines():
        name = re.search(r"\\texttt\{(.*?)\} &|^\| `([^`]*)` \|", line)
        if name:
            found[(name[1] or name[2]).replace("\\_", "_")] = re.findall(mark, line)
    return found


def bold_is_what_is_resolved(table, mark):
    """Over all variants, against intervals worked out from the rows; times of 2 % and more are above the floor."""
    shown = bold(table, mark)
    for variant in SHOWN:
        count = 0
        if variant != "sa":
            difference = stats.paired_difference(by_seed(variant), by_seed("sa"), compared=3)
            count = 2 + difference.resolved  # the two time ratios, and it
        if len(shown[variant]) != count:
            return False
    return True


TEXTBF = r"\\textbf\{([^}]*)\}"


def test_bold_is_only_what_is_resolved(whole, monkeypatch):
    latex = formats.latex(whole)
    assert bold_is_what_is_resolved(latex, TEXTBF)
    assert bold_is_what_is_resolved(formats.markdown(whole), r"\*\*([^*]*)\*\*")
    assert "\\textbf{$-$1.83}" in latex
    assert "& +1.06" in latex  # the best mean, and not resolved
    right = formats.value
    for wrong in (("ratio", "train_ratio", "difference", "top1"), ("ratio", "difference")):
        monkeypatch.setattr(
            formats, "value", lambda cell, column, wrong=wrong: right(cell, replace(column, judged=column.key in wrong))
        )
        assert not bold_is_what_is_resolved(formats.latex(whole), TEXTBF)


def test_latex_is_a_booktabs_table_with_means_and_intervals(whole):
    text = formats.latex(whole)
    for rule in ("\\toprule", "\\midrule", "\\bottomrule", "\\cmidrule(lr)"):
        assert rule in text
    columns = len(re.search(r"\\begin\{tabular\}\{l(r+)\}", text)[1])
    body = [line for line in text.splitlines() if line.startswith("\\texttt")]
    assert len(body) == 5
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {columns}
    mean = stats.mean_interval(list(by_seed("gpsa").values()))
    assert f"{mean.center:.2f} {{}}[{mean.low:.2f}, {mean.high:.2f}]" in text
    assert "those of differences are simultaneous, each at 98.33\\,\\%" in text


def test_stale_variants_are_named_and_several_settings_have_a_table_each(tmp_path):
    old = {"source_hash": "old", "when": "2025-12-01T00:00:00+00:00"}
    rows = [r | old if r["variant"] == "swin" else r for r in made.study(["sa", "psa", "swin"])]
    rows += [r | {"dataset": "cifar10"} for r in made.accuracy(["sa", "psa"], range(3), [8])]
    mixed = of(tmp_path, rows)
    for text, start in ((formats.latex(mixed), "\\begin{tabular}"), (formats.markdown(mixed), "### ")):
        assert text.count(start) == 2
        assert "Stale, measured with another state of the source: swin." in text


def is_inert(text):
    """No command but ours, no special letter but as we put it, braces in balance, one line a row."""
    ours = {"textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar", "textbf",
            "textquotedbl", "texttt", "begin", "end", "centering", "caption", "toprule", "midrule", "bottomrule",
            "cmidrule", "multicolumn", "times"}  # fmt: skip
    body = text.partition("\n")[2]  # the first line is a comment
    commands = set(re.findall(r"\\([a-zA-Z]+)", body))
    bare = re.sub(r"\\\\|\\[a-zA-Z]+|\\[{}$&#_%,]|\$-\$|\$\$", "", body)
    return (
        commands <= ours
        and not re.search(r"[#_%^~<>|\"\x07]", bare.replace("$", ""))
        and bare.count("{") == bare.count("}")
        and all(line.endswith("\\\\") for line in body.splitlines() if line.startswith("\\texttt"))
    )


def test_hostile_names_are_inert_in_latex(tmp_path, monkeypatch):
    hostile = of(tmp_path, made.accuracy(["sa", *HOSTILE], range(3), [8]))
    assert is_inert(formats.latex(hostile))
    for letter in "\\{#_%^|":  # without one entry of the table it is not
        with monkeypatch.context() as patch:
            patch.setattr(sheet, "TEX", {key: value for key, value in sheet.TEX.items() if key != letter})
            assert not is_inert(formats.latex(hostile)), letter


def test_hostile_names_are_inert_in_markdown(tmp_path):
    text = formats.markdown(of(tmp_path, made.accuracy(["sa", *HOSTILE], range(3), [8])))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    counts = {len(re.findall(r"(?<!\\)\|", line)) for line in rows}
    assert len(counts) == 1  # no name opens a column
    assert len(rows) == 2 + 1 + len(HOSTILE)
    assert "``` `tick``s` ```" in text  # the fence is longer than what is in it
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", "\n".join(rows))
    assert not re.search(r"(?<!\\)[<\[_]|onerror|javascript", outside)


# ---- Parquet, and the program


def test_parquet_without_pyarrow_is_one_sentence(tmp_path, capsys, monkeypatch):
    folder = made.save(tmp_path / "study", made.accuracy(["sa"], range(3), [8]))
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    assert main([str(folder), "--report", str(tmp_path / "p.html"), "--parquet", str(tmp_path / "p.parquet")]) == 2
    assert "pip install pyarrow" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["study"]  # no page either


@pytest.mark.skipif(find_spec("pyarrow") is None, reason="needs pyarrow, which the test extra brings")
def test_parquet_holds_every_row_with_its_samples(tmp_path):
    import pandas as pd

    rows = made.study(["sa", "psa"], resolutions=[8, "8x16"])
    rows.append({"study": "s", "variant": "sa", "metric": "top1", "value": 90})
    folder = made.save(tmp_path / "study", rows)
    store.to_parquet(store.load(folder), tmp_path / "rows.parquet")
    found = pd.read_parquet(tmp_path / "rows.parquet")
    assert list(found.columns) == list(store.COLUMNS)
    assert len(found) == len(rows)
    assert set(found["test_px"].dropna()) == {"8", "8x16"}
    assert set(found["seed"].dropna()) == set(range(5))
    samples = found.loc[(found["variant"] == "psa") & (found["metric"] == "ratio"), "samples"].iloc[0]
    assert len(samples) == 15
    assert found["value"].notna().sum() == sum(r["value"] is not None for r in rows)


def test_the_program_writes_what_it_is_asked_for(tmp_path, capsys):
    folder = made.save(tmp_path / "study", made.study(["sa", "psa"], seeds=range(3)))
    names = {"--csv": "rows.csv", "--timm-csv": "timm.csv", "--latex": "table.tex", "--markdown": "table.md"}
    flags = [word for flag, name in names.items() for word in (flag, str(tmp_path / name))]
    assert main([str(folder), "--report", str(tmp_path / "page.html"), *flags]) == 0
    whole = take_apart(store.load(folder), store.recipes(folder))
    for name, text in (("timm.csv", formats.timm_csv), ("table.tex", formats.latex), ("table.md", formats.markdown)):
        assert (tmp_path / name).read_text(encoding="utf-8") == text(whole)
    assert (tmp_path / "rows.csv").read_text().count("\n") == 1 + len(store.load(folder))
    assert main([str(folder), str(folder), "--latex", str(tmp_path / "no.tex")]) == 2
    assert "--latex with two studies: an export is of one" in capsys.readouterr().err
