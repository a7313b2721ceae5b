"""The changes of CONTRIBUTING.md, each applied to a copy of the project and run: diffs are real, and so is their cost.

A copy has a study of two trainings. No change may train them again.
"""

import os
import re
import shutil
import subprocess

import numpy as np
import pytest

from harness.data import load
from harness.results import store
from tests.support import bodies, markdown, programs
from tests.support.page import Page
from tests.support.paths import ROOT

TREE = ("variants", "harness", "tests", "examples", "results/parity", "results/published", "pyproject.toml",
        "README.md", "CONTRIBUTING.md", "results/README.md")  # fmt: skip
CHANGES = {title: diff for title in ("A variant", "A measurement", "A figure", "A dataset")
           for diff in markdown.blocks(markdown.section(markdown.read("CONTRIBUTING.md"), title), "diff")}  # fmt: skip
ONE_EPOCH = ("--preset", "digits", *bodies.FLAGS, "--seeds", "0", "--epochs", "1", "--warmup-epochs", "0",
             "--resolutions", "8,12", "--jobs", "1",
             "--output", "rows", "--report", "page.html")  # fmt: skip


def python(tree, *words, fails=False):
    """What `python -m ...` prints in a tree, whose own modules it runs."""
    done = programs.run(*words, cwd=tree, env={"PYTHONPATH": str(tree)})
    assert bool(done.returncode) is fails, done.stdout + done.stderr
    return done.stdout


def applied(tree, diff):
    """Whether a diff applies to a tree; it then has."""
    alone = {"GIT_CEILING_DIRECTORIES": str(tree.parent)}  # a checkout above would take the paths for its own
    done = subprocess.run(["git", "apply", "-"], cwd=tree, env=os.environ | alone, input=diff, text=True, check=False)
    return done.returncode == 0


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the project, with a study of sa and sp_sa in `rows`."""
    copy = tmp_path_factory.mktemp("contributing") / "tree"
    for name in TREE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    python(copy, "harness.run", "--variants", "sp_sa", "--measure", "accuracy", *ONE_EPOCH)
    return copy


@pytest.fixture
def changed(tree, tmp_path):
    """Applies changes to a copy of the copy."""

    def change(*titles):
        copy = shutil.copytree(tree, tmp_path / "tree")
        for title in titles:
            assert applied(copy, CHANGES[title]), f"the diff of {title} does not apply; write it anew"
        return copy

    return change


def trainings(folder):
    """The files of a study's trainings, with their contents."""
    return {file.name: file.read_bytes() for file in folder.glob("*seed-0-*.jsonl") if '"training"' in file.read_text()}


def test_every_change_is_shown():
    assert list(CHANGES) == ["A variant", "A measurement", "A figure", "A dataset"]


def test_a_diff_of_another_source_is_seen(tree, tmp_path):
    copy = shutil.copytree(tree, tmp_path / "tree")
    assert not applied(copy, CHANGES["A variant"].replace("import irpe,", "import rpe,"))


def test_a_variant_trains_and_its_proof_holds(tree, changed):
    copy = changed("A variant")
    said = python(copy, "harness.run", "--variants", "sp_sa,slope", "--measure", "accuracy", *ONE_EPOCH)
    assert "2 of 3 cells are there" in said
    assert trainings(tree / "rows").items() < trainings(copy / "rows").items()
    rows = store.load(copy / "rows").query("metric == 'top1' and test_px == 8")
    assert sorted(rows["variant"]) == ["sa", "slope", "sp_sa"]
    assert rows["value"].notna().all()
    proof = ("pytest", "-q", "-p", "no:cacheprovider", "tests/variants/published/test_slope.py")
    assert "passed" in python(copy, *proof)
    file = copy / "variants/slope.py"
    file.write_text(file.read_text().replace("-self.slope * offsets", "self.slope * offsets"))
    assert "the relative difference is" in python(copy, *proof, fails=True)


def test_a_measurement_is_had_from_what_was_kept(tree, changed):
    copy = changed("A measurement")
    before = (copy / "page.html").read_text()
    python(copy, "harness.report", "rows", "--report", "again.html")
    assert (copy / "again.html").read_text() == before, "an old page changes"
    shutil.rmtree(copy / "rows/weights")
    said = python(copy, "harness.run", "--variants", "sp_sa", "--measure", "accuracy,selective", *ONE_EPOCH)
    assert "2 of 4 cells are there" in said
    assert trainings(copy / "rows") == trainings(tree / "rows")
    assert not (copy / "rows/weights").exists(), "something was trained"
    page = Page((copy / "page.html").read_text())
    assert "Selective accuracy" in page.text
    assert "Surer half" in page.text
    rows = store.load(copy / "rows").query("metric == 'selective_top1'").set_index("variant")["value"]
    kept, labels = store.beside(copy / "rows", ".log_probabilities.npy"), load("digits").test_y.numpy()
    expected = sorted(selective(np.load(file), labels) for file in kept.values())
    assert sorted(rows) == pytest.approx(expected, abs=200 / len(labels))  # images may tie


def selective(logs, labels):
    """Top-1 (%) of the half of the images with the most probable guess."""
    logs = logs.astype(float)
    logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))  # what float16 lost
    surer = np.argsort(-logs.max(axis=1), kind="stable")[: len(labels) // 2]
    return 100 * float((logs.argmax(axis=1) == labels)[surer].mean())


def test_a_figure_appears_and_leaves_the_others(changed):
    copy = changed("A figure")
    python(copy, "harness.report", "rows", "--report", "after.html")
    before, after = ((copy / name).read_text() for name in ("page.html", "after.html"))
    old, new = (re.findall(r"<figure.*?</figure>", html, re.DOTALL) for html in (before, after))
    added = [one for one in new if one not in old]
    assert [one for one in new if one in old] == old
    assert len(added) == 1
    assert "Top-1 by seed" in added[0]
    assert re.search(r'download="s1-seeds.csv"', added[0])
    assert after.replace(added[0], "").split() == before.split()


def test_a_dataset_trains(tree, changed):
    copy = changed("A dataset")
    said = python(copy, "harness.run", "--variants", "sp_sa", "--measure", "accuracy", *ONE_EPOCH)
    assert "2 of 2 cells are there" in said
    words = ["--dataset", "gratings", "--variants", "sp_sa", "--measure", "accuracy", "--resolutions", "16"]
    python(copy, "harness.run", *ONE_EPOCH, *words)
    rows = store.load(copy / "rows").query("metric == 'top1' and dataset == 'gratings'")
    assert sorted(rows["variant"]) == ["sa", "sp_sa"]
    assert rows["value"].between(0, 100).all()
    assert trainings(tree / "rows").items() < trainings(copy / "rows").items()


def test_the_guides_keep_up_with_all_changes(changed):
    copy = changed(*CHANGES)
    chosen = "catalogue or tables or layers or circle"
    files = ("tests/test_guides.py", "tests/test_layers.py")
    python(copy, "pytest", "-q", "-p", "no:cacheprovider", *files, "-k", chosen)
