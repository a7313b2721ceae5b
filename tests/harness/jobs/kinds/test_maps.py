"""The atlas: planted maps have their radius, direction and peak recovered; snapshots, files and rows of the cell."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.jobs import cells
from harness.jobs.experiment import Bench
from harness.jobs.kinds import maps as atlas_cell
from harness.jobs.kinds.training import training_cell
from harness.jobs.plan import device_of
from harness.jobs.study import Study
from harness.measure import attention as distance
from harness.measure import maps as atlas
from harness.presets import digits
from harness.results import map_files, store
from harness.results import maps as offsets
from harness.training.recipe import Recipe
from tests.support.trainings import digits as images
from variants import build

RECIPE = replace(digits().recipe, epochs=3, warmup_epochs=1, batch_size=128)


def bench(**changes):
    study = replace(digits(), **({"recipe": RECIPE, "resolutions": (8,), "train_images": 300} | changes))
    return Bench(study, images(), device_of("cpu"))


def bell(sigma, grid=(24, 24), stretch=1.0):
    dy, dx = offsets.steps((2 * grid[0] - 1, 2 * grid[1] - 1))
    return np.exp(-(dy**2 + (dx / stretch) ** 2) / (2 * sigma**2))


# ---- what a map says


@pytest.mark.parametrize("sigma", [1.0, 2.5, 4.0])
def test_a_planted_gaussian_has_its_radius_recovered(sigma):
    """E |Delta|^2 of a round Gaussian in the plane is 2 sigma^2, whatever sign and height."""
    prior = np.stack([1 + 0.7 * bell(sigma), 1 - 0.2 * bell(sigma)])
    assert offsets.radius("prior", prior).tolist() == pytest.approx([2**0.5 * sigma] * 2, rel=1e-3)
    bias = np.log(bell(sigma))[None] + 3.0  # softmax of a Gaussian's log is the Gaussian, and forgets the constant
    assert offsets.radius("bias", bias).tolist() == pytest.approx([2**0.5 * sigma], rel=1e-3)
    assert offsets.radius("prior", prior - 1)[0] != pytest.approx(2**0.5 * sigma, rel=0.1)  # about 0, not about neutral


def test_a_neutral_prior_has_no_radius_and_a_constant_bias_that_of_the_table():
    ones = np.ones((1, 7, 7))
    assert np.isnan(offsets.radius("prior", ones)).all()
    assert np.isnan(offsets.anisotropy("prior", ones)).all()
    assert offsets.radius("bias", ones)[0] == pytest.approx(np.sqrt((offsets.distances((7, 7)) ** 2).mean()))


def test_anisotropy_is_0_for_a_round_map_and_1_for_a_line_either_way():
    line = np.zeros((1, 9, 9))
    line[0, 4, 2] = 1.0
    slanted = np.eye(9)[None]
    assert offsets.anisotropy("kept", line)[0] == pytest.approx(1.0)
    assert offsets.anisotropy("kept", slanted)[0] == pytest.approx(1.0)
    assert offsets.anisotropy("prior", 1 + bell(2.0)[None])[0] == pytest.approx(0.0, abs=1e-6)
    assert offsets.anisotropy("prior", 1 + bell(2.0, stretch=2.0)[None])[0] == pytest.approx(0.6, abs=0.01)  # 4:1


def test_a_radial_profile_is_the_mean_of_a_ring():
    at, values = offsets.profile(offsets.distances((7, 7))[None])
    assert at.tolist() == [0, 1, 2, 3, 4]
    ring = [d for d in offsets.distances((7, 7)).ravel() if round(d) == 2]
    assert values[0, 2] == pytest.approx(np.mean(ring))
    half = np.full((1, 7, 7), 2.0)
    half[0, :3] = np.nan
    assert offsets.profile(half)[1].tolist() == [[2.0] * 5]


def test_heads_that_divide_the_offsets_lie_below_chance_and_copies_above():
    quarters = np.ones((4, 13, 13))
    for head, (y, x) in enumerate([(0, 0), (0, 7), (7, 0), (7, 7)]):
        quarters[head, y : y + 6, x : x + 6] = 1.5
    copies = np.repeat(quarters[:1], 4, axis=0)
    for maps, where in ((quarters, "below"), (copies, "above")):
        low, high = np.quantile(offsets.chance(maps), (0.025, 0.975))
        value = offsets.complementarity(maps)
        assert low < 0 < high
        assert (value <= low) if where == "below" else (value > high)  # four quarters are dealt so once in eleven
    assert offsets.complementarity(copies) == pytest.approx(1.0)
    assert offsets.complementarity(quarters[:1]) is None
    assert offsets.complementarity(np.ones((3, 5, 5))) is None


def test_the_baseline_keeps_how_smooth_maps_are():
    """Shuffled offset by offset, two smooth maps that know nothing of each other would seem to agree half the time."""
    random = np.random.default_rng(0)
    torn, kept = 0, 0
    for trial in range(40):
        waves = [np.roll(bell(5.0, (7, 7)), random.integers(7, size=2), axis=(0, 1)) for _ in range(2)]
        maps = offsets.moved(np.stack(waves), random)
        value = offsets.complementarity(maps)
        drawn = offsets.chance(maps, trial, 39)
        shuffled = [offsets.complementarity(np.stack([random.permutation(m.ravel()).reshape(m.shape) for m in maps]))
                    for _ in range(39)]  # fmt: skip
        kept += abs(value) > np.quantile(np.abs(drawn), 0.95)
        torn += abs(value) > np.quantile(np.abs(shuffled), 0.95)
    assert kept <= 7
    assert torn >= 20


def rolled(maps, random):
    return np.stack([np.roll(one, random.integers(one.shape[0], size=2), axis=(0, 1)) for one in maps])


def test_independent_ramps_lie_at_their_chance_and_do_not_where_they_are_rolled(monkeypatch):
    """What a prior is that has learned little: w_h . Delta, each head with a direction of its own."""

    def outside():
        random, found = np.random.default_rng(3), 0
        for trial in range(60):
            maps = np.einsum("hc,cyx->hyx", random.standard_normal((4, 2)), np.stack(offsets.steps((7, 7))))
            low, high = np.quantile(offsets.chance(maps, trial, 99), (0.025, 0.975))
            found += not low <= offsets.complementarity(maps) <= high
        return found

    assert outside() <= 9
    monkeypatch.setattr(offsets, "moved", rolled)
    assert outside() >= 12


def test_biases_are_correlated_as_attention_sees_them():
    """Four narrow peaks side by side: the far ends of their logits agree, what they look at does not."""
    dy, dx = offsets.steps((13, 13))
    bias = np.stack([-((dy - y) ** 2 + (dx - x) ** 2) for y in (-1, 1) for x in (-1, 1)])
    assert offsets.complementarity(bias) > 0.5
    assert offsets.complementarity(offsets.shaped("bias", bias)) < 0.1
    assert offsets.shaped("prior", bias) is bias


def test_seeds_agree_whatever_the_order_of_their_heads():
    maps = np.random.default_rng(1).standard_normal((4, 7, 7))
    assert offsets.agreement(maps, maps[[2, 0, 3, 1]] * 2 + 5) == pytest.approx(1.0)
    assert np.mean(np.diag(offsets.correlations(maps, maps[[2, 0, 3, 1]]))) < 0.5  # head by head
    assert offsets.agreement(maps, np.ones((4, 7, 7))) is None


# ---- maps of attentions


def head_of(attention, grid, n=4, prefix=0):
    head = distance.Head(grid)
    with torch.no_grad():
        x = torch.randn(n, prefix + grid[0] * grid[1], attention.qkv.in_features)
        distance.take_down(attention.eval(), x, grid, head)
    return head


def test_the_tables_are_the_relations_own_and_only_those_there_are():
    grid = (3, 5)
    for spec, kinds in {
        "sa": set(), "sp_sa": {"prior"}, "rel_bias+sp_sa": {"prior", "bias"}, "rpe_2d": {"keys"}, "swin": {"kept"},
        "gpsa": {"position", "gate"}, "lookhere": {"bias", "kept"},
    }.items():  # fmt: skip
        attention = build(spec, 32, 4, grid=grid)
        found = atlas.maps(attention, grid, head_of(attention, grid))
        assert set(found) - {"attention"} == kinds, spec
        assert all(found[kind].shape[-2:] == (5, 9) for kind in set(found) - {"gate"})


def test_sums_are_multiplied_and_added_and_short_axes_spread():
    attention = build("sp_sa+sp_sa[form=linear]", 32, 4, grid=(3, 3))
    with torch.no_grad():
        attention.relation.parts[0].function.b2.fill_(2.0)
        attention.relation.parts[1].function.b.fill_(3.0)
    assert atlas.tables(attention, (3, 3))["prior"].unique().tolist() == [6.0]
    rows = torch.arange(5.0).view(1, 5, 1)
    assert torch.equal(atlas.spread(rows, (3, 4)), rows.expand(1, 5, 7))


def test_keys_are_what_they_add_to_the_logits_on_average():
    grid = (3, 4)
    attention = build("rpe_2d", 32, 4, grid=grid).eval()
    head = head_of(attention, grid, prefix=1)
    terms = attention.terms(attention.qkv.weight, grid)
    found = atlas.met(terms, head)
    (table,) = terms.keys
    q = head.means["query"]
    for dy, dx in ((0, 0), (-2, 3), (1, -1)):
        whole = atlas.spread(table, grid).double().detach().expand(4, -1, -1, -1)[..., dy + 2, dx + 3]
        assert torch.allclose(found[:, dy + 2, dx + 3], (q * whole).sum(1) / 8**0.5)
    assert not torch.allclose(found, found.flip(-1), atol=1e-4)


def test_the_mask_is_that_of_the_middle_patch():
    attention = build("window[height=1,width=0]", 32, 4, grid=(4, 5))
    kept = atlas.maps(attention, (4, 5), head_of(attention, (4, 5)))["kept"]
    assert kept.shape == (1, 7, 9)
    y, x = torch.nonzero(kept[0] == 1, as_tuple=True)
    assert set(zip((y - 3).tolist(), (x - 4).tolist(), strict=True)) == {(-1, 0), (0, 0), (1, 0)}
    assert int((~kept.isnan()).sum()) == 20  # the keys of one patch


def test_a_planted_one_offset_peak_lands_on_that_offset():
    """Weights planted so that each head adds 5 nats at one offset: bias, and attention in the real forward."""
    grid, where = (5, 5), [(0, 1), (-1, 0), (2, -2), (1, 1)]
    attention = build("rel_bias", 32, 4, grid=grid).eval()
    with torch.no_grad():
        attention.relation.tables[0].zero_()
        for head, (dy, dx) in enumerate(where):
            attention.relation.tables[0][head, dy + 4, dx + 4] = 5.0
    found = atlas.maps(attention, grid, head_of(attention, grid))
    for kind in ("bias", "attention"):
        assert offsets.peaks(found[kind].numpy()).tolist() == [list(place) for place in where], kind
    assert offsets.peaks(found["bias"].flip(-2, -1).numpy()).tolist() != [list(place) for place in where]  # query - key


def test_facts_hold_by_head_and_say_who_is_neutral():
    maps = {"prior": torch.ones(2, 5, 5), "gate": torch.tensor([0.25, 0.75])}
    maps["prior"][1, 2, 4] = -0.5
    found = {fact["metric"]: fact for fact in atlas.facts(maps)}
    assert (found["prior_min"]["value"], found["prior_min"]["samples"]) == (-0.5, [1.0, -0.5])
    assert found["prior_max"]["value"] == 1.0
    assert (found["prior_radius"]["value"], found["prior_radius"]["samples"]) == (2.0, [2.0])
    assert found["prior_radius"]["note"] == "of heads 2; the others are neutral"
    assert found["gate"]["samples"] == [0.25, 0.75]
    assert "prior_complementarity" not in found  # a constant has no correlation
    assert not [fact for fact in atlas.facts({"prior": torch.ones(2, 5, 5)}) if fact["metric"] == "prior_radius"]


# ---- files


def test_a_file_of_maps_keeps_what_is_next_to_neutral_and_gives_the_same_bytes(tmp_path):
    prior = 1 + np.array([1e-4, -3e-5, 0.3, -2.0, 0, 0, 0, 0, 7]).reshape(1, 3, 3)
    book = {(2, "prior", None): prior, (2, "gate", 4): np.array([0.1, 0.9])}
    packed = map_files.packed(book)
    assert packed == map_files.packed(book)
    assert np.abs(prior.astype(np.float16) - prior)[0, 0, 0] > 2e-5  # what keeping the prior itself would cost
    assert set(unpacked(packed, tmp_path)) == set(book)
    assert unpacked(packed, tmp_path)[2, "prior", None] - 1 == pytest.approx(prior - 1, rel=1e-3)


def unpacked(content, folder):
    path = folder / "x.maps.npz"
    path.write_bytes(content)
    return map_files.unpacked(path)


def test_a_damaged_file_of_maps_is_a_sentence(tmp_path):
    packed = map_files.packed({(1, "prior", None): np.ones((1, 3, 3))})
    for content in (packed[:-30], b"", b"PK nonsense", packed[:60] + b"\0" * 20 + packed[80:]):
        with pytest.raises(ValueError, match=r"cannot be read: .*; delete the file and its rows"):
            unpacked(content, tmp_path)


# ---- the cell


def work(one, variants, folder):
    """Runs what is missing; returns the names of the cells that ran."""
    planned = cells.plan(one, variants)
    missing = [cell for cell in planned if cell.missing(folder, planned)]
    assert [cell.run(folder, lambda count=1: None) for cell in missing] == [None] * len(missing)
    return [cell.name for cell in missing]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    one = bench(measure=("accuracy", "maps"), seeds=(0,))
    work(one, ["sp_sa", "gpsa", "swin"], folder)
    return folder


def test_a_cell_of_maps_follows_each_training_and_its_rows_name_their_layer(study):
    frame = store.load(study)
    maps = frame[frame["layer"].notna()]
    distances = maps[maps["metric"] == "attention_distance"]
    assert distances.groupby("variant")["layer"].apply(list).to_dict() == {
        variant: [1, 2, 3, 4] for variant in ("sp_sa", "gpsa", "swin")
    }
    assert all(len(heads) == 4 for heads in distances["samples"])
    assert (distances["n"] == 360).all()
    assert set(maps["seed"]) == {0}
    assert set(maps[maps["metric"] == "prior_min"]["layer"]) == {1, 2}
    assert set(maps[maps["metric"] == "gate"]["variant"]) == {"gpsa"}
    assert set(maps[maps["metric"] == "attention_prefix"]["layer"]) == {3, 4}  # after the class token has come
    assert frame.loc[frame["layer"].isna(), "metric"].isin(["top1", "val_top1", "loss", "train_s"]).sum() > 0


def test_the_file_beside_the_rows_has_the_maps_and_their_past(study):
    rows = study
    frame = store.load(rows)
    least = frame[(frame["metric"] == "prior_min")].set_index("layer")
    file = store.beside(rows, ".maps.npz")[least["cell"].iloc[0]]
    assert file.stat().st_size < 200_000
    book = map_files.unpacked(file)
    assert {epoch for _, kind, epoch in book if kind == "prior"} == {0, 1, 2, None}
    assert (book[1, "prior", 0] == 1.0).all()  # neutral at the start
    assert book[1, "prior", None].min() == pytest.approx(least.loc[1, "value"], rel=2e-3)
    assert book[1, "prior", None].shape == (4, 7, 7)
    swin = next(path for path in rows.glob("swin*.maps.npz"))
    assert {kind for _, kind, _ in map_files.unpacked(swin)} == {"kept", "attention"}
    assert not list((rows / "snapshots").glob("swin*"))  # nothing that training changes


def test_snapshots_done_again_have_the_same_bits(study, tmp_path):
    """A training that goes on from a checkpoint leaves the bits that it would have left."""
    rows = study
    (kept,) = (rows / "snapshots").glob("sp_sa*")
    before = {file.name: file.read_bytes() for file in kept.iterdir()}
    assert sorted(before) == ["000001.npz", "000002.npz"]
    one = bench(measure=("accuracy", "maps"))
    cell = training_cell(one, "sp_sa", 0)
    assert cell.snapshots(rows) == kept
    ticks = []

    def killed(count=1):
        ticks.append(count)
        if sum(ticks) == 2:
            raise KeyboardInterrupt

    slow = training_cell(replace(one, study=replace(one.study, checkpoint_interval=0.0)), "sp_sa", 0)
    with pytest.raises(KeyboardInterrupt):
        slow.rows(killed, tmp_path)
    (slow.snapshots(tmp_path) / "000002.npz").unlink(missing_ok=True)
    for file in sorted(slow.checkpoints(tmp_path).iterdir())[-1:]:
        file.unlink()  # the newest: the second epoch is done again
    slow.rows(lambda count=1: None, tmp_path)
    assert {file.name: file.read_bytes() for file in slow.snapshots(tmp_path).iterdir()} == before


def test_snapshots_change_nothing_in_the_training(study, tmp_path):
    """Weights with and without them are the same bits."""
    cell = training_cell(bench(measure=("accuracy",)), "gpsa", 0)
    cell.rows(lambda count=1: None, tmp_path)
    assert cell.weights(tmp_path).read_bytes() == cell.weights(study).read_bytes()
    assert cell.snapshots(study).exists()
    assert not cell.snapshots(tmp_path).exists()


def test_maps_can_be_added_later_without_training_anew(tmp_path):
    assert work(bench(measure=("accuracy",), seeds=(0,)), ["sp_sa"], tmp_path) == ["sp_sa seed 0"]
    assert work(bench(measure=("accuracy", "maps"), seeds=(0,)), ["sp_sa"], tmp_path) == ["sp_sa seed 0 maps"]
    (file,) = store.beside(tmp_path, ".maps.npz").values()
    assert {epoch for _, _, epoch in map_files.unpacked(file)} == {0, None}  # no snapshots: they were not asked for


def test_the_epochs_that_are_kept_are_few_and_validated():
    def kept(epochs, interval):
        return atlas_cell.chosen(
            replace(digits(), recipe=Recipe(epochs=epochs, warmup_epochs=0), val_interval=interval)
        )

    assert kept(20, 1) == [1, 2, 3, 4, 7, 12]
    assert kept(300, 10) == [10, 20, 40, 120]
    assert kept(1, 1) == []
    assert kept(4, 10) == []


def test_maps_without_a_training_are_refused_in_a_sentence():
    with pytest.raises(ValueError, match="maps are read from trained weights; write --measure accuracy,maps"):
        replace(digits(), measure=("cost", "maps"))
    assert "maps" in Study.__dataclass_fields__["measure"].default


def test_one_patch_has_no_other_to_look_at(tmp_path):
    one = bench(patch_size=8, measure=("accuracy", "maps"))
    trained = training_cell(one, "sa", 0)
    trained.rows(lambda count=1: None, tmp_path)
    cell = atlas_cell.atlas_cell(one, trained)
    rows, _ = cell.rows(lambda count=1: None, tmp_path)
    assert (rows[0]["value"], rows[0]["note"]) == (None, "a 1x1 grid has no other patch")
    assert all(row["metric"] != "attention_entropy" for row in rows)
    store.write(cell.path(tmp_path), rows)


def test_a_layer_is_a_whole_number_or_none():
    row = {"study": "s", "variant": "sa", "metric": "attention_distance", "value": 1.0}
    store.check(row | {"layer": 3})
    store.check(row)
    with pytest.raises(ValueError, match="the layer of attention_distance is '3'; it is a whole number or null"):
        store.check(row | {"layer": "3"})
