"""The flags that come from the fields of a study and its recipe: none lost, each read by its type."""

import dataclasses
from dataclasses import fields, replace
from typing import Annotated

import pytest

from harness.jobs.study import Study
from harness.presets import digits, digits_translated
from harness.run import flags
from harness.training.recipe import Flag, Recipe
from tests.support.flags import GIVEN, WITH

BESIDE = {  # what other images bring with them: the preset's test sizes and name are of its own
    "dataset": {"name": "cifar10", "resolutions": ()}, "img_size": {"resolutions": ()},
}  # fmt: skip
NO_FLAG = {"name", "note", "recipe", "vary", "precision", "taught"}  # precision is --amp
OTHERS = {"--preset", "--variant-file", "--list", "--device", "--amp", "--no-amp", "--amp-dtype", "--slurm",
          "--slurm-gpus", "--slurm-cpus", "--slurm-mem", "--slurm-time", "--slurm-max-parallel", "--status", "--output",
          "--report", "--force", "--dry-run", "--teach", "--no-peg", "--no-aux-head", "--no-distilled",
          "--no-torchcompile", "--no-model-ema", "--no-model-ema-warmup", "--help", "-h", "-j", "-b"}  # fmt: skip


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
    beside = WITH.get(name, ())
    usual, found = asked(*beside), asked(*beside, flag(name), *(written or "").split())
    settings = found.recipe if hasattr(found.recipe, name) else found
    assert getattr(settings, name) == value
    assert type(getattr(settings, name)) is type(value)
    changed = {name: value} | BESIDE.get(name, {})
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
