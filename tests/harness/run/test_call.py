"""The program from Python: every flag as a setting, the same rows, its figures in a notebook."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

import harness
from harness.report import show
from harness.results import load
from harness.run import call, flags
from tests.support.flags import GIVEN, WITH
from tests.support.page import undrawn
from tests.support.paths import ROOT

NOTEBOOK = ROOT / "examples" / "compare.ipynb"
SMALL = {"preset": "digits", "size": "nano", "patch_size": 4, "resolutions": [8], "epochs": 2, "warmup_epochs": 0,
         "cooldown_epochs": 0, "seeds": range(2), "measure": ["accuracy"], "jobs": 1}  # fmt: skip


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("called")
    with undrawn():
        return harness.run(variants="psa", output=folder / "rows", report=folder / "page.html", **SMALL)


def test_it_returns_the_rows_and_says_where_they_and_the_page_are(rows):
    pd.testing.assert_frame_equal(rows, load(rows.attrs["path"]))
    assert "<!doctype html>" in Path(rows.attrs["report"]).read_text().lower()
    top1 = rows[rows["metric"] == "top1"]
    assert sorted(zip(top1["variant"], top1["seed"], strict=True)) == [("psa", 0), ("psa", 1), ("sa", 0), ("sa", 1)]


def test_the_same_call_trains_nothing_again(rows, capsys):
    folder = Path(rows.attrs["path"])
    harness.run(variants="psa", output=folder, report=folder.parent / "page.html", **SMALL)
    assert "4 of 4 cells are there" in capsys.readouterr().out


@pytest.mark.parametrize("name", GIVEN)
def test_every_flag_is_a_setting(name):
    written, value = GIVEN[name]
    beside = [*WITH.get(name, ())]
    asked = flags.study_of(flags.parser().parse_args([*beside, *call.as_words({name: value})]))
    word = [f"--{name.replace('_', '-')}", *(written or "").split()]
    assert asked == flags.study_of(flags.parser().parse_args([*beside, *word]))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"variants": "nope"}, "there is no variant 'nope'"),
        ({"epoch": 3}, "there is no flag --epoch; did you mean --epochs"),
        ({"seeds": "a"}, "--seeds 'a' is not a list of seeds"),
        ({"dry_run": True}, "python -m harness.run --dry-run"),
        ({"slurm": "gpu"}, "of the command line alone"),
        ({"no_such": None, "size": "huge"}, "there is no size 'huge'"),
    ],
)
def test_bad_settings_are_refused_in_a_sentence(settings, words):
    with pytest.raises(ValueError, match=words) as error:
        harness.run(**settings)
    assert "\n" not in str(error.value)


def test_a_cell_that_fails_is_warned_of(tmp_path):
    places = {"output": tmp_path / "rows", "report": tmp_path / "page.html"}
    with pytest.warns(UserWarning, match=r"page\.html says what"):
        found = harness.run(**(SMALL | places | {"variants": "sa", "seeds": 0, "lr": 1e30}))
    assert found["value"].isna().any()


def test_a_notebook_shows_the_figures_of_the_rows_that_are_left(rows):
    shown = show(rows)
    ((name, drawings),) = shown.drawings.items()
    assert shown.sentences[name] == "Of 1 variant compared with sa: 1 undetermined."
    html = shown._repr_html_()
    assert html.count("<svg") >= len(drawings) > 0
    assert all(drawing.svg in html for drawing in drawings)
    fewer = show(rows[rows["variant"] == "sa"])
    assert "psa" not in fewer._repr_html_()


def test_what_is_no_study_is_not_shown(rows):
    for other in (pd.DataFrame({"value": [1]}), rows.groupby("variant", as_index=False)["value"].mean(), "rows"):
        with pytest.raises(ValueError, match="no rows of a study"):
            show(other)
    with pytest.raises(ValueError, match="no rows are left"):
        show(rows[rows["variant"] == "nobody"])


def test_rows_of_two_studies_are_shown_together(rows):
    other = rows.assign(study="other", dataset="other images")
    other.attrs = {}
    shown = show(pd.concat([rows, other]))
    assert len(shown.drawings) == 2


SCRIPT = """
import harness
from tests.support.page import undrawn
print("the script runs")
undrawn().start()
rows = harness.run(**{settings})
print(sorted(rows[rows["metric"] == "top1"]["variant"]))
"""


def script(variants):
    """A script without a guard, which runs a study in two processes."""
    return SCRIPT.format(settings=SMALL | {"variants": variants, "jobs": 2, "seeds": "0", "output": variants,
                                           "report": f"{variants}.html"})  # fmt: skip


def said(folder, *words, **settings):
    """The lines that Python prints in a folder."""
    done = subprocess.run([sys.executable, *words], cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True,
                          capture_output=True, timeout=300, check=False, **settings)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_script_without_a_guard_runs_once_and_a_variant_that_it_registered_trains_in_its_process(tmp_path):
    mine = (ROOT / "examples" / "my_variant.py").read_text()
    (tmp_path / "script.py").write_text(script("psa") + mine + script("cauchy"))
    lines = said(tmp_path, "script.py")
    assert lines.count("the script runs") == 2
    assert lines.count("['psa', 'sa']") == 1
    assert lines[-1] == "['cauchy', 'sa']"


def test_a_script_on_standard_input_runs_once(tmp_path):
    lines = said(tmp_path, "-", input=script("psa"))
    assert lines.count("the script runs") == 1
    assert lines[-1] == "['psa', 'sa']"


def test_names_of_variants_are_text_in_a_notebook(rows):
    named = rows.assign(variant=rows["variant"].replace("psa", "psa<b>"))
    named.attrs = rows.attrs
    assert "<b>" not in show(named)._repr_html_()


def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(harness, "run", partial(harness.run, train_images=320, jobs=1))
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    namespace = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), NOTEBOOK.name, "exec"), namespace)
    assert Path("reports/notebook.html").exists()
    assert namespace["figures"].drawings
