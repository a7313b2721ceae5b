"""Priors made masks: which offsets stay, what the model then computes, and the program that records it."""

import json

import pytest
import torch
from PIL import Image

from harness.binarize import accuracy, program, times
from harness.binarize.accuracy import Arm, arms
from harness.binarize.gathered import Gathered
from harness.binarize.masks import Kept, binarise, deviation, largest, pairs
from harness.binarize.times import GatheredAttention
from harness.jobs import plan
from harness.measure.rollout import kept_maps
from harness.presets import digits
from harness.results import store
from harness.run import program as run
from tests.support.page import undrawn
from variants import build
from variants.backends import flex, order
from variants.geometry import coordinates, to_pairs
from variants.relation import Site, Unsupported

GRIDS = [(4, 4), (3, 5)]


def layer(grid, spec="sp_sa"):
    """A trained-like attention: its prior is far from 1."""
    attention = build(spec, 16, 2, grid=grid).double().eval()
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
    return attention


# ---- which offsets


def test_the_largest_scores_stay_and_the_centre_always():
    scores = torch.zeros(2, 3, 5)
    scores[0, 0, 0], scores[0, 2, 4], scores[1, 1, 4] = 5.0, 4.0, 3.0
    found = largest(scores, 3 / 15)
    assert found.sum((1, 2)).tolist() == [3, 3]
    assert found[0].nonzero().tolist() == [[0, 0], [1, 2], [2, 4]]
    assert found[1, 1, 4]
    assert found[:, 1, 2].all()
    assert found[1].nonzero().tolist() in (
        [[0, 2], [1, 2], [1, 4]],
        [[1, 1], [1, 2], [1, 4]],
    )  # equal ones: the nearest
    assert largest(scores, 1.0).all()
    assert largest(scores, 1e-9).sum((1, 2)).tolist() == [1, 1]


def wrong_pairs(share, table, grid):
    """Whether the share of pairs differs from counting them one by one."""
    y, x = coordinates(grid)
    dy, dx = y[None] - y[:, None] + grid[0] - 1, x[None] - x[:, None] + grid[1] - 1
    return not torch.allclose(share, table[:, dy, dx].double().mean((1, 2)))


@pytest.mark.parametrize("grid", GRIDS)
def test_the_share_of_pairs_is_that_of_counting_them(grid):
    table = torch.rand(2, 2 * grid[0] - 1, 2 * grid[1] - 1) < 0.4
    assert not wrong_pairs(pairs(table, grid), table, grid)
    assert wrong_pairs(table.double().mean((1, 2)), table, grid)  # mutant: the share of offsets


def by_loops(attention, table, form, x, grid):
    """The output by the equation, pair by pair: Omega inside or 1, nothing outside."""
    q, k, v = attention.project(x, grid)
    prior = deviation_signed(attention, grid)
    out = torch.zeros_like(q)
    h, w = grid
    for head in range(2):
        for i in range(h * w):
            logits = {}
            for j in range(h * w):
                dy, dx = j // w - i // w + h - 1, j % w - i % w + w - 1
                if table[head, dy, dx]:
                    omega = prior[head, dy, dx] if form == "values" else 1.0
                    logits[j] = omega * (q[:, head, i] * k[:, head, j]).sum(-1) / 8**0.5
            weights = torch.stack(list(logits.values())).softmax(0)
            out[:, head, i] = sum(a[:, None] * v[:, head, j] for a, j in zip(weights, logits, strict=True))
    return attention.proj(out.transpose(1, 2).flatten(2))


def deviation_signed(attention, grid):
    from variants.geometry import offsets

    return attention.relation.prior(offsets(grid, dtype=torch.float64))


