"""What a reader takes along from a page: tables as text, figures as files, the difference of two variants.

Each check lists what is wrong; it must find nothing on the page, and something where the page was broken on purpose.
"""

import csv
import io
import re
from contextlib import suppress
from itertools import permutations
from xml.etree import ElementTree

import numpy as np
import pytest

from harness.report import render
from harness.report.text.formatting import points
from tests.support import rows as made
from tests.support.page import broken

VARIANTS = ("sa", "sp_sa", "psa", "swin", 'odd | "names", of some')
CLIPBOARD = {"permissions": ["clipboard-read", "clipboard-write"]}


@pytest.fixture(scope="module")
def rows():
    return made.study(VARIANTS, range(3), (8, 12))


@pytest.fixture(scope="module")
def html(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tools")
    made.save(folder / "study", rows)
    return render(folder / "study", folder / "page.html").path.read_text(encoding="utf-8")


def means(rows):
    found = {}
    for row in rows:
        if row["metric"] == "top1" and row.get("test_px") == 8 and row["value"] is not None:
            found.setdefault(row["variant"], {})[row["seed"]] = row["value"]
    return found


def copied(page, kind):
    """What the first table's button puts into the clipboard."""
    page.locator(f".tools [data-as={kind}]").first.click()
    page.wait_for_function("document.querySelector('.tools output').textContent")
    return page.evaluate("navigator.clipboard.readText()")


def copying_faults(page, rows):
    """Filters the main table, and reads its copies as a program would."""
    page.locator(".filter input").first.fill("s")
    shown = [name for name in VARIANTS if "s" in name]
    found = list(csv.reader(io.StringIO(copied(page, "csv"))))
    column = next(place for place, name in enumerate(found[0]) if name.startswith("Top-1 accuracy: Mean"))
    numbers = {line[0]: float(line[column]) for line in found[1:]}
    if found[0][column + 1] != f"{found[0][column]}: below" or not any("[" in line[column + 1] for line in found):
        page.seen.append("error: CSV has no intervals")
    if any("." in line[found[0].index("Top-1 accuracy: Seeds")] for line in found[1:]):
        page.seen.append("error: a count has decimals")
    wanted = {name: np.mean([*means(rows)[name].values()]) for name in shown}
    faults = [] if numbers == pytest.approx(wanted) else [f"CSV: {numbers}"]
    faults += [one for one in page.seen if one.startswith("error")]
    lines = copied(page, "markdown").splitlines()
    place = next(n for n, name in enumerate(re.split(r" \| ", lines[0])) if "Top-1 accuracy: Mean" in name)
    cells = [re.split(r"(?<!\\) \| ", line.removeprefix("| ").removesuffix(" |")) for line in lines]
    if len({len(line) for line in cells}) != 1 or not set(cells[1]) <= {"---", "--:"}:
        faults.append(f"Markdown: {lines}")
    for name in shown:
        row = next((line for line in cells if line[0].replace("\\|", "|") == name), None)
        if row is None or not row[place].startswith(f"{wanted[name]:.2f}"):
            faults.append(f"Markdown of {name}: {row}")
    if not any(" [" in line[place] for line in cells):
        faults.append("Markdown has no intervals")
    return faults


def test_tables_are_copied_as_they_are_shown(html, rows, opened):
    assert copying_faults(opened(html, **CLIPBOARD), rows) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("filter((row) => !row.hidden).map((row) => [...row.cells])", "map((row) => [...row.cells])"),
        ("""replaceAll("|", "\\\\|")""", "trim()"),
        ("""`"${text.replaceAll('"', '""')}"`""", "text"),
        ("String(Number(cell.dataset.sort))", "cell.dataset.sort"),
        ("? [own(cell), more(cell)] : [own(cell)]", "? [own(cell)] : [own(cell)]"),
        ('querySelectorAll("sup, svg")', 'querySelectorAll("svg, small")'),
        ("Array(cell.colSpan).fill(", "Array(1).fill("),
    ],
)
def test_wrong_copies_are_noticed(old, new, html, rows, opened):
    with suppress(ValueError, StopIteration, IndexError):  # a copy that a program cannot read
        assert copying_faults(opened(broken(html, old, new), **CLIPBOARD), rows)


