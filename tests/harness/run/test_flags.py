"""The flags that come from the fields of a study and its recipe: none lost, each read by its type."""

import dataclasses
from dataclasses import fields, replace
from typing import Annotated

import pytest

from harness.jobs.study import Study
from harness.presets import digits, digits_translated
from harness.run import flags
from harness.training.recipe import Flag, Recipe

NO_FLAG = {"name", "note", "recipe", "vary", "precision"}  # precision is --amp
GIVEN = {
    "primary": ("psa,window", "psa,window"), "delta": ("0.2", 0.2),
    # each flag of a field, as it is written; what the field then is
    "variants": ("psa,sa", "psa,sa"), "baseline": ("psa", "psa"), "seeds": ("1-2", (1, 2)),
    "resolutions": ("8,8x16", (8, (8, 16))), "finetune_epochs": ("3", 3), "train_fractions": ("0.5,1", (0.5, 1.0)),
    "match": ("gmac", "gmac"), "reach": ("80,90", (80.0, 90.0)), "measure": ("cost,speed", ("cost", "speed")),
    "dataset": ("cifar10", "cifar10"), "data_dir": ("here", "here"), "train_images": ("500", 500),
    "canvas": ("14", 14), "clutter": ("3", 3), "object_size": ("7", 7), "places": ("2", 2),
    "background": ("black", "black"), "allow_skipped": ("0.2", 0.2),
    "img_size": ("16", 16), "workers": ("2", 2), "size": ("tiny", "tiny"), "patch_size": ("4", 4),
    "num_heads": ("2", 2), "class_token": ("none", "none"), "spatial_layers": ("1", 1), "pos_embed": ("none", "none"),
    "pos_std": ("0.1", 0.1), "peg": (None, True), "val_interval": ("2", 2), "backend": ("eager", "eager"),
    "torchcompile": (None, True), "jobs": ("2", 2), "threads": ("3", 3), "checkpoint_interval": ("1.5", 1.5),
    "speed_rounds": ("7", 7), "tune": ("lr", "lr"), "tune_seeds": ("2", 2), "init_from": ("timm:vit", "timm:vit"),
    "epochs": ("9", 9), "batch_size": ("32", 32), "lr": ("0.1", 0.1), "min_lr": ("0", 0.0), "warmup_lr": ("0.2", 0.2),
    "warmup_epochs": ("2", 2), "cooldown_epochs": ("1", 1), "weight_decay": ("0.3", 0.3), "smoothing": ("0.2", 0.2),
    "drop_path": ("0.4", 0.4), "clip_grad": ("2", 2.0), "crop_pad": ("1", 1), "scale": ("0.5 0.9", (0.5, 0.9)),
    "hflip": ("0.6", 0.6), "color_jitter": ("0.7", 0.7), "aa": ("rand-m9", "rand-m9"), "aug_repeats": ("2", 2),
    "reprob": ("0.8", 0.8), "mixup": ("0.9", 0.9), "cutmix": ("1.1", 1.1), "mixup_prob": ("0.3", 0.3),
    "mixup_switch_prob": ("0.4", 0.4), "model_ema": (None, True), "model_ema_decay": ("0.9", 0.9),
    "model_ema_warmup": (None, True),
}  # fmt: skip
WITH = {"tune_seeds": ("--tune", "lr")}  # a flag that has an effect beside another alone
OTHERS = {"--preset", "--variant-file", "--list", "--device", "--amp", "--no-amp", "--amp-dtype", "--slurm",
          "--slurm-gpus", "--slurm-cpus", "--slurm-mem", "--slurm-time", "--slurm-max-parallel", "--status", "--output",
          "--report", "--force", "--dry-run", "--no-peg", "--no-torchcompile", "--no-model-ema",
          "--no-model-ema-warmup", "--help", "-h", "-j", "-b"}  # fmt: skip


def flag(name):
    return f"--{name.replace('_', '-')}"


def asked(*words):
    return flags.study_of(flags.parser().parse_args(["--preset", "digits", *words]))


def test_every_field_has_its_flag_and_none_is_lost():
    every = {one.name for cls in (Study, Recipe) for one in fields(cls)} - NO_FLAG
    assert every == set(GIVEN)
    assert set(flags.parser()._option_string_actions) == OTHERS | {flag(name) for name in GIVEN}


@pytest.mark.parametrize("name", GIVEN)
def test_a_flag_sets_its_field_and_no_other(name):
    written, value = GIVEN[name]
    usual, found = asked(*WITH.get(name, ())), asked(flag(name), *(written or "").split(), *WITH.get(name, ()))
    settings = found.recipe if hasattr(found.recipe, name) else found
    assert getattr(settings, name) == value
    assert type(getattr(settings, name)) is type(value)
    changed = {name: value}
    expected = replace(usual, recipe=replace(usual.recipe, **changed)) if settings is found.recipe else replace(
        usual, **changed)  # fmt: skip
    assert replace(found, note=usual.note) == expected


def test_no_flag_leaves_the_preset():
    assert asked() == digits()
    assert flags.study_of(flags.parser().parse_args([])) == digits_translated()
    assert asked("--no-peg").peg is False
    assert asked("--amp").precision == "bfloat16"
    assert asked("--aa", "none").recipe.aa == ""


def test_every_flag_stands_in_a_group_with_a_help_text():
    for group in flags.parser()._action_groups[2:]:  # after argparse's own two
        assert group._group_actions, group.title
        for action in group._group_actions:
            assert action.help, action.option_strings
    assert [group.title for group in flags.parser()._action_groups[2:]] == list(flags.GROUPS)


def test_a_new_setting_is_one_line(monkeypatch):
    longer = dataclasses.make_dataclass(
        "Longer", [("warmth", Annotated[float | None, Flag("how warm, in %")], None)], bases=(Recipe,), frozen=True
    )
    monkeypatch.setattr(flags, "Recipe", longer)
    assert flags.parser().parse_args(["--warmth", "0.5"]).warmth == 0.5
    assert "--warmth X" in flags.parser().format_help()
    assert "how warm, in %\n" in flags.parser().format_help()


@pytest.mark.parametrize(
    ("dataset", "wanted"),
    [
        ("folder:/here", ("folder", "/here")),
        ("digits:translated", ("digits:translated", None)),
        ("folder:/here:translated", ("folder:/here:translated", None)),
    ],
)
def test_the_path_of_a_folder_is_no_part_of_a_dataset_s_name(dataset, wanted):
    study = flags.study_of(flags.parser().parse_args(["--dataset", dataset]))
    assert (study.dataset, study.data_dir) == wanted