@pytest.mark.parametrize("form", ["values", "ones"])
@pytest.mark.parametrize("grid", GRIDS)
@torch.no_grad()
def test_a_binarised_layer_is_its_equation(grid, form):
    attention, x = layer(grid), torch.randn(2, grid[0] * grid[1], 16, dtype=torch.float64)
    scores = deviation(attention, grid)
    torch.testing.assert_close(scores, (deviation_signed(attention, grid) - 1).abs())
    table = largest(scores, 0.4)
    expected = by_loops(attention, table, form, x, grid)
    mutants = [by_loops(attention, table.flip(-2, -1), form, x, grid),  # query minus key
               by_loops(attention, ~table | largest(scores, 1e-9), form, x, grid)]  # fmt: skip  # the smallest stay
    before = attention(x, grid)
    binarise(attention, {grid: table}, form)
    torch.testing.assert_close(attention(x, grid), expected)
    assert not any(torch.allclose(expected, one, rtol=1e-3) for one in [*mutants, before])


def test_a_grid_without_a_table_is_refused():
    relation = Kept(Site(2, 8, (4, 4)), {(4, 4): torch.ones(2, 7, 7, dtype=torch.bool)})
    with pytest.raises(ValueError, match="no offsets were chosen for a 6x6 grid, only for 4x4"):
        relation.fixed((6, 6), torch.device("cpu"))


def test_other_summands_stay():
    attention = layer((4, 4), "sp_sa+swin[window=2]")
    binarise(attention, {(4, 4): torch.ones(2, 7, 7, dtype=torch.bool)}, "ones")
    terms = attention.relation.terms((4, 4), torch.device("cpu"), torch.float64)
    assert terms.present == {"groups", "kept"}


# ---- gathered


@pytest.mark.parametrize("form", ["values", "ones"])
@pytest.mark.parametrize("grid", [(4, 4), (3, 5), (6, 8)])
@torch.no_grad()
def test_gathering_gives_what_eager_gives_and_computes_less(grid, form):
    attention, x = layer(grid), torch.randn(3, grid[0] * grid[1], 16, dtype=torch.float64)
    near = -torch.hypot(*torch.meshgrid(torch.arange(1.0 - grid[0], grid[0]), torch.arange(1.0 - grid[1], grid[1]),
                                        indexing="ij"))  # fmt: skip
    table = largest(near.expand(2, -1, -1), 0.1)
    binarise(attention, {grid: table}, form)
    gathered = GatheredAttention.of(attention, x, grid)
    torch.testing.assert_close(gathered(x, grid), attention(x, grid))
    attended = float(pairs(table, grid).sum()) * (grid[0] * grid[1]) ** 2
    assert attended <= gathered.plan.executed + 1e-6 <= 2 * (grid[0] * grid[1]) ** 2 + 1e-6
    if grid == (6, 8):
        assert gathered.plan.executed < 2 * 48**2
    head = gathered.plan.heads[0]
    head.keys.copy_(head.keys.roll(1, 0))  # mutant: another tile's keys
    assert not torch.allclose(gathered(x, grid), attention(x, grid)) or len(head.keys) == 1


def test_gathering_refuses_what_it_cannot():
    terms = layer((4, 4)).terms(torch.zeros(1, dtype=torch.float64), (4, 4))
    with pytest.raises(Unsupported, match="wants a mask"):
        Gathered(terms, 2)
    with pytest.raises(Unsupported, match="LePE attends in its own way"):
        GatheredAttention.of(layer((4, 4), "sp_sa+lepe"), torch.zeros(1, 16, 16), (4, 4))


# ---- what is timed


def near(grid, reach):
    """bool [2, 2h-1, 2w-1]: offsets of at most `reach` patches."""
    y, x = (torch.arange(1 - side, side).abs() for side in grid)
    return (torch.maximum(y[:, None], x) <= reach).expand(2, -1, -1)


def masked(grid, *tables):
    """Layers with these masks, each by flex, and their input."""
    found = []
    for table in tables:
        attention = layer(grid).float()
        binarise(attention, {grid: table}, "values")
        found.append(times.backed(attention, "flex"))
    return found, torch.randn(1, grid[0] * grid[1], 16)


