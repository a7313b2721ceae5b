"""The part "What the priors learn" of the page: numbers against rows and maps known before, and what is left out."""

import base64
import csv
import io
import re

import numpy as np
import pytest
from PIL import Image

from harness.report import render
from harness.report.figures import attention
from harness.report.figures import maps as figure
from harness.report.figures.context import Context
from harness.report.figures.style import heatmaps, palette
from harness.report.pages import maps as atlas
from harness.report.study import maps as books
from harness.report.study.study import study as take_apart
from harness.report.tables import heads
from harness.results import map_files, stats, store
from harness.results import maps as offsets
from tests.support import rows as made

SEEDS, LAYERS, HEADS, SHAPE = range(3), (1, 2), 4, (5, 7)
VARIANTS = ("sa", "sp_sa", "psa")


def drawn(*words):
    return np.random.default_rng([len(str(words)), *"".join(map(str, words)).encode()])


def book(variant, seed):
    """Maps of a training: attention for all, a prior for sp_sa with a past, a bias for psa that all seeds share."""
    found = {
        (layer, "attention", None): 1 + 0.3 * drawn(variant, seed, layer).random((HEADS, *SHAPE)) for layer in LAYERS
    }
    for layer in LAYERS:
        if variant == "sp_sa":
            end = 1 + 0.5 * drawn(seed, layer, "prior").standard_normal((HEADS, *SHAPE))
            found |= {(layer, "prior", None): end, (layer, "prior", 0): np.ones((HEADS, *SHAPE))}
            found[layer, "prior", 4] = 0.5 + end / 2
        if variant == "psa":
            found[layer, "bias", None] = -drawn(layer, "bias").random((HEADS, *SHAPE)) * 9
    return found


def facts(variant, seed, of):
    """The rows that harness.jobs.kinds.maps writes, as far as the page reads them."""
    about = {"seed": seed, "epoch": 30, "test_px": 8, "cell": f"{variant}{seed}m", "backend": "eager", "grid": "3x4"}
    found = []

    def add(layer, metric, value, samples=None, **more):
        found.append(made.row(variant, metric, value, layer=layer, samples=samples, **about, **more))

    for layer in LAYERS:
        for metric, base in (("attention_distance", 0.9), ("attention_entropy", 0.7)):
            each = (base + 0.1 * drawn(variant, seed, layer, metric).random(HEADS)).tolist()
            add(layer, metric, float(np.mean(each)), each, n=360)
        for kind in ("attention", "prior", "bias"):
            maps = of.get((layer, kind, None))
            if maps is None:
                continue
            if kind != "attention":
                add(layer, f"{kind}_min", float(maps.min()))
                add(layer, f"{kind}_max", float(maps.max()))
                add(layer, f"{kind}_radius", float(offsets.radius(kind, maps).mean()), unit="patch")
            add(layer, f"{kind}_complementarity", offsets.complementarity(maps), offsets.pairwise(maps))
            add(layer, f"{kind}_complementarity_chance", 0.0, [-0.05, 0.05])
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("atlas") / "study")


@pytest.fixture(scope="module")
def whole(folder):
    return part(folder)


def saved(folder, change=lambda packed: packed):
    rows = made.accuracy(VARIANTS, SEEDS, [8])
    for variant in VARIANTS:
        for seed in SEEDS:
            own = book(variant, seed)
            rows += facts(variant, seed, own)
            store.write_bytes(
                folder / "cells" / f"{variant}-maps-{variant}{seed}m.maps.npz", change(map_files.packed(own))
            )
    return made.save(folder, rows)


def setting_of(folder):
    return take_apart(store.load(folder), store.recipes(folder), {}, store.beside(folder, ".maps.npz")).settings[0]


def part(folder):
    setting = setting_of(folder)
    return atlas.atlas(Context(setting, [], palette.looks(setting.variants, setting.baseline), "s1-"))


def csv_of(found, name):
    drawing = next(one for one in found.drawings if one.name == name)
    return list(csv.DictReader(io.StringIO(drawing.csv())))


def test_every_variant_has_its_maps_the_learned_ones_first(whole):
    found = whole
    assert [one.title for one in found.drawings] == [
        "What psa learns: its bias by offset", "What sp_sa learns: its prior by offset", "Where sa looks, by offset",
        "How the prior of sp_sa comes about", "Radial profile of what is learned",
        "How far each layer looks, and how widely", "Attention by distance",
    ]  # fmt: skip
    assert found.legend == []


def pixels(drawing):
    """The pictures of a figure, in order: uint8 [h, w, 4]."""
    found = re.findall(r'href="data:image/png;base64,([^"]+)"', drawing.svg)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one))).convert("RGBA")) for one in found]


