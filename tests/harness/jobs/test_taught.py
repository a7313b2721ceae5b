"""A study with token labels or a teacher: what is refused, and that its content is part of what a cell is."""

from dataclasses import replace

import pytest
import torch

from harness import data
from harness.jobs import checks, lesson
from harness.jobs.experiment import Experiment
from harness.jobs.plan import RunPlan, StudyArm, cells_of
from harness.presets import digits, preset
from harness.run import program
from harness.supervision import sources
from tests.support.trainings import digits as images

LABELLED = replace(digits(), token_labels="annotate:test_resnet", aux_head=True)
TAUGHT = replace(digits(), teacher="test_resnet", recipe=replace(digits().recipe, distill="soft"))
CPU = torch.device("cpu")


class Made:
    """Label maps or a teacher of this content."""

    def __init__(self, digest):
        self.digest = digest


@pytest.fixture
def made(monkeypatch):
    """Lets both be made, of the content that is set."""
    content = {"digest": "aaaaaaaaaa"}
    for kind in ("label_maps", "teacher"):
        monkeypatch.setattr(sources, kind, lambda *_: Made(content["digest"]))
    monkeypatch.setattr(sources, "digest", lambda *_: content["digest"])
    monkeypatch.setattr(sources, "described", lambda *_: "made by hand")
    return content


@pytest.mark.parametrize("study", [LABELLED, TAUGHT], ids=["labels", "teacher"])
def test_another_content_is_another_study(study, made):
    run = RunPlan((), "cpu", (StudyArm(study, ("sa",)),))
    found = {}
    for made["digest"] in ("aaaaaaaaaa", "bbbbbbbbbb"):
        (arm,) = run.teach(0, make=True).arms
        assert arm.study.taught == made["digest"]
        experiment = Experiment(arm.study, images(), CPU)
        trained = next(cell for cell in cells_of(experiment, ["sa"]) if cell.kind == "training")
        found[made["digest"]] = (arm.study.recipe_hash, trained.key)
        assert made["digest"] in lesson.described(experiment)["lessons"]
    assert all(one != other for one, other in zip(*found.values(), strict=True))


def test_a_process_that_finds_another_content_than_was_planned_says_so(made):
    (arm,) = RunPlan((), "cpu", (StudyArm(LABELLED, ("sa",)),)).teach(0, make=True).arms
    made["digest"] = "bbbbbbbbbb"
    with pytest.raises(ValueError, match="is bbbbbbbbbb here and aaaaaaaaaa where the study was planned"):
        _ = Experiment(arm.study, images(), CPU).lesson


def test_what_changed_since_it_was_planned_is_planned_anew(made):
    """As label maps in a folder that were replaced, or a teacher whose cache was emptied."""
    known = RunPlan((), "cpu", (StudyArm(LABELLED, ("sa",)),)).teach(0, make=False)
    made["digest"] = "bbbbbbbbbb"
    assert [arm.study.taught for arm in known.arms] == ["aaaaaaaaaa"]
    assert [arm.study.taught for arm in known.teach(0, make=True).arms] == ["bbbbbbbbbb"]


def test_where_a_folder_of_maps_lies_is_no_part_of_a_study():
    first, other = (replace(LABELLED, token_labels=where, taught="c") for where in ("/a/x/", "/b/y"))
    assert first.recipe_hash == other.recipe_hash != replace(first, taught="d").recipe_hash


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"aux_head": None}, "need a head on the patches; write --aux-head"),
        ({"token_labels": ""}, "names nothing; write a folder, or annotate:MODEL"),
        ({"train_fractions": (0.5, 1.0)}, "--train-fractions do not go with"),
        ({"recipe": {"mixup": 0.8}}, "do not go with mixup and cutmix"),
        ({"recipe": {"distill": "soft"}, "teacher": "net"}, "do not go with distill"),
        ({"recipe": {"dense_weight": 0.0}}, "dense_weight=0.0 leaves a head untaught"),
        ({"recipe": {"mixtoken": 1.0, "batch_size": 33}}, "does not go with an odd batch_size"),
        ({"distilled": True}, "adds a token that --token-labels do not teach"),
        ({"token_labels": None, "recipe": {"cls_weight": 2.0}}, "have no effect without --token-labels"),
        ({"token_labels": None, "teacher": "net"}, "has no effect without --distill"),
        ({"token_labels": None, "recipe": {"distill": "soft"}}, "needs a teacher; add --teacher NAME"),
        ({"token_labels": None, "teacher": "net", "recipe": {"distill": "soft"}}, "add --no-aux-head"),
        ({"token_labels": None, "recipe": {"distillation_tau": 2.0}}, "have no effect without --distill"),
        (
            {"token_labels": None, "aux_head": None, "teacher": "net",
             "recipe": {"distill": "hard", "distillation_tau": 2.0}}, "has no effect on hard distillation",
        ),
        ({"recipe": {"distillation_alpha": 0.0}}, "must be a share above 0, up to 1"),
    ],
)  # fmt: skip
def test_settings_that_contradict_or_do_nothing_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        replace(LABELLED, **(changes | {"recipe": replace(LABELLED.recipe, **changes.get("recipe", {}))}))


def test_shifts_before_a_canvas_are_refused_with_token_labels():
    """What they cut off, labels would not know."""
    study = replace(preset("digits-translated"), token_labels="annotate:test_resnet", aux_head=True)
    placed = data.load("digits:translated")
    checks.check(Experiment(study, placed, CPU))
    with pytest.raises(ValueError, match="--crop-pad 1 cuts images before they are placed"):
        checks.check(Experiment(replace(study, recipe=replace(study.recipe, crop_pad=1)), placed, CPU))


def test_generated_images_have_no_label_maps():
    study = replace(LABELLED, dataset="probes:same_row")
    with pytest.raises(ValueError, match="--token-labels means nothing for probes:same_row, a generator"):
        checks.check(Experiment(study, data.load("probes:same_row"), CPU))


def command(tmp_path, *words):
    where = ("--output", str(tmp_path / "rows"), "--report", str(tmp_path / "page.html"))
    return ["--preset", "digits", "--variants", "sa", *where, *words]


def test_teach_wants_something_to_make(capsys, tmp_path):
    assert program.main(command(tmp_path, "--teach")) == 2
    assert "--teach makes label maps or a teacher, and the study has none" in capsys.readouterr().err


def test_a_cluster_of_gpus_does_not_let_this_machine_make_them(capsys, tmp_path, made):
    made["digest"] = ""
    words = ("--teacher", "net", "--distill", "hard", "--slurm", "gpu", "--slurm-gpus", "1")
    assert program.main(command(tmp_path, *words)) == 2
    assert "run the same command with --teach and without --slurm on a machine with a GPU" in capsys.readouterr().err


def test_a_teacher_is_made_on_as_many_cores_as_a_training(made, monkeypatch):
    """Sums depend on how many threads make them, and so does what a network becomes."""
    seen = []
    monkeypatch.setattr(sources, "teacher", lambda *_: seen.append(torch.get_num_threads()) or Made("aaaaaaaaaa"))
    before = torch.get_num_threads()
    for threads in (1, 2):
        study = replace(TAUGHT, threads=threads)
        RunPlan((), "cpu", (StudyArm(study, ("sa",)),)).teach(0, make=True)
    monkeypatch.setattr(sources, "check", lambda *_, **__: None)
    RunPlan((), "cpu", (StudyArm(replace(TAUGHT, teacher="timm:resnet18", threads=2), ("sa",)),)).teach(0, make=True)
    assert seen == [1, 2, before], "a pretrained network learns nothing, and takes all cores"
    assert torch.get_num_threads() == before
