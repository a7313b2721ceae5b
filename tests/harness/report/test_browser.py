"""The page in a real browser: quiet, sorted, filtered, by keyboard alone, accessible, in both themes, on a phone.

Each check is a function that lists what is wrong; it must find nothing on the page, and something where the page was
broken on purpose.
"""

import re

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from harness.report import render
from tests.support import rows as made
from tests.support.page import broken
from tests.support.paths import ROOT

VARIANTS = ("sa", "sp_sa", "sp_sa[hidden=16]", "psa", "swin")
HOSTILE = [
    "<script>alert(1)</script>",
    '"quo\'te" onload="alert(2)"',
    "n" * 300,
    "--></svg><img src=x onerror=alert(3)>",
]


@pytest.fixture(scope="module")
def rows():
    return [*made.study(VARIANTS, range(3), (8, 12)), *made.shift(VARIANTS, range(3))]


@pytest.fixture(scope="module")
def html(rows, tmp_path_factory):
    return rendered(tmp_path_factory.mktemp("browser"), rows)


def rendered(folder, rows):
    made.save(folder / "study", rows)
    return render(folder / "study", folder / "page.html").path.read_text(encoding="utf-8")


def without_policy(html):
    return re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", html)


# ---- the checks


def noise(page):
    """Everything but the request of the page itself."""
    return [one for one in page.seen if not (one.startswith("request: file:") and one.endswith(".html"))]


def names(page):
    """The variants of the main table's visible rows."""
    return page.evaluate(
        "[...document.querySelector('table.sortable').tBodies[0].rows].filter((row) => row.offsetParent)"
        ".map((row) => row.cells[0].dataset.sort)"
    )


def sorting_faults(page, rows):
    """Presses the heading of the mean twice: falling, then rising, what has none always last."""
    means = {
        v: np.mean([r["value"] for r in rows if (r["variant"], r["metric"], r.get("test_px")) == (v, "top1", 8)])
        for v in VARIANTS
    }
    falling = sorted(means, key=means.get, reverse=True)
    button = page.locator("table.sortable").first.get_by_role("button", name="Mean")
    heading = button.locator("xpath=ancestor::th")
    faults = [] if names(page)[0] == "sa" else ["the baseline is not first"]
    for order, expected in (("descending", falling), ("ascending", falling[::-1])):
        button.click()
        if names(page) != [*expected, "neighborhood"]:
            faults.append(f"{order}: {names(page)}")
        if heading.get_attribute("aria-sort") != order:
            faults.append(f"{order} is not said")
    return faults


def arrow_faults(page):
    """Every heading that sorts shows an arrow, on the line of its title."""
    shown = page.evaluate(
        "[...document.querySelectorAll('table.sortable thead button')]"
        ".map((one) => [one.innerText, getComputedStyle(one.querySelector('span'), '::after')])"
        ".map(([name, after]) => [name, after.content, after.display])"
    )
    return [name for name, content, display in shown if content != '"↕"' or display == "none"]


def filter_faults(page):
    """Types, chooses and clears: which rows are left, and what is said of them."""
    bar, every = page.locator(".filter").first, names(page)
    said = bar.locator("output")
    faults = []

    def expect(what, shown):
        if names(page) != shown:
            faults.append(f"{what}: {names(page)}")
        if said.inner_text() != f"{len(shown)} of {len(every)} rows":
            faults.append(f"{what}: said {said.inner_text()!r}")

    expect("at first", every)
    for text, shown in (
        ("SP_SA", [n for n in every if "sp_sa" in n]),
        ("sp_sa [hidden", ["sp_sa[hidden=16]"]),
        ("[hidden=16]", ["sp_sa[hidden=16]"]),
        ("nothing like it", []),
    ):
        bar.get_by_role("searchbox").fill(text)
        expect(text, shown)
    bar.get_by_role("button", name="Clear").click()
    expect("cleared", every)
    bar.get_by_role("combobox").select_option("convit")
    expect("convit", ["psa"])
    bar.get_by_role("searchbox").fill("swin")
    expect("convit and swin", [])
    bar.get_by_role("button", name="Clear").click()
    expect("cleared again", every)
    return faults


