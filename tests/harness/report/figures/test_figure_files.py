"""A figure is one file and one line in a list; nothing else on the page moves. Colours follow the theme."""

import csv
import inspect
import io
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote

import pytest
from matplotlib.figure import Figure

from harness.report import figures
from harness.report.figures.context import Context
from harness.report.figures.style import palette, svg
from tests.support import programs
from tests.support import rows as made

ROOT = Path(__file__).parents[4]
FOLDER = Path("harness/report/figures")
NEW = '''"""Top-1 by the number of seeds."""

from harness.report.figures.style.chart import interval
from harness.report.figures.style.series import Panel, drawing, read


def draw(about):
    found = [s for s in about.summaries if s.seeds]
    table = [{"variant": s.variant, "seeds": len(s.seeds), **interval("top1_mean", s.top1)} for s in found]
    panel = Panel(read(table, "seeds", "top1_mean", about.look), "seeds", "top-1 accuracy, %")
    return drawing(f"{about.prefix}by-seeds", "Top-1 by seeds", caption(), table, [panel])


def caption():
    return "More seeds, narrower intervals."
'''


def rendered(tree, rows, page):
    """The page that a tree draws."""
    done = programs.run("harness.report", rows, "--report", page, cwd=tree, env={"PYTHONPATH": str(tree)})
    assert done.returncode == 0, done.stderr
    return page.read_text(encoding="utf-8")


def figures_of(html):
    """By the name of its CSV, the whole of each figure."""
    found = re.findall(r"<figure.*?</figure>", html, re.S)
    return {re.search(r'download="([^"]+)\.csv"', one)[1]: one for one in found}


def test_a_figure_costs_one_file_and_one_line(tmp_path):
    rows = made.save(tmp_path / "rows", made.study(["sa", "psa", "swin"], seeds=range(3)))
    before = rendered(ROOT, rows, tmp_path / "before.html")
    shutil.copytree(ROOT / "harness", tmp_path / "tree/harness", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tree" / FOLDER / "by_seeds.py").write_text(NEW)
    unlisted = rendered(tmp_path / "tree", rows, tmp_path / "unlisted.html")
    names = tmp_path / "tree" / FOLDER / "__init__.py"
    lines = names.read_text().splitlines(keepends=True)
    place = lines.index('        "tradeoff",\n')
    names.write_text("".join([*lines[: place + 1], '        "by_seeds",\n', *lines[place + 1 :]]))
    after = rendered(tmp_path / "tree", rows, tmp_path / "after.html")

    assert unlisted == before  # the line is what puts it on the page
    old, new = figures_of(before), figures_of(after)
    assert list(new) == ["differences", "s1-tradeoff", "s1-by-seeds", *list(old)[2:]]
    assert {name: new[name] for name in old} == old
    drawn = new["s1-by-seeds"]
    assert after.replace(drawn, "").split() == before.split()
    assert "<b>Top-1 by seeds.</b> More seeds, narrower intervals." in drawn
    assert set(re.findall(r"<text[^>]*>([^<]+)</text>", drawn)) >= {"sa", "psa", "swin", "seeds", "top-1 accuracy, %"}
    table = list(csv.DictReader(io.StringIO(unquote(re.search(r'href="data:[^,]*,([^"]+)"', drawn)[1]))))
    assert [(line["variant"], line["seeds"]) for line in table] == [("sa", "3"), ("psa", "3"), ("swin", "3")]
    assert list(table[0]) == ["variant", "seeds", "top1_mean", "top1_low", "top1_high"]


def test_every_file_of_a_setting_is_listed_once_and_has_draw_and_caption():
    listed = [name for names in figures.FIGURES.values() for name in names]
    files = {file.stem for file in (ROOT / FOLDER).glob("*.py")} - {"__init__", "context"}
    asked_for_by_their_page = {"low_data", "binarized", "costs", "relations"}
    assert sorted(listed) == sorted(files - asked_for_by_their_page)
    for name in listed:
        module = import_module(f"harness.report.figures.{name}")
        assert list(inspect.signature(module.draw).parameters) == ["about"], name
        assert callable(module.caption), name


@pytest.mark.parametrize("part", figures.FIGURES)
def test_a_figure_that_has_nothing_to_draw_says_so(part, tmp_path):
    setting = made.take(tmp_path, [made.row("sa", "loss", 1.0, seed=0, epoch=1)]).settings[0]
    assert figures.draw(part, Context(setting, [], palette.looks(setting.variants, "sa"), "s1-")) == []


def test_naming_the_figures_imports_nothing_heavy():
    code = "import sys, harness.report.figures as f; print(f.FIGURES and {'matplotlib', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "set()"


# ---- colours


@pytest.mark.parametrize("color", ["#123456", "C0", "white", "black"])
def test_a_colour_that_the_dark_theme_does_not_know_is_refused(color):
    with svg.style():
        figure = Figure()
        figure.add_axes((0, 0, 1, 1)).plot([0, 1], [0, 1], color=color)
        with pytest.raises(ValueError, match=r"the colour #[0-9a-f]{6} has no CSS variable"):
            svg.inline(figure, "one", "One")


def test_all_colours_of_a_page_are_variables(tmp_path):
    html = rendered(ROOT, made.save(tmp_path / "rows", made.study(seeds=range(3))), tmp_path / "page.html")
    for name, drawn in figures_of(html).items():
        shown = re.sub(r'href="data:[^"]*"', "", drawn)
        assert "var(--c1" in shown, name
        assert re.findall(r"#[0-9a-f]{6}\b", re.sub(r"var\(--\w+, #[0-9a-f]{6}\)", "", shown)) == [], name
