"""The page of pages: what each says of itself, the newest first, and nothing of files that are somebody else's."""

import base64
import re

import pytest

from harness.report import render, render_index
from harness.report.__main__ import main
from tests.support import rows as made
from tests.support.page import Page


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two pages, `new` and `old`, and one that this project did not write."""
    where = tmp_path_factory.mktemp("pages")
    for name, day in (("old", "2025-01-02"), ("new", "2026-03-04")):
        rows = made.cost(["sa", "sp_sa"]) + [
            made.row(v, "top1", 90.0 + seed + gain * (1 + 0.01 * seed), seed=seed, unit="%", n=360, epoch=3)
            for v, gain in (("sa", 0.0), ("sp_sa", 5.0)) for seed in range(4)
        ]  # fmt: skip
        rows = [row | {"study": f"{name} <b>", "when": f"{day}T00:00:00+00:00"} for row in rows]
        render(made.save(where / f"rows-{name}", rows), where / f"{name}.html")
    (where / "mine.html").write_text("<title>my own page</title>")
    return where


def test_each_page_has_its_title_sentence_date_and_figure(folder):
    text = render_index(folder).read_text()
    page = Page(text)
    links = [a["href"] for tag, a in page.elements if tag == "a" and "tabindex" not in a]
    assert links == ["new.html", "old.html"], "the newest first, and no other"
    assert "Measured until 2026-03-04" in page.text
    assert page.text.count("Of 1 variant compared with sa: 1 more accurate than sa.") == 2
    assert "<b>" not in text, "a title is escaped"
    assert "new <b>" in page.text
    pictures = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', text)
    assert len(pictures) == 2
    for one in pictures:
        drawn = base64.b64decode(one).decode()
        assert drawn.startswith("<svg")
        assert drawn.rstrip().endswith("</svg>")
        assert "prefers-color-scheme: dark" in drawn


def test_the_index_is_no_page_of_itself(folder):
    assert render_index(folder).read_text() == render_index(folder).read_text()


def test_the_program_writes_it_and_says_where(folder, capsys):
    assert main(["--index", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder / 'index.html'}\n"


def test_an_index_of_somebody_else_stays(tmp_path, folder, capsys):
    (tmp_path / "a.html").write_text((folder / "new.html").read_text())
    (tmp_path / "index.html").write_text("mine")
    assert main(["--index", str(tmp_path)]) == 2
    assert (tmp_path / "index.html").read_text() == "mine"
    assert "--force" in capsys.readouterr().err
    assert main(["--index", str(tmp_path), "--force"]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--index", "nowhere"], "nowhere is no folder"),
        (["--index", "."], "has no page that this project wrote"),
        (["results/x", "--index", "."], "leave out studies and exports"),
        ([], "no study is named; write results/NAME, or --index reports"),
    ],
)
def test_bad_input_ends_with_a_sentence(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert said in capsys.readouterr().err
