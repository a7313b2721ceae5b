"""The checker and --variant-file as a user meets them: the example, files that are wrong, each in one sentence."""

import copy
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.check import program as check
from harness.check.rules import RULES
from harness.jobs import variant_file
from harness.results import store
from harness.run import program as run
from tests.support import bodies, programs, timings
from tests.support.page import undrawn
from tests.support.programs import spent
from variants import registry

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "my_variant.py"
TINY = ["--preset", "digits", *bodies.FLAGS,
        "--epochs", "2", "--warmup-epochs", "1", "--train-images", "320", "--batch-size", "32", "--speed-rounds", "3",
        "--seeds", "0", "--jobs", "1"]  # fmt: skip
HEAD = "import torch\nfrom torch import nn\nfrom variants import Attention, SpatialRelation, register\n"


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    """Each test in an empty folder, as in a process of its own: what a file registers is forgotten after."""
    for name in ("_classes", "_families", "_home"):
        monkeypatch.setattr(registry, name, copy.deepcopy(getattr(registry, name)))
    monkeypatch.setattr(variant_file, "_loaded", {})
    monkeypatch.chdir(tmp_path)


def written(body, name="mine.py"):
    Path(name).write_text(HEAD + body)
    return name


def relation(term, line):
    return written(f'@register("mine")\nclass Mine(SpatialRelation):\n    def {term}(self, offsets):\n        {line}\n')


