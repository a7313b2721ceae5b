"""Presets, published recipes and ablations: what they hold, and that each can be planned."""

import json
import re
from dataclasses import replace

import pytest

from harness.ablations import ABLATIONS
from harness.backbone.sizes import SIZES, in_full
from harness.backbone.vit import create
from harness.jobs.study import PLACING, digest
from harness.presets import DEFAULT, PRESETS, digits, preset, sp_vit
from harness.results import store
from harness.run import program
from harness.training.published import deit, lv_vit
from tests.support.page import undrawn

SHALLOW = [DEFAULT, "fashion-cluttered", "probes"]
SHAPES = ["layers", "token", "hidden", "scope", "form", "combine", "relations", "position"]


def test_the_published_recipes_are_those_of_the_papers():
    """DeiT's table 9 and main.py; SP-ViT's main.py and scripts."""
    d, s = deit(), lv_vit()
    assert (d.epochs, d.batch_size, d.lr, d.min_lr, d.warmup_lr, d.warmup_epochs) == (300, 1024, 1e-3, 1e-5, 1e-6, 5)
    assert (d.weight_decay, d.smoothing, d.drop_path, d.clip_grad) == (0.05, 0.1, 0.1, None)
    assert (d.aa, d.color_jitter, d.mixup, d.cutmix, d.reprob) == ("rand-m9-mstd0.5-inc1", 0.4, 0.8, 1.0, 0.25)
    assert (d.aug_repeats, d.model_ema, d.cooldown_epochs) == (3, False, 0)
    assert (s.epochs, s.cooldown_epochs, s.batch_size, s.lr, s.aug_repeats) == (300, 10, 1024, 1.6e-3, 1)
    assert (s.mixup, s.cutmix, s.reprob, s.smoothing) == (0.0, 0.0, 0.25, 0.1)
    assert (s.model_ema, s.model_ema_decay) == (True, 0.99992)
    assert (s.mixtoken, s.cls_weight, s.dense_weight, s.drop_path) == (1.0, 1.0, 1.0, 0.1)
    for name, size, variants in (("sp-vit", "sp_vit_s", "sp_sa"), ("lv-vit", "lv_vit_s", "sa")):
        study = preset(name)
        assert (study.recipe, study.size, study.variants) == (s, size, variants)
        assert study.token_labels == "annotate:timm:dm_nfnet_f6.dm_in1k"


def test_fine_tuning_is_sp_vits():
    tuned = sp_vit().recipe.finetuning(30)
    assert tuned.lr * 256 / 1024 == pytest.approx(5e-6)  # its script's batch of 32 x 8
    assert (tuned.lr, tuned.weight_decay, tuned.warmup_epochs) == (tuned.min_lr, 1e-8, 0)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_whole_and_says_what_it_is(name):
    study = preset(name)
    assert study.name == name
    assert study.note
    assert PRESETS[name].__doc__


def test_the_ablations_are_those_of_the_paper():
    assert list(ABLATIONS) == SHAPES
    assert preset("digits:layers").vary == ("spatial_layers", (1, 2, 3))
    assert preset("imagenet100:layers").vary == ("spatial_layers", (6, 8, 10, 11))
    assert [arm.class_token for arm in preset("digits:token").arms()] == ["late", "input", "none"]
    assert {arm.spatial_layers for arm in preset("digits:token").arms()} == {2}
    assert [arm.pos_embed for arm in preset("fashion-quick:position").arms()] == ["learned", "none"]
    hashes = {arm.recipe_hash for name in ("digits:layers", "digits:token") for arm in preset(name).arms()}
    assert len(hashes) == 5  # two spatial layers and a late token are an arm of both


def test_what_a_size_has_anyway_makes_no_other_recipe():
    """Where an ablation names the default it is the preset itself, and nothing is trained twice."""
    usual = preset("digits").recipe_hash
    for name, at in (("layers", 1), ("token", 0), ("position", 0)):
        assert [arm.recipe_hash == usual for arm in preset(f"digits:{name}").arms()].index(True) == at
    named = {"num_heads": 4, "peg": False, "class_token": "late", "pos_embed": "learned", "spatial_layers": 2}
    assert replace(preset("digits"), **named).recipe_hash == usual
    for other in ({"num_heads": 2}, {"peg": True}, {"class_token": "input"}, {"pos_std": 0.02}, {"spatial_layers": 3}):
        assert replace(preset("digits"), **other).recipe_hash != usual
    early = replace(preset("digits"), class_token="input")
    assert replace(early, spatial_layers=4).recipe_hash == early.recipe_hash  # without a late token all layers are


