"""The picture of generated tasks: its cells say what the rows say, and other studies have no such picture."""

import re

import pytest

from harness.report.analysis.summary import summaries
from harness.report.figures import relations
from harness.report.pages.page import page
from harness.report.text.formatting import grouped
from tests.support import rows as made

TASKS = {"corner": 25.0, "mirror": 50.0}  # chance
# by variant, then task: validation top-1 of two seeds by epoch, and the bound
RUNS = {
    "sa": {"corner": ([[24, 26, 25], [25, 25, 24]], 25.0), "mirror": ([[50, 49, 51], [52, 50, 50]], 50.0)},
    "psa": {"corner": ([[60, 95, 100], [80, 91, 100]], 100.0), "mirror": ([[50, 60, 92], [50, 55, 61]], 100.0)},
    "swin": {"corner": ([[60, 70, 75], [60, 70, 74]], 75.0), "mirror": ([[50, 50, 50], [50, 51, 52]], 100.0)},
}


def recipe(task, position):
    return made.RECIPE | {"dataset": f"probes:{task}", "pos_embed": position, "batch_size": 32, "epochs": 3}


def rows(position="none"):
    found = []
    for variant, tasks in RUNS.items():
        for task, (seeds, bound) in tasks.items():
            name = f"{task}-{position}"
            about = {"dataset": f"probes:{task}", "recipe_hash": name, "train_px": 24, "unit": "%"}
            for seed, curve in enumerate(seeds):
                mine = about | {"seed": seed, "cell": f"{variant}-{seed}-{name}"}
                for epoch, value in enumerate(curve, 1):
                    found.append(made.row(variant, "val_top1", value, epoch=epoch, n=1024, **mine))
                found.append(made.row(variant, "top1", curve[-1], epoch=3, test_px=24, n=2048, **mine))
                said = {"chance": TASKS[task], "epoch_images": 4096}
                found.append(made.row(variant, "symmetry_top1", bound, params=said, test_px=24, **mine))
    return found


def drawn(tmp_path, found, positions=("none",)):
    recipes = {f"{task}-{position}": recipe(task, position) for task in TASKS for position in positions}
    study = made.take(tmp_path, found, recipes)
    return study, {setting.key: summaries(setting) for setting in study.settings}


def cells(table):
    return {(one["variant"], one["task"]): one for one in table}


def picture(study, found):
    """The drawing of a study."""
    return relations.draw(relations.entries(study, found))


def test_cells_hold_means_bounds_and_updates(tmp_path):
    table = cells(picture(*drawn(tmp_path, rows())).table)
    assert len(table) == 6
    one = table["psa", "corner"]
    assert (one["top1"], one["chance"], one["allowed"]) == (100, 25, 100)
    assert one["updates_to_90"] == 2 * 4096 / 32  # both seeds in the second epoch
    assert (one["seeds_that_reach_90"], one["seeds"]) == (2, 2)
    half = table["psa", "mirror"]
    assert (half["updates_to_90"], half["seeds_that_reach_90"]) == (3 * 4096 / 32, 1)
    assert half["top1"] == pytest.approx((92 + 61) / 2)
    assert table["swin", "corner"]["updates_to_90"] is None
    assert table["swin", "corner"]["allowed"] == 75


def test_variants_are_in_the_order_of_what_they_learned(tmp_path):
    table = picture(*drawn(tmp_path, rows())).table
    assert list(dict.fromkeys(one["variant"] for one in table)) == ["psa", "swin", "sa"]


def test_the_picture_shows_updates_and_bounds(tmp_path):
    svg = picture(*drawn(tmp_path, rows())).svg
    for words in (">256<", "384 (1/2)", "≤ 75", "≤ 25", "no position embedding", ">corner<", ">psa<"):
        assert words in svg, words
    assert "learned position embedding" not in svg


def test_each_position_embedding_has_its_columns(tmp_path):
    both = drawn(tmp_path, rows() + rows("learned"), ("none", "learned"))
    drawing = picture(*both)
    assert len(drawing.table) == 12
    assert drawing.svg.index("no position embedding") < drawing.svg.index("learned position embedding")


def entry(**given):
    return relations.Entry(**{"task": "corner", "position": "", "variant": "sa", "top1": 60.0, "chance": 25.0,
                              "allowed": 100.0, "updates": None, "reached": 0, "seeds": 3} | given)  # fmt: skip


SECOND = {  # what stands under the number
    "—": {}, "": {"reached": None}, "≤ 84": {"allowed": 100 * 5 / 6},
    f"{grouped(1280, 0)}": {"updates": 1280.0, "reached": 3}, f"{grouped(1280, 0)} (2/3)": {"updates": 1280.0,
    "reached": 2}, "128, ≤ 50": {"allowed": 50.0, "updates": 128.0, "reached": 3},
}  # fmt: skip


@pytest.mark.parametrize("words", SECOND)
def test_the_second_line_says_how_fast_or_why_not(words):
    assert entry(**SECOND[words]).lower == words
    assert (entry().upper, entry(stale=True).upper) == ("60", "60*")


def test_shades_go_from_chance_to_all():
    def one(top1):
        return entry(top1=top1).learned

    assert [one(25), one(62.5), one(100)] == [0, 0.5, 1]
    assert one(20) == 0