def wrong_pixels(drawing, maps):
    """The numbers of the maps that a figure does not show: their sign by the hue, their size by the opacity."""
    end = max(np.abs(one - 1).max() for one in maps)
    found = []
    for number, (shown, one) in enumerate(zip(pixels(drawing), maps, strict=False)):
        size = np.rint(255 * np.abs(one - 1) / end)
        far = np.abs(one - 1) > end / 50
        red = shown[..., 0] > shown[..., 2]
        if shown.shape != (*one.shape, 4) or np.abs(shown[..., 3] - size).max() > 1 or (red != (one > 1))[far].any():
            found.append(number)
    return found


def test_a_picture_has_a_pixel_an_offset_and_its_value(whole):
    drawing = whole.drawings[1]
    maps = [head for layer in LAYERS for head in book("sp_sa", 0)[layer, "prior", None].astype(np.float16)]
    assert len(pixels(drawing)) == len(maps) + 1  # and the scale
    assert wrong_pixels(drawing, maps) == []
    turned = [maps[0], maps[1][::-1], *maps[2:]]
    assert wrong_pixels(drawing, turned) == [1]
    assert wrong_pixels(drawing, [maps[0], 2 - maps[1], *maps[2:]]) == [1]
    assert "seeds 1 and 2 are beside the rows" in drawing.caption


def test_neutral_is_the_paper_and_what_no_pair_has_is_grey():
    shown = heatmaps.colours("prior", np.array([[1.0, 1.5, 0.5, np.nan]]), 0.5)[0]
    assert shown[:, 3].tolist() == [0, 255, 255, 45]
    assert heatmaps.limit("prior", [heatmaps.Tile(np.ones((3, 3)))]) == 1.0  # nothing learned: no division by 0
    assert heatmaps.limit("bias", [heatmaps.Tile(np.full((3, 3), -40.0))]) == 4.0


def test_the_csv_of_a_map_has_every_number(whole):
    table = csv_of(whole, "s1-map-2")
    assert len(table) == len(LAYERS) * HEADS * SHAPE[0]
    one = book("sp_sa", 0)[2, "prior", None]
    line = next(x for x in table if (x["layer"], x["head"], x["dy"]) == ("2", "3", "-1"))
    assert [float(line[f"dx={dx}"]) for dx in range(-3, 4)] == pytest.approx(one[2, 1].tolist(), rel=2e-3, abs=1e-3)


def test_a_large_map_has_a_line_a_head_in_its_csv():
    maps = {1: 1 + np.random.default_rng(0).random((4, 61, 61))}
    table = figure.table("prior", "0", maps)
    assert list(table[0])[:4] == ["seed", "layer", "head", "radius"]
    assert len(table) == 4
    assert table[0]["radius"] == pytest.approx(offsets.radius("prior", maps[1])[0], rel=1e-3)


def test_distances_are_means_over_heads_with_t_intervals_over_seeds(whole):
    table = csv_of(whole, "s1-attention")
    assert len(table) == 3 * 2 * len(LAYERS)
    for line in table:
        rows = [drawn(line["variant"], seed, int(line["layer"]), line["metric"]).random(HEADS) for seed in SEEDS]
        base = 0.9 if line["metric"] == "attention_distance" else 0.7
        known = stats.mean_interval([base + 0.1 * float(one.mean()) for one in rows])
        assert [float(line[end]) for end in ("mean", "low", "high")] == pytest.approx(
            [known.center, known.low, known.high]
        )
        heads_by_seed = dict(part.split(":") for part in line["heads_by_seed"].split())
        assert [float(head) for head in heads_by_seed["1"].split("/")] == pytest.approx(base + 0.1 * rows[1], abs=1e-4)


def test_profiles_are_means_over_rings_heads_and_seeds(whole):
    table = csv_of(whole, "s1-profile")
    line = next(x for x in table if (x["variant"], x["layer"], x["distance"]) == ("sp_sa", "1", "2"))
    each = [offsets.profile(book("sp_sa", seed)[1, "prior", None])[1][:, 2] for seed in SEEDS]
    assert float(line["mean"]) == pytest.approx(np.mean(each), rel=1e-3)
    assert (line["seeds"], line["heads"]) == ("3", "12")


