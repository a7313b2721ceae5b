"""The program for a GPU, tried on the CPU, where Triton's interpreter runs the kernels."""

from dataclasses import replace

import pytest
import torch

from harness.gpu import ahead, checks, layers, program
from harness.results import store
from variants import backends
from variants.backends import triton
from variants.backends.triton import tiles

CPU = torch.device("cpu")
SMALL = {"grid": (3, 4), "width": 16}
ABOUT = {"study": "gpu", "device": "cpu"}
interpreted = pytest.mark.skipif(not triton.INSTALLED or torch.cuda.is_available(), reason="nothing is interpreted")


@interpreted
def test_backends_are_compared_with_eager(monkeypatch):
    rows = list(checks.rows("triton", "swin+sp_sa", ABOUT, CPU, **SMALL))
    assert len(rows) == 2 * 2 * 2  # prefix tokens, precisions, output and gradients
    assert all(row["note"] is None and row["value"] < 3e-2 for row in rows)


@interpreted
def test_a_backend_that_is_wrong_is_red(monkeypatch):
    true = triton.attend
    monkeypatch.setitem(backends.BACKENDS, "triton", lambda *given: 1.1 * true(*given))
    rows = [row for row in checks.rows("triton", "sp_sa", ABOUT, CPU, **SMALL) if row["precision"] == "float32"]
    assert all("differs from eager's by" in row["note"] for row in rows)


def test_a_backend_that_refuses_is_a_row_with_the_reason():
    rows = list(checks.rows("sdpa", "sp_sa", ABOUT, CPU, **SMALL))
    assert len(rows) == 4
    assert all(row["value"] is None and "cannot serve prior" in row["note"] for row in rows)


def test_a_kernel_that_cannot_be_compiled_costs_no_other_comparison(monkeypatch):
    class OutOfResources(Exception):
        pass

    def fails(q, k, v, terms):
        if q.dtype == torch.bfloat16:
            raise OutOfResources("shared memory")
        return backends.eager.attend(q, k, v, terms)

    monkeypatch.setitem(backends.BACKENDS, "triton", fails)
    rows = list(checks.rows("triton", "sp_sa", ABOUT, CPU, **SMALL))
    assert [row["note"] for row in rows if row["precision"] == "bfloat16"] == ["OutOfResources: shared memory"] * 2
    assert len([row for row in rows if row["precision"] == "float32" and row["value"] < 1e-6]) == 4


def test_a_gradient_that_is_missing_is_no_agreement():
    one = torch.ones(3)
    with pytest.raises(ValueError, match=r"gradients of \['w'\] are missing"):
        checks.gaps({"out": one, "w": one}, {"out": one})


def test_keys_are_checked_on_rows_of_every_width(monkeypatch):
    """Each kernel of their gradient, and a row of several blocks."""
    one = torch.ones(1)
    monkeypatch.setattr(checks, "found", lambda *given, **named: {"out": one, "x": one})
    grids = [row["grid"].split("x") for row in checks.rows("triton", "rpe_2d", ABOUT, CPU)]
    assert {tiles.contexts_of(int(wide)) for _, wide in grids} == {"contexts16", "contexts32", "contexts64"}
    assert max(int(wide) for _, wide in grids) > 64


@interpreted
def test_layers_are_timed_beside_plain_attention():
    subjects = (layers.BASELINE, ("sp_sa", "triton"), ("sp_sa", "sdpa"))
    rows = list(layers.rows(2, ABOUT, CPU, rounds=1, images=1, subjects=subjects, dtype=torch.float32))
    refused = [row for row in rows if row["value"] is None]
    assert [(row["variant"], row["backend"]) for row in refused] == [("sp_sa", "sdpa")]
    found = {(row["variant"], row["backend"], row["metric"]): row["value"] for row in rows if row["value"] is not None}
    for phase in ("forward", "training"):
        assert found["sp_sa", "triton", f"layer_{phase}_ratio"] > 1
        assert found["sa", "sdpa", f"layer_{phase}_peak_mib"] > 0
        assert ("sa", "again", f"layer_{phase}_ratio") in found
        assert ("sa", "sdpa", f"layer_{phase}_ratio") not in found


def test_what_cannot_be_compiled_here_is_a_sentence(monkeypatch, capsys):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert program.main(["--ahead"]) == 2
    assert (
        "TRITON_INTERPRET=1 has the kernels interpreted, and then nothing is compiled; unset it"
        in capsys.readouterr().err
    )
    monkeypatch.setattr(ahead, "find_spec", lambda name: None)
    assert program.main(["--ahead"]) == 2
    assert "there is no Triton here, which compiles the kernels" in capsys.readouterr().err