@pytest.mark.parametrize(
    ("size", "class_token", "layers"),
    [
        ("micro", "late", 2),
        ("micro", "none", 4),
        ("tiny", "input", 12),
        ("lv_vit_s", "input", 16),
        ("sp_vit_s", "late", 14),
    ],
)
def test_in_full_says_what_is_built(size, class_token, layers):
    model = create("sa", size=size, img_size=32, patch_size=16, num_classes=2, class_token=class_token)
    told = in_full({"size": size, "class_token": class_token, "pos_embed": None})
    assert told["spatial_layers"] == model.spatial_layers == layers
    assert told["class_token"] == model.size.class_token == class_token
    assert (told["pos_embed"], told["peg"]) == (model.size.pos_embed, model.size.peg)
    assert (told["num_heads"], told["pos_std"]) == (model.size.num_heads, model.size.pos_std)


def test_of_an_unknown_size_nothing_is_added():
    assert in_full({"size": "huge", "pos_embed": None}) == {"size": "huge", "pos_embed": None}


@pytest.mark.parametrize("ablation", SHAPES)
def test_every_ablation_runs_dry_with_an_estimate(ablation, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert program.main(["--preset", f"digits:{ablation}", "--dry-run"]) == 0
    out = capsys.readouterr().out
    trained, mapped = (len(re.findall(rf"to do  .* seed \d{after}", out)) for after in (r"(?! maps)", " maps"))
    arms = {"layers": 3 * 2, "token": 3 * 2, "hidden": 4, "scope": 4, "form": 4, "combine": 3, "relations": 7}
    assert trained == mapped == 3 * arms.get(ablation, 2 * 9)
    assert re.search(r"cells to do, about \d+ (s|min) on", out)
    assert list(tmp_path.iterdir()) == []


@undrawn()
def test_an_ablation_for_real(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = ["--epochs", "1", "--warmup-epochs", "0", "--batch-size", "256", "--train-images", "320", "--seeds",
             "0", "--resolutions", "8", "--jobs", "1"]  # fmt: skip
    assert program.main(["--preset", "digits:token", *flags]) == 0
    page = (tmp_path / "reports" / "digits-token.html").read_text()
    assert page.count('class="setting"') == 3
    folder = tmp_path / "results" / "digits-token"
    name, recipe = next(iter(store.recipes(folder).items()))
    store.write_recipe(folder, name, recipe | {"command": "another study's"})
    assert program.main(["--preset", "digits:token", *flags]) == 0
    assert store.recipes(folder)[name]["command"] == "another study's", "an arm may be a study that described itself"


FIXED = (
    '{"aa": "", "aug_repeats": 1, "backend": "auto", "batch_size": 64, "class_token": "late", "clip_grad": null, '
    '"color_jitter": 0.0, "cooldown_epochs": 0, "crop_pad": 0, "cutmix": 0.0, "dataset": "digits", "drop_path": '
    '0.0, "epochs": 20, "hflip": 0.0, "img_size": null, "lr": 0.004, "min_lr": 1e-05, "mixup": 0.0, "mixup_prob": '
    '1.0, "mixup_switch_prob": 0.5, "model_ema": false, "model_ema_decay": 0.9998, "model_ema_warmup": false, '
    '"num_heads": 4, "patch_size": 2, "peg": false, "pos_embed": "learned", "pos_std": 0.5, "precision": "float32",'
    ' "reprob": 0.0, "resolutions": [8, 12, 16], "scale": [0.08, 1.0], "size": "micro", "smoothing": 0.1, '
    '"spatial_layers": 2, "torchcompile": false, "train_images": null, "val_interval": 1, "warmup_epochs": 5, '
    '"warmup_lr": 1e-06, "weight_decay": 0.05}'
)
# Taken before flags came from the fields of Study and Recipe. A trained cell of a recorded study is found again by its
# hash, so one that changes here costs every user of the preset their trainings.
HASHES = {
    "digits-translated": ["9e85691fe7"],
    "digits-translated:position": ["9e85691fe7", "33cf0935a1"],
    "fashion-cluttered": ["7ba64dc6e0"],
    "fashion-cluttered:position": ["7ba64dc6e0", "ec292a3d39"],
    "probes": ["d5022d9956"],
    "probes:position": ["d5022d9956", "738f625a2a"],
    "digits": ["111903f041"],
    "digits:layers": ["0a25926d8d", "111903f041", "7c6dfab246"],
    "digits:token": ["111903f041", "679b163dce", "e3f20376d5"],
    "digits:position": ["111903f041", "ef4f19171b"],
    "fashion": ["f530d8af2d"],
    "fashion:layers": ["597bef493e", "f530d8af2d", "4369f6f5a0"],
    "fashion:token": ["f530d8af2d", "691ef5ea23", "2250cb459f"],
    "fashion:position": ["f530d8af2d", "2242813303"],
    "fashion-quick": ["b6d4a33a13"],
    "fashion-quick:layers": ["00f1c8bc46", "b6d4a33a13", "dc5dd002eb"],
    "fashion-quick:token": ["b6d4a33a13", "7261ec9942", "1c122012b8"],
    "fashion-quick:position": ["b6d4a33a13", "cd2204a8d2"],
    "fashion-low": ["ded1ab6c7b"],
    "fashion-low:layers": ["bfe51fe06d", "ded1ab6c7b", "f66933bb6a"],
    "fashion-low:token": ["ded1ab6c7b", "8c94d07b9d", "e7699aa959"],
    "fashion-low:position": ["ded1ab6c7b", "959842d56b"],
    "imagenet100": ["ac9162eb05"],
    "imagenet100:layers": ["2301047e5e", "e79f8c5930", "ac9162eb05", "1b9a30b931"],
    "imagenet100:token": ["ac9162eb05", "b749f3f83f", "0267527907"],
    "imagenet100:position": ["ac9162eb05", "b2888af855"],
    "imagenet1k": ["647ad37d72"],
    "imagenet1k:layers": ["126f5420a7", "07be6674bb", "647ad37d72", "6486aa19b4"],
    "imagenet1k:token": ["647ad37d72", "084d761a3b", "3868aed84c"],
    "imagenet1k:position": ["647ad37d72", "7c836410a3"],
    "sp-vit": ["4fb97ee3e2"],
    "sp-vit:layers": ["aa62524004", "b4a13f78b3", "4fb97ee3e2", "becead002a"],
    "sp-vit:token": ["4fb97ee3e2", "53c1015738", "7624415ba2"],
    "sp-vit:position": ["4fb97ee3e2", "04f3ebfd22"],
    "lv-vit": ["878b640d66"],
    "lv-vit:layers": ["d6de938ddb", "c77ba12d76", "b801dc9c73", "7c31adf5c9"],
    "lv-vit:token": ["b801dc9c73", "d2c673bbd5", "a0f36f3c3c"],
    "lv-vit:position": ["878b640d66", "b6ea66c9ac"],
    "speed": ["d772e7c613"],
    "speed:layers": ["e1c2f34275", "04f31898e9", "d772e7c613", "d2852dfb33"],
    "speed:token": ["d772e7c613", "09ab8ee5b1", "ce4f362f1e"],
    "speed:position": ["d772e7c613", "d0137a84e7"],
}


@pytest.mark.parametrize("name", HASHES)
def test_the_hash_of_a_preset_is_what_it_was(name):
    assert [arm.recipe_hash for arm in preset(name).arms()] == HASHES[name]


def test_every_preset_is_held_to_its_hash():
    assert {name for name in HASHES if ":" not in name} == set(PRESETS)
    for name in PRESETS:
        for ablation in SHAPES[2:] if name in SHALLOW else SHAPES:
            arms = [arm.recipe_hash for arm in preset(f"{name}:{ablation}").arms()]
            assert arms == HASHES.get(f"{name}:{ablation}", HASHES[name])  # the others vary variants alone


@pytest.mark.parametrize("name", SHALLOW)
@pytest.mark.parametrize("ablation", SHAPES[:2])
def test_a_body_of_two_layers_has_no_layers_to_vary(name, ablation):
    with pytest.raises(ValueError, match=r"the body nano has 2 layers, too few to vary .*; choose a preset with a dee"):
        preset(f"{name}:{ablation}")


def test_no_layer_of_the_default_study_is_plain():
    fixed = preset(DEFAULT).fixed
    assert (fixed["class_token"], fixed["spatial_layers"]) == ("none", SIZES[fixed["size"]].depth)


def test_what_a_digit_study_holds_fixed_is_written_out():
    """The content behind the hash: what the hash is made of is seen to change with each of its entries."""
    fixed = digits().fixed
    assert json.dumps(fixed, sort_keys=True) == FIXED
    assert digest(fixed) == HASHES["digits"][0]
    for name in fixed:
        assert digest({key: value for key, value in fixed.items() if key != name}) != HASHES["digits"][0]


def test_the_settings_of_reading_pictures_leave_older_studies_as_they_are():
    study = preset("digits")
    assert study.recipe_hash == "111903f041"  # what results/ was recorded with
    assert "background" not in study.fixed
    assert replace(study, background="white", allow_skipped=0.5).recipe_hash == study.recipe_hash
    assert replace(study, background="black").recipe_hash != study.recipe_hash
    with pytest.raises(ValueError, match=r"allow_skipped=1\.5 is no share of files; choose 0 to 1"):
        replace(study, allow_skipped=1.5)


@pytest.mark.parametrize("name", PLACING)
def test_the_settings_of_canvases_leave_older_studies_as_they_are(name):
    study = preset("digits")
    assert name not in study.fixed
    assert replace(study, **{name: 5}).fixed == study.fixed | {name: 5}
    with pytest.raises(ValueError, match=f"{name}=0"):
        replace(study, **{name: 0})