def saving_faults(page, theme):
    """Saves the first figure: a file that is drawn without a page, in the colours of the theme."""
    page.emulate_media(color_scheme=theme)
    with page.expect_download() as download:
        page.locator("figure .tools button").first.click()
    name, text = download.value.suggested_filename, download.value.path().read_text()
    faults = [] if name == f"{page.locator('figure .tools').first.get_attribute('data-name')}.svg" else [name]
    panels = page.locator("figure").first.locator("svg").count()
    if len(ElementTree.fromstring(text).findall("{http://www.w3.org/2000/svg}svg")) != panels or "var(" in text:
        faults.append("no picture of its own")
    root = ElementTree.fromstring(text)
    if root.get("viewBox") != f"0 0 {root.get('width')} {root.get('height')}" or not root[0].tag.endswith("rect"):
        faults.append("no size, or no background")
    paper = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--paper').trim()")
    return faults + ([] if paper in text else [f"{paper} is missing"])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_figures_are_saved_as_they_are_shown(theme, html, opened):
    page = opened(html)
    assert saving_faults(page, theme) == []
    assert not [one for one in page.seen if "error" in one]


def test_a_figure_without_its_colours_is_noticed(html, opened):
    assert saving_faults(opened(broken(html, "style.getPropertyValue(name)", '"none"')), "light")
    assert saving_faults(opened(broken(html, ".replace(/var", ".replace(/vor")), "light")


def difference_faults(page, rows):
    """Picks each two variants, in both orders."""
    found, faults = means(rows), []
    for a, b in permutations(VARIANTS, 2):
        for select, name in zip(page.locator(".two select").all()[:2], (a, b), strict=True):
            select.select_option(name)
        said = page.locator(".two output").first.text_content()
        both = found[a].keys() & found[b].keys()
        wanted = np.mean([found[a][seed] - found[b][seed] for seed in both])
        told = "verdict" if "sa" in (a, b) else "all 10 pairs"
        if said.partition(" points")[0] != f"{a} minus {b}: {points(wanted)}" or told not in said:
            faults.append(said)
    return faults


def test_two_variants_are_compared(html, rows, opened):
    page = opened(html)
    assert difference_faults(page, rows) == []
    for select in page.locator(".two select").all()[:2]:
        select.select_option("psa")
    assert page.locator(".two output").first.text_content() == "Pick two different variants."


@pytest.mark.parametrize(
    ("old", "new"),
    [("said[a][b]", "said[b][a]"), ("said[a][b]", "said[0][b]")],
)
def test_wrong_differences_are_noticed(old, new, html, rows, opened):
    assert difference_faults(opened(broken(html, old, new)), rows)


def test_sections_fold_and_a_link_to_a_folded_one_opens_it(html, opened):
    page = opened(html)
    table, heading = page.locator("table.main").first, page.locator("summary").first
    assert table.is_visible()
    heading.focus()
    page.keyboard.press("Enter")
    assert not table.is_visible()
    page.locator("nav a[href='#setting-1']").click()
    assert table.is_visible()


def test_the_contents_stay_in_sight(html, opened):
    page = opened(html)
    page.mouse.wheel(0, 3000)
    page.wait_for_function("scrollY > 500")
    box = page.locator("nav[aria-label=Sections]").bounding_box()
    assert 0 <= box["y"] < 5
    page.locator("nav a[href='#provenance']").click()
    top = page.locator("#provenance").bounding_box()["y"]
    assert box["height"] - 1 <= top < 300  # below the contents, not behind them


def test_without_javascript_there_are_no_buttons(html, opened):
    page = opened(html, java_script_enabled=False)
    assert page.locator(".tools:visible, .two:visible").count() == 0
    assert page.locator("table.main").first.is_visible()


def test_paper_shows_neither_buttons_nor_contents(html, opened):
    page = opened(html)
    page.emulate_media(media="print")
    assert page.locator(".tools:visible, .two:visible, nav:visible").count() == 0