def test_without_a_card_it_says_so(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert program.main(["--out", str(tmp_path / "o")]) == 2
    assert "there is no CUDA device here; --dry-run shows the plan, and --ahead compiles" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("minutes", ["0", "-3", "nan", "1e9"])
def test_minutes_that_are_none_are_a_sentence(minutes, capsys):
    assert program.main(["--minutes", minutes, "--device", "cpu"]) == 2
    assert "is no time to work in; it is more than 0 and less than a day" in capsys.readouterr().err


def test_the_plan_begins_with_what_matters_most(capsys):
    assert program.main(["--dry-run", "--minutes", "5", "--variants", "sp_sa"]) == 0
    *pieces, total = capsys.readouterr().out.splitlines()
    looked_for = ("card", "check-triton-sa", "gpu-224 speed", "gpu-512 speed", "layer-64x64", "sp_sa seed 0")
    order = [next(place for place, line in enumerate(pieces) if name in line) for name in looked_for]
    assert order == sorted(order)
    assert pieces[-1].endswith("(if time is left)")
    assert "300 s are given" in total
    assert sum(float(line.split()[0]) for line in pieces) == float(total.split()[0])


def test_a_run_leaves_rows_and_a_summary_and_the_next_goes_on(monkeypatch, capsys, tmp_path):
    """Models and trainings do not fit here."""
    monkeypatch.setattr(checks, "SERVED", {"auto": ["sp_sa"]})
    monkeypatch.setattr(layers, "IMAGES", {2: 1})
    monkeypatch.setattr(layers, "SUBJECTS", (layers.BASELINE, ("sp_sa", "eager")))
    monkeypatch.setattr(program, "GUESSED", program.GUESSED | {"models": 1e6, "training": 1e6})
    given = ["--device", "cpu", "--out", str(tmp_path / "o"), "--variants", "sp_sa", "--minutes", "30"]
    assert program.main(given) == 0
    told = capsys.readouterr()
    assert "8 of 8 comparisons with eager hold" in told.out  # of prefix tokens, precisions, output and gradients
    assert "time of the attention alone, over plain attention's" in told.out
    assert "pieces did not fit: gpu-224 speed, gpu-384 speed" in told.out
    (folder,) = (tmp_path / "o" / "card").iterdir()
    assert folder.name.startswith("cpu-")  # rows of a card, or of other kernels, lie elsewhere
    rows = store.load(folder)
    assert set(rows["metric"]) >= {"card", "parity", "train_parity", "layer_forward_ratio", "layer_training_peak_mib"}
    assert rows.loc[rows["metric"] == "card", "note"].item() == "no card: this ran on cpu"
    before = sorted((path, path.stat().st_mtime_ns) for path in folder.iterdir())
    assert program.main(given) == 0
    assert sorted((path, path.stat().st_mtime_ns) for path in folder.iterdir()) == before


def test_where_nothing_fits_it_says_so(capsys, tmp_path):
    assert program.main(["--device", "cpu", "--out", str(tmp_path / "o"), "--minutes", "0.001"]) == 0
    assert "pieces did not fit: card, check-sdpa-sa" in capsys.readouterr().out


def test_a_red_comparison_is_told_and_the_exit_code_is_1(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(checks, "SERVED", {"sdpa": ["sp_sa"]})
    monkeypatch.setattr(layers, "IMAGES", {})
    monkeypatch.setattr(program, "GUESSED", program.GUESSED | {"models": 1e6, "training": 1e6})
    assert program.main(["--device", "cpu", "--out", str(tmp_path / "o"), "--minutes", "30"]) == 1
    told = capsys.readouterr().out
    assert "0 of 4 comparisons with eager hold" in told
    assert "sdpa sp_sa float32: Unsupported: the sdpa backend adds to the scores" in told


def test_models_and_trainings_make_a_page(monkeypatch, tmp_path):
    """Small ones: a body of nano's size timed at one resolution, and one epoch of the default study."""
    timed, preset = program.models(224), program.PRESETS[program.DEFAULT]()
    recipe = replace(preset.recipe, epochs=1, cooldown_epochs=0, warmup_epochs=0)
    small = replace(timed, size="nano", img_size=16, patch_size=8, resolutions=(16,), speed_rounds=1)
    monkeypatch.setattr(checks, "SERVED", {})
    monkeypatch.setattr(layers, "IMAGES", {})
    monkeypatch.setattr(program, "PIXELS", (16,))
    monkeypatch.setattr(program, "models", lambda px: replace(small, recipe=replace(timed.recipe, batch_size=2)))
    monkeypatch.setitem(program.PRESETS, program.DEFAULT, lambda: replace(preset, recipe=recipe, seeds=(0,)))
    folder = tmp_path / "o"
    assert program.main(["--device", "cpu", "--out", str(folder), "--variants", "sp_sa", "--minutes", "30"]) == 0
    rows = store.load(folder / "models")
    assert set(rows["metric"]) >= {"images_per_s", "train_ratio", "peak_mib", "top1"}
    assert len(list((folder / "models" / "recipes").iterdir())) == 2
    page = (folder / "report.html").read_text()
    assert "its file is missing" not in page
    assert "study gpu-224" in page