def keyboard_faults(page):
    """Goes through the page by Tab: everything that reacts is reached, is seen to have the focus, and works."""
    every = page.evaluate(
        "[...document.querySelectorAll('a[href], button, input, select, summary, [tabindex]')]"
        ".filter((one) => one.checkVisibility()).map((one, place) => { one.dataset.place = place; return one; }).length"
    )
    faults, reached = [], set()
    for _ in range(every):
        page.keyboard.press("Tab")
        place, outline = page.evaluate(
            "[document.activeElement.dataset.place, parseFloat(getComputedStyle(document.activeElement).outlineWidth)"
            " * (getComputedStyle(document.activeElement).outlineStyle !== 'none')]"
        )
        reached.add(place)
        if not outline >= 2:
            faults.append(f"the focus on {place} is not seen")
    if len(reached) != every:
        faults.append(f"{len(reached)} of {every} are reached")
    before = names(page)
    page.locator("table.sortable").first.get_by_role("button", name="Variant").focus()
    page.keyboard.press("Space")
    if names(page) != sorted(before, key=lambda name: name.replace("[", " ")):
        faults.append(f"Space does not sort: {names(page)}")
    page.locator(".filter input").first.focus()
    page.keyboard.type("psa")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")  # from all families to the first one, which psa is not in
    if names(page):
        faults.append(f"text and family do not filter: {names(page)}")
    return faults


def access_faults(page, **options):
    """axe-core's serious and critical findings."""
    found = Axe().run(page, options={"resultTypes": ["violations"]} | options).response["violations"]
    return [
        f"{one['id']}: {node['html'][:120]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def width_faults(page):
    """The page never scrolls sideways; tables that are too wide scroll inside themselves."""
    faults = []
    for width in (390, 820, 1440):
        page.set_viewport_size({"width": width, "height": 800})
        sideways, inside = page.evaluate(
            "[document.documentElement, document.querySelector('.main').parentElement]"
            ".map((one) => one.scrollWidth - one.clientWidth)"
        )
        if sideways:
            faults.append(f"{width} px: {sideways} px sideways")
        if width == 390 and inside <= 0:
            faults.append("the table does not scroll inside itself")
    return faults


# ---- on the page as it is, and on broken ones


def test_it_is_quiet_and_asks_for_nothing(html, opened):
    assert noise(opened(html)) == []


@pytest.mark.parametrize("policy", [True, False])
@pytest.mark.parametrize(
    "fault",
    ['<img src="https://example.org/a.png">', '<link rel="stylesheet" href="https://example.org/a.css">',
     "<script>console.error('no')</script>"],
)  # fmt: skip
def test_noise_is_noticed(fault, policy, html, opened):
    page = opened((html if policy else without_policy(html)).replace("</main>", f"{fault}</main>"))
    assert noise(page)


def test_sorting_works(html, rows, opened):
    assert sorting_faults(opened(html), rows) == []


def test_headings_that_sort_show_it(html, opened):
    assert arrow_faults(opened(html)) == []
    assert arrow_faults(opened(html.replace("</style>", "button:has(small) span::after { display: none; }</style>")))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Number(a) - Number(b)", "Number(b) - Number(a)"),
        ("if (a === undefined || b === undefined)", "if (false)"),
        ('ascending ? "ascending" : "descending"', '"ascending"'),
        ("body.append(...rows);", ""),
    ],
)
def test_wrong_sorting_is_noticed(old, new, html, rows, opened):
    assert sorting_faults(opened(broken(html, old, new)), rows)


def test_filtering_works(html, opened):
    assert filter_faults(opened(html)) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("words.every(", "words.some("),
        ("name.includes(word)", "name.startsWith(word)"),
        ("!== family.value", "=== family.value"),
        ("!row.hidden).length", "row).length"),
        ('text.value = "";', ""),
    ],
)
def test_wrong_filtering_is_noticed(old, new, html, opened):
    assert filter_faults(opened(broken(html, old, new)))


