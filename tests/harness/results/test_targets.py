"""Files that somebody else wrote are refused before work; those of this project are known, old ones too."""

import json
import os
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from harness import costs, gallery, regress
from harness.binarize import program as binarize
from harness.report.__main__ import main as report
from harness.results import store, targets
from harness.run import program
from tests.support import rows as made

ROOT = Path(__file__).parents[3]
FLAGS = ("report", "csv", "timm-csv", "latex", "markdown", "parquet")
NAMES = {
    "report": "a.html",
    "csv": "a.csv",
    "timm-csv": "t.csv",
    "latex": "a.tex",
    "markdown": "a.md",
    "parquet": "a.pq",
}
MINE = "what I wrote myself\n"


@pytest.fixture
def there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made.save(tmp_path / "rows", made.study(["sa", "sp_sa"], [0, 1], [8]))
    return tmp_path


@pytest.fixture
def undrawn(monkeypatch):
    """Pages without figures, for who looks at where they are written."""
    monkeypatch.setattr("harness.report.figures.draw", lambda part, about: [])


def asked(**other):
    given = NAMES | other
    return ["rows", *(word for flag in FLAGS for word in (f"--{flag}", given[flag]))]


def state(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(call, capsys, folder, says):
    """That a call ends with 2 and one sentence, and that no file is another or new."""
    before = state(folder)
    assert call() == 2
    err = capsys.readouterr().err
    assert re.search(says, err), err
    assert err.count("\n") == 1
    assert state(folder) == before


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("flag", FLAGS)
def test_a_file_of_somebody_else_is_refused_before_anything_is_written(there, capsys, flag):
    (there / NAMES[flag]).write_text(MINE)
    says = rf"--{flag} {NAMES[flag]} exists and is not .* that this program wrote; name another file, or .*--force"
    refused(lambda: report(asked()), capsys, there, says)
    words = ["rows", "--report", NAMES["report"], f"--{flag}", NAMES[flag]]
    assert report([*words, "--force"]) == 0
    assert (there / NAMES[flag]).read_bytes() != MINE.encode()
    assert report(words) == 0  # now it is ours


def test_what_this_program_wrote_is_replaced_as_often_as_it_likes(there):
    assert report(asked()) == 0
    for flag in FLAGS:
        assert targets.written_here(flag, there / NAMES[flag])
        for other in set(FLAGS) - {flag}:
            if other != "parquet":
                assert not targets.written_here(other, there / NAMES[flag]), (flag, other)
    assert report(asked()) == 0


def test_no_export_is_taken_for_another_by_its_first_words_alone(there):
    near = {
        "report": '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>speed</title></head>'
                  f"<body>{targets.GENERATOR}</body>",
        "csv": "study,cell,metric,value,mine\n1,2,3,4,5\n",
        "timm-csv": "model,top1,top1_err,top5,top5_err,param_count,img_size,crop_pct,interpolation\n"
                    "vit,1,2,3,4,5,6,7,8\n",
        "latex": "% my table\n\\begin{table}\n",
        "markdown": "### `mine`\n\nprose\n",
    }  # fmt: skip
    for flag, content in near.items():
        (there / "near").write_text(content)
        assert not targets.written_here(flag, there / "near"), flag
    pd.DataFrame({"a": [1]}).to_parquet(there / "near")
    assert not targets.written_here("parquet", there / "near")
    (there / "near").write_bytes(b"PAR1 no more")
    assert not targets.written_here("parquet", there / "near")


@pytest.mark.usefixtures("undrawn")
def test_files_that_were_written_before_they_had_a_mark_are_known(there):
    for page in ("costs", "priors", "speed"):
        assert targets.written_here("report", ROOT / "reports" / f"{page}.html")
    frame = store.load("rows").drop(columns=["kind", "params", "samples"])
    frame.to_csv("old.csv", index=False)
    assert targets.written_here("csv", there / "old.csv")
    frame.astype(str).to_parquet("old.pq")
    assert targets.written_here("parquet", there / "old.pq")
    assert report(asked()) == 0
    (there / "old.md").write_text((there / "a.md").read_text().partition("\n\n")[2])
    assert (there / "old.md").read_text().startswith("### `")
    assert targets.written_here("markdown", there / "old.md")


def test_a_studys_own_rows_are_never_replaced(there, capsys):
    file = min((there / "rows").rglob("*.jsonl"))
    name = str(file.relative_to(there))
    refused(lambda: report(asked(csv=name)), capsys, there, f"--csv {name} lies in .*cells, a folder of rows")
    refused(lambda: report([*asked(latex=name), "--force"]), capsys, there, f"--latex {name} lies in")
    refused(lambda: report(["rows", "--report", name]), capsys, there, f"--report {name} must end in .html or .htm")


@pytest.mark.parametrize("name", ["rows/new.csv", "rows/cells/new.csv", "rows/deep/er/new.csv"])
def test_nothing_but_rows_is_written_into_a_folder_of_rows(there, capsys, name):
    refused(lambda: report(asked(csv=name)), capsys, there, f"--csv {name} lies in .*rows.*, a folder of rows, where")


@pytest.mark.usefixtures("undrawn")
def test_who_stands_in_a_folder_of_rows_may_write_below_it(there, monkeypatch):
    monkeypatch.chdir(there / "rows")
    assert report([".", "--report", "reports/a.html"]) == 0
    assert report([".", "--report", "cells/a.html"]) == 2
    assert report([".", "--report", "a.html"]) == 2


def test_endings_pairs_devices_and_names_are_checked_together(there, capsys):
    for words, says in (
        (asked(markdown="a.txt"), r"--markdown a.txt must end in .md; write a.md"),
        (["rows", "--report", "NOTES.md"], r"--report NOTES.md must end in .html or .htm; write NOTES.html"),
        (asked(latex="a.csv"), r"--latex a.csv is the file of --csv, too; name one file for each"),
        (asked(latex="/dev/null"), r"--latex /dev/null is no file but a device"),
        (asked(latex="x" * 300), r"cannot be written \(File name too long\); name a file elsewhere"),
        (asked(latex="/proc/x.tex"), r"--latex /proc/x.tex cannot be written \(.*\); name a file elsewhere"),
        (asked(latex="rows"), "--latex rows is a folder; name the file"),
        ([*asked(), "--readme", "README"], r"--readme README must end in .md"),
    ):
        refused(lambda words=words: report(words), capsys, there, says)


def test_figures_are_not_written_among_rows(there, capsys):
    (there / "README.md").write_text("<!-- study: rows -->\n<!-- end of study -->\n")
    words = ["rows", "--readme", "README.md", "--figures", "rows/figures"]
    refused(lambda: report(words), capsys, there, "--figures rows/figures lies in .*rows, a folder of rows")


@pytest.mark.parametrize(
    "call",
    [
        lambda name: program.main(["--variants", "sp_sa", "--measure", "cost", "--output", "o", "--report", name]),
        lambda name: costs.main(["--variants", "sa", "--sizes", "tiny", "--resolutions", "224", "--output", "o",
                                 "--report", name]),
        lambda name: gallery.main(["--report", name]),
        lambda name: report(["rows", "rows", "--report", name]),
    ],
    ids=["run", "costs", "gallery", "two studies"],
)  # fmt: skip
def test_every_program_refuses_first(there, capsys, call):
    (there / "mine.html").write_text(MINE)
    refused(lambda: call("mine.html"), capsys, there, "--report mine.html exists and is not an HTML page that this")
    refused(lambda: call("NOTES.md"), capsys, there, "--report NOTES.md must end in .html")
    refused(lambda: call("rows/page.html"), capsys, there, "--report rows/page.html lies in .*rows, a folder of rows")
    assert not (there / "o").exists()


def test_a_page_in_the_folder_that_a_run_is_to_write_rows_to_is_refused(there, capsys):
    words = ["--variants", "sp_sa", "--measure", "cost", "--output", "o", "--report", "o/page.html"]
    refused(lambda: program.main(words), capsys, there, "--report o/page.html lies in .*o, a folder of rows")


def test_binarize_refuses_first(there, capsys, monkeypatch):
    monkeypatch.setattr(binarize, "trained", lambda *_: {})
    (there / "mine.html").write_text(MINE)
    refused(lambda: binarize.main(["rows", "--report", "mine.html"]), capsys, there, "--report mine.html exists and")


def test_a_recording_replaces_a_recording_alone(there, capsys):
    shutil.copy(ROOT / "tests" / "benchmarks" / "baseline.json", there / "new.json")
    (there / "pyproject.toml").write_text(MINE)
    (there / "other.json").write_text(json.dumps({"a": 1}))
    for name in ("pyproject.toml", "other.json"):
        refused(lambda name=name: regress.main([name, "new.json", "--record"]), capsys, there, f"{name} is .*--force")
    assert regress.main(["other.json", "new.json", "--record", "--force"]) == 0
    assert regress.main(["other.json", "new.json", "--record"]) == 0
    assert regress.main(["fresh.json", "new.json", "--record"]) == 0


def test_an_empty_file_has_nothing_to_lose_and_checks_leave_nothing(there):
    (there / "a.html").touch()
    before = sorted(there.rglob("*"))
    targets.check({"report": Path("a.html"), "csv": Path("new/deep/a.csv")})
    assert sorted(there.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_closed_folder_is_a_sentence(there):
    (there / "closed").mkdir(mode=0o500)
    with pytest.raises(ValueError, match="cannot be written"):
        targets.check({"report": Path("closed/a.html")})