@torch.no_grad()
def test_the_share_of_blocks_is_that_of_the_masks_in_flexs_order():
    grid = (8, 8)
    layers, x = masked(grid, near(grid, 1), near(grid, 7))
    kept = layers[0].terms(x, grid).kept
    best = order.best(kept, grid, flex.BLOCK["cpu"], 0)
    turned = kept if best is None else kept[:, best][:, :, best]
    share = 100 * order.filled(turned, flex.BLOCK["cpu"], 0) / (2 * 4**2)
    assert share < 100
    assert times.blocks(layers, x, grid) == pytest.approx((share + 100) / 2)
    assert times.blocks(layers[:1], x, grid) != pytest.approx((share + 100) / 2)  # mutant: one layer's


@torch.no_grad()
def test_what_cannot_be_compiled_or_is_not_eagers_is_not_timed_and_says_why(monkeypatch):
    def fails(*args, **settings):
        raise flex.BackendCompilerFailed(lambda: None, RuntimeError("no compiler"), [])

    layers, x = masked((4, 4), near((4, 4), 1))
    truth = times.through([times.backed(layers[0], "eager")], x, (4, 4))
    monkeypatch.setattr(flex, "compiled", lambda: by_formula)
    assert times.obstacle(layers, truth, x, (4, 4)) == ""
    assert "its output differs from eager's by" in times.obstacle(layers, 1.01 * truth, x, (4, 4))
    monkeypatch.setattr(flex, "compiled", lambda: fails)
    assert "the flex backend could not be compiled" in times.obstacle(layers, truth, x, (4, 4))


def test_mass_is_the_attention_that_lies_on_an_offset(study):
    folder, _ = study
    frame = store.load(folder)
    ((recipe_hash, found),) = program.trained(frame, folder).items()
    made = program.study_of(store.recipes(folder)[recipe_hash], recipe_hash, folder)
    one = plan.experiment_of(plan.StudyArm(made), (), "cpu")
    model = accuracy.loaded(one, found[0])
    masses = accuracy.mass(one, model, (8, 8))
    assert [among.shape for among in masses] == [(4, 7, 7)] * 4
    for among in masses[:2]:
        torch.testing.assert_close(among.sum((1, 2)), torch.full((4,), 16.0))  # each query spends 1
    images = next(iter(one.shown("val", (8, 8), most=accuracy.MASS_IMAGES)))[0]
    with kept_maps(model) as maps:
        model(images)
    below = torch.zeros(7, 7)
    below[4, 3] = 1  # Delta = (1, 0)
    on_pairs = (maps[0].detach().mean(0) * to_pairs(below, (4, 4))).sum((1, 2))
    torch.testing.assert_close(masses[0][:, 4, 3], on_pairs, rtol=0.05, atol=0.05)  # of about the same images
    assert not torch.allclose(masses[0][:, 3, 4], on_pairs, rtol=0.05, atol=0.05)  # mutant: axes swapped


# ---- the program


def by_formula(q, k, v, score_mod, block_mask):
    """What FlexAttention computes, which takes seconds to compile for each shape."""
    head, number = torch.arange(q.shape[1])[:, None, None], torch.arange(q.shape[2])
    scores = q @ k.mT / q.shape[-1] ** 0.5
    scores = scores if score_mod is None else score_mod(scores, 0, head, number[:, None], number)
    if block_mask is not None:
        scores = scores.where(block_mask.mask_mod(0, head, number[:, None], number), -torch.inf)
    return scores.softmax(dim=-1) @ v