def test_without_javascript_the_whole_table_shows_and_no_filter(html, opened):
    page = opened(html, java_script_enabled=False)
    assert page.locator("table.sortable").first.locator("tbody tr:visible").count() == len(VARIANTS) + 1
    assert page.locator(".filter:visible").count() == 0


def test_the_keyboard_is_enough(html, opened):
    assert keyboard_faults(opened(html)) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("</style>", ":focus-visible { outline: none !important; }</style>"),
        ('<button type="button" title', '<button tabindex="-1" type="button" title'),
        ('querySelector("button").addEventListener("click"', 'addEventListener("mousedown"'),
    ],
)
def test_what_needs_a_mouse_is_noticed(old, new, html, opened):
    assert keyboard_faults(opened(broken(html, old, new)))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(theme, html, opened):
    assert access_faults(opened(html, color_scheme=theme, bypass_csp=True)) == []


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ('<label>Variant <input type="search" placeholder="part of a name"', '<input type="search"', "label"),
        ("</header>", '<p style="color: #bbb; background: #fff">faint</p></header>', "color-contrast"),
        ('<html lang="en">', "<html>", "html-has-lang"),
        ("</header>", '<a href="#x"></a></header>', "link-name"),
    ],
)  # fmt: skip
def test_what_a_screen_reader_cannot_read_is_noticed(old, new, rule, html, opened):
    page = opened(html.replace(old, new, 1), bypass_csp=True)
    assert any(fault.startswith(rule) for fault in access_faults(page, runOnly=[rule]))


@pytest.mark.parametrize("page", sorted((ROOT / "reports").glob("*.html")), ids=lambda page: page.stem)
def test_every_committed_page_is_quiet_accessible_and_fits(page, opened):
    text = page.read_text(encoding="utf-8")
    assert len(text) < 3_000_000
    there = opened(text)
    assert noise(there) == []
    assert access_faults(there) == []
    there.set_viewport_size({"width": 390, "height": 800})
    assert there.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


def test_it_fits_a_phone_a_tablet_and_a_desk(html, opened):
    assert width_faults(opened(html)) == []


@pytest.mark.parametrize("fault", [".scroll { overflow-x: visible !important; }", "h1 { width: 500px; }"])
def test_what_is_too_wide_is_noticed(fault, html, opened):
    assert width_faults(opened(html.replace("</style>", f"{fault}</style>")))


def test_both_themes_and_paper(html, opened):
    page = opened(html, color_scheme="light")
    colors = "[getComputedStyle(document.documentElement).backgroundColor, getComputedStyle(document.body).color]"
    paper, ink = page.evaluate(colors)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(colors) != [paper, ink]
    page.emulate_media(color_scheme="dark", media="print")
    page.set_viewport_size({"width": 690, "height": 1000})  # A4 between its margins
    assert page.evaluate("document.documentElement.scrollWidth") <= 690
    assert page.evaluate(colors) == ["rgb(255, 255, 255)", ink]  # dark on white, whatever the screen's theme
    assert page.locator(".filter:visible").count() == 0
    assert page.locator("figure svg:visible").count() >= 4


def test_hostile_names_are_inert(tmp_path, opened):
    rows = made.study(["sa", *HOSTILE], seeds=range(3), resolutions=(8, 12))
    html = rendered(tmp_path, [r | {"study": "</title><script>alert(4)</script>"} for r in rows])
    page = opened(html)
    assert noise(page) == []
    assert width_faults(page) == []
    assert page.evaluate("[document.scripts.length, document.images.length]") == [1, 0]
    assert HOSTILE[0] in names(page)
    alive = opened(without_policy(html).replace("&lt;img src=x onerror=alert(3)&gt;", "<img src=x onerror=alert(3)>"))
    assert any("dialog: 3" in one for one in noise(alive))
