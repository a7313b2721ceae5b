"""The program as a user meets it: bad input, resume, failure, damage, the whole job in small."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from harness.presets import digits
from harness.report import __main__ as report
from harness.results import store
from harness.run import flags, program
from tests.support import bodies, programs, timings
from tests.support.page import undrawn
from tests.support.programs import spent

ROOT = Path(__file__).parents[3]
TINY = ["--preset", "digits", *bodies.FLAGS,
        "--epochs", "2", "--warmup-epochs", "1", "--train-images", "320", "--batch-size", "32", "--speed-rounds", "3",
        "--seeds", "0-1", "--jobs", "1"]  # fmt: skip


@pytest.fixture
def there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--variants", "spsa"], "no variant 'spsa'; did you mean 'sp_sa'.*rpe_1d"),
        (["--variants", ""], "empty place"),
        (["--variants", "sp_sa[depth=3]"], "no setting 'depth'"),
        (["--variants", "sp_sa[scope=model]"], "head or layer or network"),
        (["--variants", "sp_sa[hidden=16"], "opens a bracket"),
        (["--variants", "sa+rpe"], "'rpe' is a family"),
        (["--variants", "psa", "--size", "small", "--patch-size", "2"], "psa: the local .* square number of heads"),
        (["--seeds", "5-2"], "ends before it starts; write 2-5"),
        (["--seeds", "x"], "is not a list of seeds; write 0-2"),
        (["--seeds=-1"], "is not a list of seeds; write 0-2"),
        (["--epochs", "-1"], "epochs=-1 must be at least 1"),
        (["--epochs", "ten"], "--epochs 'ten' is not a whole number; write one such as 20"),
        (["--lr", "-1", "--min-lr", "-2"], "lr=-1"),
        (["--lr", "nan"], "lr=nan"),
        (["--batch-size", "0"], "batch_size=0"),
        (["--batch-size", "2000"], "a batch of 2000 is more than the 1077"),
        (["--warmup-epochs", "30"], "leave nothing"),
        (["--resolutions", "0"], "resolution 0 has no pixel"),
        (
            ["--resolutions", "9"],
            "--resolutions 9, given or of the preset: an image of 9x9 px cannot be cut into patches",
        ),
        (["--resolutions", "a"], "'a' is not a list of sizes in pixels; write 8,12 or 8x12"),
        (["--resolutions", "8x0"], "resolution 8x0 has no pixel"),
        (["--resolutions", "8x9"], "8x9 px cannot be cut into patches of 2 px"),
        (["--train-fractions", "0"], "train fractions .* must be above 0 and up to 1; write 0.1,1"),
        (["--train-fractions", "0.001"], "fewer than the 10 classes"),
        (["--train-fractions", "x"], "--train-fractions 'x' is not a number"),
        (["--train-images", "5000"], "--train-images 5000 is not available: digits has 1077 in 10 classes"),
        (["--train-images", "1075"], "choose 10 to 1067, or 1077 for all"),
        (["--finetune-epochs", "-1"], "finetune_epochs=-1 must be at least 0"),
        (["--mixup", "0.8", "--batch-size", "63"], "by pairs, so batch_size=63 must be even"),
        (["--hflip", "2"], "hflip=2.0 must be a share between 0 and 1"),
        (["--aa", "rant-m9"], "aa='rant-m9' is no policy of timm's; write rand-m9-mstd0.5-inc1"),
        (["--scale", "0", "1"], r"scale=\(0.0, 1.0\) must be two shares, the smaller one first"),
        (["--reach", "101"], "reach=.* must be percentages, above 0 and up to 100; write 90,95"),
        (["--amp", "--amp-dtype", "float16"], "float16 needs a scaled loss"),
        (["--amp-dtype", "bfloat16"], "--amp-dtype has no effect without --amp"),
        (["--jobs", "0"], "jobs=0 must be at least 1"),
        (["--match", "size"], "--match 'size' is unknown; choose params, gmac"),
        (["--preset", "digits:colour"], "no ablation 'colour'; choose layers, token"),
        (["--preset", "imagenet100"], "folder"),
        (["--preset", "digits:token", "--class-token", "none"], "varies --class-token itself"),
        (["--finetune-epochs", "5", "--resolutions", "8"], "needs a resolution that differs from the training size"),
        (
            ["--dataset", "probes:corner", "--patch-size", "4", "--train-fractions", "0.1,1"],
            "--train-fractions means no",
        ),
        (
            ["--dataset", "probes:corner", "--patch-size", "4", "--hflip", "0.5"],
            "--hflip means nothing for probes:corner",
        ),
        (["--scale", "0.5", "1"], "--scale means nothing for digits, a set in memory"),
        (["--lr", "1e-7"], "min_lr=1e-05 is above lr=1e-07"),
        (["--aa", "rand-mx"], "is no policy of timm's"),
        (["--dataset", "folder:x", "--data-dir", "y"], "both say where"),
        (["--img-size", "7"], "7x7 px cannot be cut"),
        (["--num-heads", "5"], "cannot be shared by 5 heads"),
        (["--dataset", "imagenot"], "no dataset 'imagenot'; choose digits"),
        (["--preset", "imagenot"], "no preset 'imagenot'; choose digits"),
        (["--size", "huge"], "no size 'huge'; choose nano, micro"),
        (["--measure", "beauty"], "no measurement beauty; choose cost"),
        (["--baseline", "nope"], "no variant 'nope'"),
        (["--backend", "sdpa", "--variants", "sp_sa"], "sp_sa: the sdpa backend .* cannot serve prior"),
        (["--backend", "turbo"], "no backend 'turbo'"),
        (["--device", "cuda"], "no CUDA GPU"),
        (["--device", "cpu:abc"], "no device 'cpu:abc'; choose auto, cpu, cuda"),
        (["--variants", "sp_sa[hidden=100000000000]"], "RuntimeError at .*sp_sa.py"),
        (["--speed-rounds", "0"], "speed_rounds=0 must be at least 1"),
        (["--pos-std", "nan"], "pos_std=nan must be a finite number"),
        (["--lr", "inf"], "lr=inf must be a finite number"),
        (["--seeds", "99999999999999999999"], r"must be from 0 and below 2\*\*63"),
        (["--spatial-layers", "0"], "0 spatial layers leave no layer"),
        (["--device", "abacus"], "no device 'abacus'; choose auto, cpu, cuda"),
        (["--spatial-layers", "9"], "9 spatial layers do not fit"),
        (["--class-token", "early"], "--class-token 'early' is unknown; choose late, input, none"),
        (["--nonsense"], "there is no flag --nonsense; --help lists all flags"),
        (["--epoch-s", "3"], "there is no flag --epoch-s; did you mean --epochs"),
        (["--epochs"], "--epochs needs a value; write --epochs N"),
        (["digits"], "'digits' follows no flag; leave it out"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(there, capsys, flags, says):
    if flags == ["--device", "cuda"]:
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has a CUDA GPU")
    try:
        code = program.main(flags if "--preset" in flags else ["--preset", "digits", *flags])
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    assert code == 2
    assert re.search(says, err), err
    assert err.count("\n") == 1
    assert "Traceback" not in out + err
    assert list(there.iterdir()) == []


def test_an_output_that_cannot_be_written_is_a_sentence(there, capsys):
    (there / "file").write_text("")
    assert program.main(["--output", "file/rows"]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert [p.name for p in there.iterdir()] == ["file"]


def test_a_report_that_is_a_folder_is_a_sentence_before_any_work(there, capsys):
    (there / "page").mkdir()
    assert program.main(["--report", "page"]) == 2
    assert "page is a folder; name the HTML file" in capsys.readouterr().err
    assert [p.name for p in there.rglob("*")] == ["page"]


@undrawn()
def test_a_baseline_is_any_spec_however_written(there, monkeypatch):
    timings.quick(monkeypatch)
    assert (
        program.main(
            ["--baseline", "sp_sa[hidden=32]", "--variants", "psa", "--measure", "speed", "--resolutions", "8", *TINY]
        )
        == 0
    )
    frame = store.load("results/digits")
    assert set(frame.loc[frame["metric"] == "aa_ratio", "variant"]) == {"sp_sa"}
    assert "against sp_sa" in Path("reports/digits.html").read_text()


def test_a_variant_whose_cost_cannot_be_counted_costs_no_other_its_own(there, monkeypatch):
    from harness.measure import cost

    count = cost.count

    def picky(model, images):
        if model.spec == "psa":
            raise NotImplementedError("the cost of aten::odd is not known")
        return count(model, images)

    monkeypatch.setattr(cost, "count", picky)
    assert program.main(["--variants", "psa", "--measure", "cost", *TINY]) == 0
    frame = store.load("results/digits").set_index(["metric", "variant"])["value"]
    assert frame["gmac"].notna().to_dict() == {"sa": True, "psa": False}
    assert frame["params"].notna().all()


@undrawn()
def test_timings_of_another_run_or_to_another_baseline_are_not_mixed_in(there, monkeypatch):
    """The page's ratios and floor are those of one run's rounds; a later run to psa leaves them alone."""
    timings.quick(monkeypatch)
    flags = ["--measure", "speed", "--resolutions", "8", *TINY]
    assert program.main(["--variants", "sp_sa,psa", *flags]) == 0
    first = store.load("results/digits")
    assert program.main(["--variants", "sp_sa", "--baseline", "psa", *flags]) == 0
    assert program.main(["--variants", "sp_sa,psa", *flags]) == 0
    from harness.report.analysis.timing import chosen, speed
    from harness.report.study.study import study

    page = study(store.load("results/digits"), store.recipes(Path("results/digits"))).settings[0]
    condition = chosen(page, "")
    found = first[(first["metric"] == "ratio") & (first["variant"] == "sp_sa")]["value"].item()
    assert page.baseline == "sa"
    assert speed(page, "sp_sa", "", condition, "").ratio.value == pytest.approx(found)
    assert condition.aa.value == pytest.approx(first[first["metric"] == "aa_ratio"]["value"].item())


def test_a_row_names_the_commit_of_this_source_alone(tmp_path, monkeypatch):
    from harness.results import provenance

    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setattr(provenance, "ROOT", tmp_path / "site-packages")
    (tmp_path / "site-packages").mkdir()
    assert provenance.code.__wrapped__().startswith("v")


def test_the_note_on_the_recipe_is_the_presets_only_where_the_recipe_is():
    def note(*given):
        return flags.study_of(flags.parser().parse_args(["--preset", "digits", *given])).note

    assert note("--seeds", "0-4", "--measure", "cost") == digits().note
    for given in (["--lr", "1"], ["--epochs", "30"], ["--size", "tiny"], ["--pos-std", "0.02"]):
        assert note(*given) == "the preset digits with other settings, for which it was not tuned"


def test_help_answers_at_once_and_knows_no_torch():
    said, cpu_s = spent([sys.executable, "-m", "harness.run", "--help"])
    assert cpu_s < 0.5
    assert "--variants" in said
    loaded = "import sys, harness.run.program as p; p.parser(); print('torch' in sys.modules, 'pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_dry_run_lists_the_cells_and_writes_nothing(there, capsys):
    assert program.main(["--dry-run", *TINY, "--variants", "paper", "--num-heads", "2"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"to do  cost\n", out)
    assert re.search(r"to do  sp_sa seed 1\n", out)
    assert re.search(r"to do  sp_sa seed 1 maps\n", out)
    assert re.search(r"refused  psa: the local initialisation", out)
    assert re.search(r"58 of 58 cells to do, about \d+ (s|min) on .*thread.*; nothing was written", out)
    assert list(there.iterdir()) == []


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A whole run in small, seen by the tests below."""
    folder = tmp_path_factory.mktemp("study")
    flags = [
        "--variants",
        "sp_sa,rpe_2d",
        "--measure",
        "cost,speed,accuracy,shift",
        *TINY,
        "--output",
        str(folder / "rows"),
        "--report",
        str(folder / "page.html"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        timings.quick(patch)
        assert program.main(flags) == 0
    return folder, flags


def test_every_measurement_that_is_asked_for_is_in_the_rows(study):
    frame = store.load(study[0] / "rows")
    count = frame.groupby("metric")["value"].count()
    assert set(frame["variant"]) == {"sa", "sp_sa", "rpe_2d"}
    expected = {
        "params": 3, "undecayed": 3, "gmac": 3, "parity": 15, "train_parity": 9, "loss": 12, "train_s": 12,
        "val_top1": 12, "top1": 18, "shift_px_consistency": 6, "shift_patch_consistency": 6,
        "latency_ms": 3, "latency_ratio": 2, "latency_aa_ratio": 1,
    }  # fmt: skip
    for prefix in ("", "train_"):  # at three resolutions
        expected |= {f"{prefix}{metric}": 9 for metric in ("images_per_s", "peak_mib", "mfu")}
        expected |= {f"{prefix}ratio": 6, f"{prefix}aa_ratio": 3, f"{prefix}ceiling_gmac_per_s": 3}
    assert count.to_dict() == expected
    top1 = frame[frame["metric"] == "top1"]
    assert set(top1["test_px"]) == {8, 12, 16}
    assert set(top1["grid"]) == {"4x4", "6x6", "8x8"}
    assert set(top1["seed"]) == {0, 1}
    assert (top1["n"] == 360).all()
    assert frame["recipe_hash"].nunique() == 1
    assert (frame.groupby(["kind", "variant"])["source_hash"].nunique() == 1).all()
    made_by = frame["source_hash"].str.extract(r"([0-9a-f]{10})\+([0-9a-f]{10})(?:\+[0-9a-f]{10})?$")
    assert made_by.notna().all().all()
    assert made_by[0].groupby(frame["kind"]).nunique().eq(1).all()  # what its kind executes
    assert made_by[1].groupby(frame["variant"]).nunique().eq(1).all()  # what is its variant's own
    assert made_by[1].nunique() == 3
    assert frame["code"].notna().all()
    recipe = store.recipes(study[0] / "rows")[frame["recipe_hash"][0]]
    assert recipe["epochs"] == 2
    assert recipe["command"].startswith("python -m harness.run --variants sp_sa,rpe_2d")
    assert "not tuned" in recipe["note"]


def test_the_correctness_of_each_image_gives_the_accuracy(study):
    frame = store.load(study[0] / "rows")
    for file in (study[0] / "rows").glob("*.correct.npy"):
        cell = file.name.split("-")[-1].removesuffix(".correct.npy")
        rows = frame[(frame["cell"] == cell) & (frame["metric"] == "top1")].sort_values("test_px")
        assert (100 * np.load(file).mean(axis=1)).tolist() == pytest.approx(rows["value"].tolist())


def test_the_report_is_there(study):
    page = (study[0] / "page.html").read_text()
    assert "sp_sa" in page
    assert len(page) < 3_000_000


def test_the_same_command_does_nothing_twice_and_a_lost_cell_comes_back_the_same(study, capsys):
    folder, flags = study
    before = {f.name: f.read_bytes() for f in (folder / "rows").glob("*.jsonl")}
    lost = next(name for name in before if name.startswith("sp_sa-seed-1-") and "shift" not in name)
    (folder / "rows" / lost).unlink()
    assert program.main(flags) == 0
    assert "13 of 14 cells are there" in capsys.readouterr().out
    after = {f.name: f.read_bytes() for f in (folder / "rows").glob("*.jsonl")}
    assert {name for name in before if before[name] != after[name]} <= {lost}

    def facts(content):
        rows = [json.loads(line) for line in content.splitlines()]
        return [(r["metric"], r["epoch"], r["test_px"], r["value"]) for r in rows if r["metric"] != "train_s"]

    assert facts(before[lost]) == facts(after[lost])


@undrawn()
def test_damage_is_named_the_rest_renders_and_the_code_is_1(study, capsys, tmp_path):
    folder, flags = study
    extra = folder / "rows" / "damaged.jsonl"
    extra.write_text('{"study": \n')
    try:
        assert program.main(flags) == 1
        assert f"{extra}:1: " in capsys.readouterr().err
        assert report.main([str(folder / "rows"), "--report", str(tmp_path / "p.html")]) == 1
        assert "damaged.jsonl:1: " in capsys.readouterr().err
        assert "sp_sa" in (tmp_path / "p.html").read_text()
    finally:
        extra.unlink()


@undrawn()
def test_a_cell_that_fails_is_recorded_and_costs_no_other(there, monkeypatch, capsys):
    from harness.jobs.kinds import training as training_cell

    real = training_cell.train

    def failing(training, *args):
        if training.model.spec == "psa":
            raise RuntimeError("out of luck")
        return real(training, *args)

    flags = ["--variants", "psa,sp_sa", "--measure", "accuracy", "--resolutions", "8", *TINY]
    monkeypatch.setattr(training_cell, "train", failing)
    assert program.main(flags) == 1
    assert "psa seed 0 failed: RuntimeError: out of luck" in capsys.readouterr().err
    frame = store.load("results/digits")
    notes = frame.loc[frame["value"].isna(), ["variant", "seed", "note"]]
    assert notes["variant"].tolist() == ["psa", "psa"]
    assert notes["note"].str.contains("Traceback").all()
    assert "out of luck" in Path("reports/digits.html").read_text()
    monkeypatch.setattr(training_cell, "train", real)
    assert program.main(flags) == 0
    assert store.load("results/digits")["value"].notna().all()


def test_a_full_disk_is_a_sentence(there, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "fsync", full)
    assert program.main(["--measure", "cost", *TINY]) == 1
    err = capsys.readouterr().err
    assert "No space left on device" in err
    assert "Traceback" not in err


@undrawn()
@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_whatever_stops_it_complete_cells_stay_and_the_command_goes_on(there, kill):
    flags = ["--variants", "sp_sa", "--measure", "accuracy", "--resolutions", "8", *TINY]
    process = programs.start("harness.run", *flags)
    deadline = time.monotonic() + 300
    while not list(there.glob("results/digits/*.jsonl")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(kill)
    _, err = process.communicate(timeout=300)
    assert process.returncode == (130 if kill == signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in err
    done = {f: f.read_bytes() for f in there.glob("results/digits/*.jsonl")}
    assert len(done) < 4
    assert store.load("results/digits").attrs["damaged"] == []
    assert program.main(flags) == 0
    assert len(list(there.glob("results/digits/*.jsonl"))) == 4
    assert all(f.read_bytes() == content for f, content in done.items())


def test_a_changed_source_is_another_cell(monkeypatch):
    from harness import data
    from harness.jobs.experiment import Experiment
    from harness.jobs.kinds.training import Trained
    from harness.jobs.plan import device_of
    from harness.results import source

    experiment = Experiment(digits(), data.load("digits"), device_of("cpu"))
    before = Trained(experiment, "sa", 0).key
    assert Trained(experiment, "sa", 0).key == before
    assert Trained(experiment, "sa", 1).key != before
    monkeypatch.setattr(source, "digest", lambda modules: "another")
    assert Trained(experiment, "sa", 0).key != before