def test_the_table_says_what_heads_share_and_seeds_agree_on(folder):
    setting = setting_of(folder)
    table = heads.table(setting, books.books(setting))
    keys = [column.key for column in table.columns]
    lines = {line.variant: dict(zip(keys, line.cells, strict=True)) for line in table.lines}
    values = [[offsets.complementarity(book("sp_sa", s)[at, "prior", None]) for at in LAYERS] for s in SEEDS]
    assert lines["sp_sa"]["own_alike"].sort == pytest.approx(np.mean(values))
    above = sum(value > 0.05 for one in values for value in one)
    below = sum(value < -0.05 for one in values for value in one)
    assert lines["sp_sa"]["own_alike"].remark == f"{above} above, {below} below, of 6"
    least = min(book("sp_sa", s)[at, "prior", None].min() for at in LAYERS for s in SEEDS)
    assert lines["sp_sa"]["least"].sort == pytest.approx(least)
    agree = [
        offsets.agreement(book("sp_sa", a)[at, "prior", None], book("sp_sa", b)[at, "prior", None])
        for a, b in ((0, 1), (0, 2), (1, 2)) for at in LAYERS
    ]  # fmt: skip
    assert lines["sp_sa"]["agree"].sort == pytest.approx(np.mean(agree), abs=2e-3)
    low, high = re.findall(r"[\d.]+", lines["sp_sa"]["agree"].remark)
    assert float(low) < lines["sp_sa"]["agree"].sort < float(high)  # noise agrees as much as noise does
    assert lines["psa"]["agree"].text == ""  # the same map in all seeds: nothing is learned
    assert lines["sa"]["own_alike"].text == lines["sa"]["agree"].text == ""
    assert lines["sa"]["alike"].sort is not None


def test_agreement_of_seeds_that_learn_the_same_lies_above_chance(folder, tmp_path):
    setting = setting_of(folder)
    one = next(one for one in books.books(setting) if one.variant == "sp_sa")
    near = {key: maps + 0.05 * drawn(*key).standard_normal(maps.shape) for key, maps in one.by_seed["0"].items()}
    cell = heads._agreement(books.Books("sp_sa", "prior", {"0": one.by_seed["0"], "1": near}), "prior")
    assert cell.sort > 0.95 > float(re.findall(r"[\d.]+", cell.remark)[1])


def test_maps_that_are_damaged_or_disagree_with_their_rows_are_left_out_and_the_rows_speak(tmp_path):
    cut = saved(tmp_path / "cut", lambda packed: packed[:-40])
    assert books.books(setting_of(cut)) == []
    found = part(cut)
    assert [one.name for one in found.drawings] == ["s1-attention"]
    assert "No maps lie beside the rows" in found.how
    other = saved(tmp_path / "other")
    file = store.beside(other, ".maps.npz")["sp_sa0m"]
    moved = {key: maps - 0.1 if key[1] == "prior" else maps for key, maps in book("sp_sa", 0).items()}
    file.write_bytes(map_files.packed(moved))
    assert next(one for one in books.books(setting_of(other)) if one.variant == "sp_sa").by_seed.keys() == {"1", "2"}


def test_a_study_without_maps_has_no_such_part(tmp_path):
    folder = made.save(tmp_path / "study", made.accuracy(VARIANTS, SEEDS, [8]))
    assert part(folder) is None
    assert "What the priors learn" not in render(folder, tmp_path / "page.html").path.read_text()


def test_a_failed_cell_of_maps_explains_its_own_gap_alone(tmp_path):
    rows = made.accuracy(VARIANTS, SEEDS, [8]) + facts("sa", 0, book("sa", 0))
    rows.append(made.row("psa", "attention_distance", None, seed=0, test_px=8, note="no weights"))
    setting = setting_of(made.save(tmp_path / "study", rows))
    assert heads.table(setting, []).lines[-2].cells[0].text == "\N{EM DASH}"
    from harness.report.analysis.summary import failure

    assert failure(setting, "psa", "maps") == "no weights"
    assert failure(setting, "psa", "accuracy") == "not measured"


def test_the_page_holds_it_small_and_allows_no_other_pictures(folder, tmp_path):
    html = render(folder, tmp_path / "page.html").path.read_text(encoding="utf-8")
    assert html.count("What the priors learn") == 1
    assert len(html) < 1_000_000
    assert "img-src data:;" in html
    assert set(re.findall(r'<image[^>]*href="(.{22})', html)) == {"data:image/png;base64,"}
    assert len(re.findall(r"<image", html)) == len(re.findall(r"image-rendering: ?pixelated", html))


def test_layers_are_in_the_order_of_their_numbers(tmp_path):
    rows = made.accuracy(VARIANTS, SEEDS, [8])
    rows += [row | {"layer": row["layer"] + 8} for row in facts("sa", 0, book("sa", 0))]
    table = attention.table(setting_of(made.save(tmp_path / "study", rows)))
    assert [one["layer"] for one in table if one["metric"] == "attention_distance"] == [9, 10]