def test_the_example_is_short_and_passes(capsys):
    assert len(EXAMPLE.read_text().splitlines()) <= 20
    assert check.main([str(EXAMPLE)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("cauchy, as cauchy cauchy[sigma=1.0] cauchy[sigma=3.0]\n")
    for rule in RULES:
        assert f"  pass  {rule.__doc__.partition(chr(10))[0]}\n" in out
    assert out.endswith(f"cauchy: all {len(RULES)} rules pass\n")


@pytest.mark.parametrize(
    ("term", "line", "says"),
    [
        (
            "bias",
            "return offsets.norm(dim=0).mT[None]",
            r"bias is \[1, 9, 5\] on a 3x5 grid, expected \[4 or 1, 5 or 1",
        ),
        (
            "bias",
            "return offsets.square().sum(0).view(1, 7, 7)",
            r"shape '\[1, 7, 7\]' is invalid .* at mine.py:7 \(3x5",
        ),
        ("bias", "return -offsets.norm(dim=0)[None].log()", "bias on a 4x4 grid is infinite in 1 of 49 entries"),
        ("prior", "return 1 + 0 * offsets.norm(dim=0)[None].log()", "prior on a 4x4 grid is NaN in 1 of 49 entries"),
    ],
)
def test_a_variant_that_is_wrong_fails_with_a_sentence(capsys, term, line, says):
    assert check.main([relation(term, line)]) == 1
    out = capsys.readouterr().out
    assert re.search(r"  FAIL  Every term is a finite tensor .*\n        mine: " + f".*{says}", out), out
    assert re.search(r"mine: \d+ of \d+ rules fail\n$", out)
    assert "Traceback" not in out


def test_what_cannot_be_built_is_said_once(capsys):
    path = written('@register("mine")\nclass Mine(SpatialRelation):\n    def __init__(self, site):\n        1 / 0\n')
    assert check.main([path]) == 1
    out = capsys.readouterr().out
    assert "mine: ZeroDivisionError: division by zero at mine.py:7 (4x4 grid" in out
    assert out.count("FAIL") == 1


def test_registered_names_and_specs_are_checked_too(capsys):
    assert check.main(["window[width=1],psa", "swin+psa"]) == 0
    out = capsys.readouterr().out
    assert "\npsa, as psa psa[init=convit] psa[init=normal]\n" in "\n" + out
    assert "window[width=1], as window[width=1]\n" in out
    assert check.main([str(EXAMPLE), "--spec", "cauchy[sigma=1]+swin"]) == 0
    assert "cauchy[sigma=1.0]+swin, as cauchy[sigma=1.0]+swin\n" in capsys.readouterr().out


WRONG = {
    "no file": (None, "there is no file mine.py; give the Python file"),
    "nothing in it": ("", "mine.py registers no variant; decorate a class"),
    "no python": ("def f(:\n", r"mine.py:4: SyntaxError: invalid syntax"),
    "an error": ("\nwidth = 1 / 0\n", r"mine.py:5: ZeroDivisionError: division by zero"),
    "an import": ("from variants import Relation\n", r"mine.py:4: ImportError: cannot import name 'Relation'"),
    "a module": ("import einops_of_mine\n", r"mine.py:4: ModuleNotFoundError: No module named 'einops_of_mine'"),
    "it leaves": ("raise SystemExit(3)\n", r"mine.py:4: SystemExit: 3"),
    "a taken name": (
        '@register("psa")\nclass Mine(SpatialRelation):\n    pass\n',
        r"mine.py:4: ValueError: the name 'psa' is taken by variants\.psa\.PSA",
    ),
}


@pytest.mark.parametrize(("body", "says"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("program", ["check", "run"])
def test_a_file_that_is_wrong_is_one_sentence_and_nothing_is_written(capsys, program, body, says):
    if body is not None:
        written(body)
    before = sorted(Path().rglob("*"))
    code = check.main(["mine.py"]) if program == "check" else run.main(["--variant-file", "mine.py", *TINY])
    out, err = capsys.readouterr()
    assert code == 2
    assert re.match(rf"harness\.{program}: {says}", err), err
    assert err.count("\n") == 1
    assert "Traceback" not in out + err
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["spsa"], "no variant 'spsa'; did you mean 'sp_sa'"),
        ([str(EXAMPLE), "--spec", "cauchy[width=2]"], "cauchy has no setting 'width'; it has sigma"),
        ([], "target is missing; usage: python -m harness.check"),
        ([str(EXAMPLE.parent)], "no variant"),
    ],
)
def test_a_bad_call_is_one_sentence(capsys, words, says):
    try:
        code = check.main(words)
    except SystemExit as stop:
        code = stop.code
    err = capsys.readouterr().err
    assert code == 2
    assert re.search(says, err), err
    assert err.count("\n") == 1


def test_help_answers_at_once_and_knows_no_torch():
    said, cpu_s = spent([sys.executable, "-m", "harness.check", "--help"])
    assert cpu_s < 0.5  # torch alone takes 2
    assert "my_variant.py" in said
    loaded = "import sys, harness.check.program as p; p.parser(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == ["False"]


def test_the_program_by_its_name():
    done = programs.run("harness.check", EXAMPLE, "--spec", "cauchy")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n  pass  ") == len(RULES)


@undrawn()
def test_the_example_runs_in_a_comparison(capsys, monkeypatch):
    timings.quick(monkeypatch)
    flags = ["--variant-file", str(EXAMPLE), "--variants", "cauchy[sigma=1],sp_sa+cauchy", "--resolutions", "8", *TINY]
    assert run.main([*flags, "--output", "rows", "--report", "page.html"]) == 0
    frame = store.load("rows")
    assert set(frame["variant"]) == {"sa", "cauchy[sigma=1.0]", "sp_sa+cauchy"}
    assert set(frame.loc[frame["variant"] == "cauchy[sigma=1.0]", "family"]) == {"custom"}
    assert frame.loc[frame["metric"].isin(["top1", "gmac", "images_per_s"]), "value"].notna().all()
    assert (frame.groupby(["kind", "variant"])["source_hash"].nunique() == 1).all()
    assert "cauchy[sigma=1.0]" in Path("page.html").read_text()
    assert run.main([*flags, "--output", "rows", "--dry-run"]) == 0
    assert "0 of 14 cells to do" in capsys.readouterr().out
    assert not list(EXAMPLE.parent.glob("__pycache__"))


def test_without_variants_those_of_the_file_take_part(capsys):
    other = written('@register("mine")\nclass Mine(SpatialRelation):\n    pass\n')
    files = ["--variant-file", str(EXAMPLE), "--variant-file", other]
    assert run.main([*files, "--dry-run", "--measure", "accuracy", *TINY]) == 0
    out = capsys.readouterr().out
    assert [line.split("  ")[-1] for line in out.splitlines()[:-1]] == ["sa seed 0", "cauchy seed 0", "mine seed 0"]
    assert not Path("results").exists()


def test_the_contents_of_the_file_enter_the_cells_hash(capsys, monkeypatch):
    from harness.jobs import experiment

    def keys(flags):
        experiment._source_of.cache_clear()  # in a process a name has one source
        monkeypatch.setattr(variant_file, "_loaded", {})
        for name in ("_classes", "_home"):
            getattr(registry, name).pop("mine", None)
        asked = "mine" if flags else "sp_sa"
        assert run.main([*flags, "--dry-run", "--variants", asked, "--measure", "accuracy", *TINY]) == 0
        baseline, variant = capsys.readouterr().out.split("\n")[:2]
        return baseline.split()[0], variant.split()[0]

    body = '@register("mine")\nclass Mine(SpatialRelation):\n    pass\n'
    plain = keys([])
    first = keys(["--variant-file", written(body)])
    moved = keys(["--variant-file", written(body, "moved.py")])
    changed = keys(["--variant-file", written(body.replace("pass", "starts_as_sa = True"), "changed.py")])
    commented = keys(["--variant-file", written(body + "# a comment\n", "commented.py")])
    assert plain == keys([])
    assert len({variant for _, variant in (plain, first, changed)}) == 3
    assert len({baseline for baseline, _ in (plain, first, changed)}) == 1
    assert moved == first == commented


def test_a_file_is_run_once_a_process_and_not_again_when_it_has_changed():
    body = '@register("mine")\nclass Mine(SpatialRelation):\n    pass\n'
    path = Path(written(body))
    assert variant_file.load(path) is variant_file.load(path.absolute())
    written(body + "# changed\n")
    with pytest.raises(ValueError, match="has changed since this process ran it"):
        variant_file.load(path)