def test_a_page_of_probes_opens_with_the_picture_and_ranks_nothing(tmp_path):
    """No power cards, no findings of the paper, no figures of what a training costs."""
    costly = rows() + [
        one | {"variant": variant, "metric": metric, "value": value}
        for one in rows() if one["metric"] == "val_top1" and one["variant"] == "sa"
        for variant in RUNS for metric, value in (("train_s", 2.0 * one["epoch"]), ("params", 1000), ("gmac", 0.1))
    ]  # fmt: skip
    html = page(drawn(tmp_path, costly)[0])
    assert html.index('id="relations"') < html.index('id="setting-1"')
    lead = "Without a position embedding, no variant learns all 2 relations with every seed; sa and swin learn none."
    assert f'<p class="headline">{lead}</p>' in html
    assert "The largest gain" not in html
    other = page(drawn(tmp_path / "two", [one for one in costly if one["metric"] != "symmetry_top1"])[0])
    for words in ('id="power"', "Convergence by seconds", "Top-1 accuracy against cost"):
        assert words in other, words
        assert words not in html, words
    assert 'id="relations"' not in other


def test_one_task_alone_has_no_picture(tmp_path):
    single = [one for one in rows() if one["dataset"] == "probes:corner"]
    assert picture(*drawn(tmp_path, single)) is None


def test_the_sentence_names_who_learns_all_and_who_none():
    def of(variant, *reached, position=relations.NONE):
        return [entry(variant=variant, position=position, task=str(n), top1=100.0 if one == 3 else 50.0, reached=one)
                for n, one in enumerate(reached)]  # fmt: skip

    every = {name: of(name, 3, 3) for name in ("psa", "lepe")} | {"sa": of("sa", 0, 0), "swin": of("swin", 1, 0)}
    assert relations.outcome(relations.NONE, every) == (
        "Without a position embedding, psa and lepe learn all 2 relations with every seed; sa learns none."
    )
    many = {f"v{number}": of(f"v{number}", 3, 3) for number in range(5)} | {"w": of("w", 3, 2)}
    assert relations.outcome("learned position embedding", many) == (
        "With a learned position embedding, 5 of 6 variants learn all 2 relations with every seed."
    )
    single = {"psa": of("psa", 3), "sa": of("sa", 0)}
    assert relations.outcome(relations.UNKNOWN, single) == (
        "With a position embedding that is not known, psa learns 0 with every seed; sa learns it with no seed."
    )


def test_the_sentence_leaves_out_who_was_not_tried_on_all_and_whose_epochs_are_not_known():
    def of(*reached):
        return [entry(task=str(n), top1=100.0 if one == 3 else 50.0, reached=one) for n, one in enumerate(reached)]

    some = {"psa": of(3, 3), "lepe": of(3), "sa": of(0), "swin": of(0, 0), "cswin": of(0, None)}
    assert relations.outcome(relations.NONE, some) == (
        "Without a position embedding, psa learns all 2 relations with every seed; swin learns none."
    )
    assert relations.outcome(relations.NONE, {"psa": of(None), "lepe": of(3, None)}) == ""


def test_recipes_of_probes_are_compared_in_the_picture_alone(tmp_path):
    """Those of other images have a part of their own."""
    positions = ("none", "learned")
    html = page(drawn(tmp_path, rows() + rows("learned"), positions)[0])
    assert "What the recipe changes" not in html
    digits = [one | {"dataset": "digits", "recipe_hash": f"digits-{position}", "cell": f"{one['cell']}-{position}"}
              for one in made.accuracy(["sa", "psa"], range(3), (8,)) for position in positions]  # fmt: skip
    recipes = {f"digits-{position}": made.RECIPE | {"pos_embed": position} for position in positions}
    assert "What the recipe changes" in page(made.take(tmp_path / "digits", digits, recipes))


def test_a_page_of_probes_and_other_images_opens_with_both(tmp_path):
    digits = [one | {"dataset": "digits", "recipe_hash": "digits", "cell": f"d{one['cell']}"}
              for one in made.accuracy(["sa", "psa"], range(3), (8,))]  # fmt: skip
    recipes = {f"{task}-none": recipe(task, "none") for task in TASKS} | {"digits": made.RECIPE}
    html = page(made.take(tmp_path, rows() + digits, recipes))
    (lead,) = re.findall('<p class="headline">(Without a position.*?)</p>', html, re.DOTALL)
    assert "learn none. " in lead
    assert "compared with sa" in lead


def test_a_variant_without_a_bound_stays_in_the_picture(tmp_path):
    bare = [one for one in rows() if (one["variant"], one["metric"]) != ("sa", "symmetry_top1")]
    table = cells(picture(*drawn(tmp_path, bare)).table)
    assert {variant for variant, _ in table} == {"psa", "swin", "sa"}
    assert table["sa", "corner"]["allowed"] is None


def test_two_settings_of_one_task_and_position_have_no_picture(tmp_path):
    twice = rows() + [one | {"recipe_hash": f"again-{one['recipe_hash']}"} for one in rows()]
    recipes = {f"{again}{task}-none": recipe(task, "none") | {"lr": rate}
               for task in TASKS for again, rate in (("", 0.1), ("again-", 0.2))}  # fmt: skip
    study = made.take(tmp_path, twice, recipes)
    assert picture(study, {setting.key: summaries(setting) for setting in study.settings}) is None


def test_without_a_recipe_the_position_is_not_known(tmp_path):
    study = made.take(tmp_path, rows())
    drawing = picture(study, {setting.key: summaries(setting) for setting in study.settings})
    assert {one["position"] for one in drawing.table} == {"position embedding not known"}
    assert {one["updates_to_90"] for one in drawing.table} == {None}
