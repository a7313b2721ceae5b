"""Costs of every variant, size and resolution: known answers, the page from the rows, and what cannot be had."""

import re

import pandas as pd
import pytest

from harness import costs
from harness.backbone.sizes import SIZES
from harness.jobs.kinds.costs import dropped
from harness.report.pages.costs import decimals, page, say
from harness.results import store
from harness.run import program

FEW = ["--sizes", "tiny,convit_tiny", "--resolutions", "64", "--variants", "sa,swin[window=2],psa"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("costs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.report.study.published.read", list)  # their bodies take seconds
        assert costs.main([*FEW, "--output", str(where / "rows"), "--report", str(where / "page.html")]) == 0
    return where


def value(frame, variant, size, metric):
    found = frame[(frame["variant"] == variant) & (frame["size"] == size) & (frame["metric"] == metric)]
    assert len(found) == 1
    return float(found["value"].iloc[0])


def test_gmac_are_those_of_the_closed_form(folder):
    """DeiT-Ti's width and 16 patches, the class token late: ten layers of 16 tokens, two of 17."""
    d, n, frame = 192, 16, store.load(folder / "rows")

    def layer(tokens):
        return 12 * tokens * d * d + 2 * tokens**2 * d + 2 * 5 * tokens * d

    exact = n * d * 3 * 16 * 16 + 10 * layer(n) + 2 * layer(n + 1) + 5 * (n + 1) * d + d * 1000
    found = value(frame, "sa", "tiny", "gmac")
    assert found == pytest.approx(exact / 1e9, rel=2e-3)
    assert found != pytest.approx((exact - 10 * layer(n)) / 1e9, rel=0.1), "the mutant: spatial layers left out"


def test_attended_pairs_are_a_quarter_in_windows_that_quarter_the_grid(folder):
    """4x4 patches in four windows of 2x2: three quarters of 16 x 16 pairs, 3 heads of 64, are spared by 10 layers."""
    frame = store.load(folder / "rows")
    dense, attended = (value(frame, "swin[window=2]", "tiny", metric) for metric in ("gmac", "attended_gmac"))
    even = 10 * 3 * (0.75 * 256) * 2 * 64 / 1e9  # shifted windows, in odd layers, cut the border smaller
    assert even <= dense - attended < 1.3 * even
    assert dense == pytest.approx(value(frame, "sa", "tiny", "gmac"))


def test_pairs_left_out_are_counted_for_every_head():
    one = costs.experiment(costs.parser().parse_args([]), "tiny", 64)
    assert dropped(one.model("sa"), one) == 0
    assert dropped(one.model("window[width=1,height=1]"), one) == 10 * 3 * (
        256 - 100
    )  # 3x3 within 4x4: (2 + 3 + 3 + 2)^2 are kept


def test_what_a_size_cannot_carry_is_a_null_row_with_its_sentence(folder):
    frame = store.load(folder / "rows")
    null = frame[frame["value"].isna()]
    assert list(null["variant"]) == ["psa"]
    assert list(null["size"]) == ["tiny"]
    assert "square number of heads" in null["note"].iloc[0]
    assert value(frame, "psa", "convit_tiny", "params") - value(frame, "sa", "convit_tiny", "params") == 10 * 4 * 3


def test_the_page_shows_the_numbers_of_the_rows(folder):
    frame, text = store.load(folder / "rows"), (folder / "page.html").read_text()
    assert text == page(frame)
    for variant in ("sa", "swin[window=2]"):
        assert f"{value(frame, variant, 'tiny', 'gmac'):.5f}" in text
    assert f"attended {value(frame, 'swin[window=2]', 'tiny', 'attended_gmac'):.5f}" in text
    assert text.count("Patches of 16 px.") == 2
    assert "needs a square number of heads" in text
    assert re.search(r"https?://(?!www\.w3\.org)", text) is None


def test_a_published_body_stands_beside_its_numbers_and_out_of_the_tables(folder):
    """DeiT-Ti's parameters, by params.body; a row of another body never takes the place of the study's own."""
    frame = store.load(folder / "rows")
    mine = frame[(frame["variant"] == "sa") & (frame["size"] == "tiny") & frame["metric"].isin(["params", "gmac"])]
    body = mine.assign(
        params=[{"body": "published"}] * len(mine), test_px=224, train_px=224,
        value=[5_717_416 if metric == "params" else 1.26 for metric in mine["metric"]],
    )  # fmt: skip
    both = pd.concat([frame, body], ignore_index=True)
    both.attrs = {"damaged": []}
    text = page(both)
    assert "Published numbers beside ours" not in page(frame)
    assert "Published numbers beside ours" in text
    assert re.search(r"<td>5\.72</td><td class=\"is\">equal</td>", text)
    assert f"{value(frame, 'sa', 'tiny', 'gmac'):.5f}" in text
    mixed = page(both.assign(params=None))  # as if the body were not told
    assert "Published numbers beside ours" not in mixed


@pytest.mark.parametrize(
    ("numbers", "wanted"), [([0.2053, 0.2061], 4), ([0.01312, 0.6], 5), ([5.7, 86.6], 3), ([0.0, 4608.3], 3), ([], 3)]
)
def test_small_numbers_have_as_many_digits_as_large_ones(numbers, wanted):
    assert decimals(numbers) == wanted


def test_published_bodies_are_those_of_the_sizes_that_are_asked_for():
    def bodies(*flags):
        args = costs.parser().parse_args(["--variants", "sa,gpsa", "--resolutions", "64", *flags])
        cells = costs.planned(args, [costs.experiment(args, "tiny", 64)])
        return {cell.experiment.study.size for cell in cells if cell.name.endswith("as published")}

    assert bodies("--sizes", "micro") == set()
    assert bodies("--sizes", "tiny,convit_tiny") == {"tiny", "convit_tiny"}
    assert {"tiny", "small", "base", "convit_base"} < bodies() <= set(SIZES)


def test_what_is_there_is_not_counted_again(folder, capsys):
    before = {path: path.stat().st_mtime_ns for path in (folder / "rows").glob("*costs*.jsonl")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.report.study.published.read", list)
        assert costs.main([*FEW, "--output", str(folder / "rows"), "--report", str(folder / "again.html")]) == 0
    assert "3 of 3 cells are there" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    ("ours", "published", "words"),
    [(4.608, "4.6", "equal"), (4.608, "4.61", "equal"), (4.608, "4.3", "+7.2 %"), (4.608, "", ""),
     (12.704, "16.0", "\N{MINUS SIGN}21 %")],
)  # fmt: skip
def test_published_numbers_are_compared_to_the_digits_they_have(ours, published, words):
    assert say(ours, published) == words


@pytest.mark.parametrize(
    ("flags", "words"),
    [(["--variants", "sp_sb"], "sp_sb"), (["--sizes", "huge"], "no size 'huge'; choose nano"),
     (["--resolutions", "big"], "--resolutions big must be a number of pixels; write 224,384,512"),
     (["--resolutions", "100"], "100")],
)  # fmt: skip
def test_bad_input_is_one_sentence(flags, words, tmp_path, capsys):
    assert costs.main([*flags, "--output", str(tmp_path / "rows"), "--report", str(tmp_path / "page.html")]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert said.count("\n") == 1
    assert not (tmp_path / "rows").exists()


def test_noise_is_timed_and_not_learned(tmp_path, capsys):
    where = ["--patch-size", "4", "--resolutions", "32", "--output", str(tmp_path / "rows"), "--report",
             str(tmp_path / "page.html")]  # fmt: skip
    assert program.main(["--dataset", "noise:10", "--variants", "sa", *where]) == 2
    assert "noise:10 has nothing to learn, so no accuracy; write --measure cost,speed" in capsys.readouterr().err
    assert program.main(["--dataset", "noise:none", "--variants", "sa", *where]) == 2
    assert "write the number of classes, as in noise:1000" in capsys.readouterr().err
    few = ["--dataset", "noise:10", "--measure", "cost", "--img-size", "32", "--variants", "sa"]
    assert program.main([*few, "-b", "64", *where]) == 0
    assert value(store.load(tmp_path / "rows"), "sa", "nano", "params") > 0