FLAGS = ["--preset", "digits",
         "--epochs", "2", "--warmup-epochs", "1", "--batch-size", "256", "--seeds", "0", "--measure", "accuracy",
         "--resolutions", "8", "--jobs", "1"]  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A short study with a trained sp_sa, binarised: its folder, and what the program returned."""
    folder = tmp_path_factory.mktemp("study")
    patch = pytest.MonkeyPatch()
    patch.setattr(times, "LARGER", ((6, 6),))
    patch.setattr(times, "ROUNDS", 3)
    patch.setattr(flex, "compiled", lambda: by_formula)
    rows, page = folder / "rows", ["--report", str(folder / "page.html")]
    with undrawn():
        assert run.main(["--variants", "sp_sa", *FLAGS, "--output", str(rows), *page]) == 0
    command = [str(rows), "--keep", "0.25", "--finetune-epochs", "1", *page]
    yield rows, (program.main(command), command)
    patch.undo()


def test_arms_have_one_name_each_and_what_keeps_all_is_a_control():
    names = [one.name for one in arms("sp_sa", (0.25, 0.5), ("deviation", "mass"), ("values", "ones"))]
    assert names[:3] == ["sp_sa kept 100 %", "sp_sa kept 100 %, prior 1", "sp_sa kept 50 % by deviation"]
    assert len(names) == len(set(names)) == 2 + 2 * 2 * 2
    assert Arm("sp_sa", 0.07, "mass", "ones").name == "sp_sa kept 7 % by mass, prior 1"


def test_accuracy_pairs_gmacs_and_times_are_recorded(study):
    folder, (code, _) = study
    assert code == 0
    frame = store.load(folder)
    kept = frame[frame["family"] == "binarised"]
    assert set(kept["variant"]) == {
        "sp_sa kept 100 %", "sp_sa kept 100 %, prior 1", "sp_sa kept 25 % by deviation",
        "sp_sa kept 25 % by deviation, prior 1",
    }  # fmt: skip
    top1 = kept[kept["metric"] == "kept_top1"].set_index("variant")["value"]
    trained = frame[(frame["metric"] == "top1") & (frame["variant"] == "sp_sa")]["value"]
    assert top1["sp_sa kept 100 %"] == trained.item()  # the same weights, nothing dropped
    tuned = kept[kept["metric"] == "kept_finetuned_top1"]["params"]
    assert len(tuned) == 4
    assert all(params["rates"] == 2 and params["epochs"] == 1 for params in tuned)
    assert {params["lr"] for params in tuned} <= {digits().recipe.lr / 80, digits().recipe.lr / 8}
    assert all(0 < params["val_top1"] <= 100 for params in tuned)
    said = {row["variant"]: {word: row["params"][word] for word in ("spec", "keep", "by", "ones")}
            for row in kept.to_dict("records")}  # fmt: skip
    assert said == {
        "sp_sa kept 100 %": {"spec": "sp_sa", "keep": 100.0, "by": "", "ones": False},
        "sp_sa kept 100 %, prior 1": {"spec": "sp_sa", "keep": 100.0, "by": "", "ones": True},
        "sp_sa kept 25 % by deviation": {"spec": "sp_sa", "keep": 25.0, "by": "deviation", "ones": False},
        "sp_sa kept 25 % by deviation, prior 1": {"spec": "sp_sa", "keep": 25.0, "by": "deviation", "ones": True},
    }
    shares = kept[(kept["metric"] == "kept_pairs") & (kept["test_px"] == 8)].set_index("variant")["value"]
    assert (shares["sp_sa kept 100 %"] == 100).all()
    assert (shares["sp_sa kept 25 % by deviation"] < 60).all()
    gmac = kept[kept["test_px"] == 8].groupby(["variant", "metric"])["value"].first()
    for metric in ("kept_gmac", "kept_executed_gmac"):
        assert gmac["sp_sa kept 25 % by deviation", metric] <= gmac["sp_sa kept 25 % by deviation", "kept_dense_gmac"]
    spared = gmac["sp_sa kept 25 % by deviation", "kept_dense_gmac"] - gmac["sp_sa kept 25 % by deviation", "kept_gmac"]
    pairs_left = shares["sp_sa kept 25 % by deviation"] / 100
    assert spared == pytest.approx(2 * 4 * 16**2 * (1 - pairs_left) * 2 * 16 / 1e9)  # layers, heads, pairs, widths
    ratios = kept[kept["metric"] == "kept_ratio"]
    assert set(ratios["grid"]) == {"4x4", "6x6"}
    assert {"gathered", "sdpa", "flex"} <= set(ratios["backend"])
    by_flex = ratios[ratios["backend"] == "flex"]
    assert all(isinstance(params["blocks"], int) and 0 < params["blocks"] <= 100 for params in by_flex["params"])
    assert by_flex["value"].notna().all()
    assert not any("blocks" in params for params in ratios.loc[ratios["backend"] != "flex", "params"])
    words = {"spec", "keep", "by", "ones", "layers", "over", "blocks"}
    assert all(params["layers"] == 2 and params["over"] == "eager" for params in ratios["params"])
    assert all(set(params) | {"blocks"} == words for params in ratios["params"])  # the class token is there, so unsaid
    assert ratios["note"].isna().all()
    assert ratios["samples"].map(len).eq(3).all()
    assert set(frame.loc[frame["metric"] == "kept_aa_ratio", "variant"]) == {"sp_sa"}


def test_the_study_stays_what_it_was_and_the_page_has_a_part_more(study):
    folder, _ = study
    page = (folder.parent / "page.html").read_text()
    assert "Binarised priors" in page
    assert 'data-sort="sp_sa kept' not in page  # no line of the main table


def test_what_is_done_is_not_done_again(study, capsys, monkeypatch):
    _, (_, command) = study
    monkeypatch.setattr(accuracy, "loaded", None)  # would fail
    monkeypatch.setattr(times, "loaded", None)
    assert program.main(command) == 0
    assert "5 of 5 cells are there" in capsys.readouterr().out


@pytest.mark.parametrize("part", ["kind", "variant"])
def test_weights_of_another_source_are_refused(study, tmp_path, capsys, part):
    (folder, (_, command)), rows = study, tmp_path / "rows"
    for file in [*folder.glob("sp_sa-seed-0-*.jsonl"), *folder.glob("recipes/*")]:
        old = file.read_text()
        for made in {json.loads(line)["source_hash"] for line in old.splitlines()} if file.suffix == ".jsonl" else ():
            kind, variant = made.split("+")
            older = f"0123456789+{variant}" if part == "kind" else f"{kind}+0123456789"
            old = old.replace(made, older)
        store.write_bytes(rows / file.relative_to(folder), old.encode())
    assert program.main([str(rows), *command[1:]]) == 2
    err = capsys.readouterr().err
    assert "was trained by another state of the source" in err
    assert err.endswith("run the study again\n")
    assert err.count("\n") == 1
    assert not list(rows.glob("sp_sa-kept*"))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--keep", "0"], "--keep 0 is no share of offsets; write numbers above 0 and up to 1"),
        (["--keep", "1.5,0.5"], "--keep 1.5 is no share"),
        (["--keep", "nan"], "--keep nan is no share"),
        (["--by", "luck"], "--by luck is not available; choose deviation, mass"),
        (["--finetune-epochs", "-1"], "--finetune-epochs -1 is not available"),
    ],
)
def test_bad_flags_are_a_sentence(study, capsys, flags, words):
    assert program.main([str(study[0]), *flags]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert "Traceback" not in err


def copied(study, tmp_path, change):
    """The study's rows alone, changed row by row, with recipes and weights."""
    for name in ("recipes", "weights"):
        (tmp_path / name).symlink_to(study[0] / name)
    for file in study[0].glob("*.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        store.write(tmp_path / file.name, filter(None, map(change, rows)))
    return tmp_path


def test_no_folder_and_no_sp_sa_are_a_sentence(study, tmp_path, capsys):
    assert program.main([str(tmp_path / "nowhere")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    folder = copied(study, tmp_path, lambda row: row if row["variant"] == "sa" else None)
    assert program.main([str(folder)]) == 2
    assert f"no sp_sa was trained in {folder} (trained: sa); run python -m harness.run" in capsys.readouterr().err


def test_a_recipe_that_is_missing_or_another_is_a_sentence(study, tmp_path, capsys):
    folder = copied(study, tmp_path, lambda row: row)
    (folder / "recipes").unlink()
    assert program.main([str(folder)]) == 2
    assert "is missing or not whole, so the model cannot be built" in capsys.readouterr().err
    for name, recipe in store.recipes(study[0]).items():
        store.write_recipe(folder, name, recipe | {"lr": 0.5})
    assert program.main([str(folder)]) == 2
    assert "describes another study" in capsys.readouterr().err


def test_weights_that_are_missing_or_damaged_fail_their_cells_with_a_sentence(study, tmp_path, capsys):
    folder = copied(study, tmp_path, lambda row: row if row["family"] != "binarised" else None)
    for file in folder.glob("*kept*"):
        file.unlink()
    (folder / "weights").unlink()
    flags = [str(folder), "--keep", "1", "--no-times", "--report", f"{folder}.html"]
    assert program.main(flags) == 1
    assert "ValueError: there are no weights at" in capsys.readouterr().err
    (file,) = (study[0] / "weights").glob("sp_sa-seed-0-*")
    store.write_bytes(folder / "weights" / file.name, file.read_bytes()[:100])
    assert program.main(flags) == 1
    assert "cannot be used" in capsys.readouterr().err


@undrawn()
def test_images_that_were_moved_are_named_with_data_dir(tmp_path, capsys):
    def grow(name, shades=(40, 120, 200)):
        for part, count in (("train", 12), ("val", 2)):
            for label, shade in enumerate(shades):
                folder = tmp_path / name / part / str(label)
                folder.mkdir(parents=True)
                for k in range(count):
                    Image.new("RGB", (8, 8), (shade,) * 3).save(folder / f"{k}.png")
        return tmp_path / name

    tree, rows, page = grow("tree"), tmp_path / "rows", ["--report", str(tmp_path / "page.html")]
    model = ["--img-size", "8", "--patch-size", "2", "--workers", "0", "--epochs", "1", "--warmup-epochs", "0"]
    study = ["--dataset", f"folder:{tree}", "--variants", "sp_sa", "--seeds", "0", "--measure", "accuracy",
             "--resolutions", "8", "--batch-size", "16", "--jobs", "1"]  # fmt: skip
    assert run.main([*model, *study, "--output", str(rows), *page]) == 0
    tree.rename(tmp_path / "moved")
    plan.dataset.cache_clear()  # as in another process
    command = [str(rows), "--keep", "1", "--no-times", *page]
    assert program.main(command) == 2
    assert f"there is no folder {tree}" in capsys.readouterr().err
    assert program.main([*command, "--data-dir", str(grow("other", (40, 120)))]) == 2
    err = capsys.readouterr().err
    assert "sp_sa seed 0 was trained on tree (" in err
    assert "name the folder of the same images with --data-dir" in err
    assert program.main([*command, "--data-dir", str(tmp_path / "moved")]) == 0
    frame = store.load(rows)
    assert frame["dataset"].nunique() == 1
    assert frame["dataset"].iloc[0].startswith("tree (")
    assert set(frame["recipe_hash"]) == set(store.recipes(rows))
    kept = frame[frame["metric"] == "kept_top1"].set_index("variant")["value"]
    trained = frame[(frame["metric"] == "top1") & (frame["variant"] == "sp_sa")]["value"]
    assert kept["sp_sa kept 100 %"] == trained.item()


def test_help_needs_no_torch():
    import subprocess
    import sys

    code = "import sys, harness.binarize.program as b; b.parser().format_help(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
