"""Published numbers: read with their sources, shown only beside the same model on ImageNet-1k, never mixed in."""

import pytest

from harness.report.study import published
from harness.report.study.study import study as take_apart
from harness.results import store
from tests.support import rows as made
from tests.support.page import Page, render

LINES = [
    "imagenet1k,DeiT-S,sa,small,224,224,0,22.05,4.608,79.854,,an oracle,readme,",
    "imagenet1k,DeiT-S tuned,sa,small,224,384,1,22.05,15.5,81.47,,an oracle,paper,30 epochs",
    "imagenet1k,DeiT-S as it is,sa,small,224,384,0,22.05,15.5,77.77,,an oracle,paper,",
    "imagenet1k,SP-ViT-S,sp_sa,sp_vit_s,224,224,0,26,,83.9,,an oracle,readme,",
    "imagenet1k,DeiT-S on a tenth,sa,small,224,224,0,22.05,4.608,48.0,,an oracle,paper,10 % of the training images",
    "imagenet1k,nobody's,,,224,224,0,26,,88.88,,an oracle,readme,",
    "cifar100,a small one,sa,small,224,224,0,26,,66.66,,an oracle,readme,",
]


def folder(tmp_path, lines=LINES, header=None):
    (tmp_path / "published").mkdir(exist_ok=True)
    (tmp_path / "published" / "made_up.csv").write_text(
        "\n".join([header or ",".join(published.COLUMNS), *lines]) + "\n", encoding="utf-8"
    )
    return tmp_path / "published"


def measured(dataset="torch/imagenet", size="small", train_px=224, seeds=range(3)):
    """sa as trained at 224 px, zero-shot at 384 px, and fine-tuned there."""
    rows = []
    for metric, px, top1 in (("top1", 224, 79.0), ("top1", 384, 76.0), ("finetuned_top1", 384, 80.0)):
        for seed in seeds:
            about = {"dataset": dataset, "size": size, "train_px": train_px, "test_px": px, "seed": seed, "epoch": 30}
            rows.append(made.row("sa", metric, top1 + 0.1 * seed, unit="%", **about))
    return rows


def pairs(tmp_path, rows, known):
    saved = made.save(tmp_path / "study", rows)
    setting = take_apart(store.load(saved), store.recipes(saved)).settings[0]
    return [(pair.published.top1, pair.measured, pair.how) for pair in published.beside(setting, known)]


def test_the_same_model_stands_beside_ours_each_tested_in_its_own_way(tmp_path):
    assert pairs(tmp_path, measured(), published.read(folder(tmp_path))) == [
        ("79.854", "79.10", "as trained, 3 seeds"),
        ("81.47", "80.10", "fine-tuned from 224 px, 30 epochs, 3 seeds"),
        ("77.77", "76.10", "zero-shot from 224 px, 3 seeds"),
    ]


@pytest.mark.parametrize(
    "other", [{"dataset": "imagenet100"}, {"dataset": "digits"}, {"size": "base"}, {"train_px": 160}]
)
def test_another_dataset_size_or_resolution_shows_nothing(other, tmp_path):
    assert pairs(tmp_path, measured(**other), published.read(folder(tmp_path))) == []


@pytest.mark.parametrize(
    ("name", "is_it"),
    [("imagenet", True), ("torch/imagenet", True), ("hfds/timm/imagenet-1k", True), ("ImageNet (1a2b3c)", True),
     ("ilsvrc2012", True), ("imagenet100", False), ("imagenet-100 (1a2b)", False), ("imagenette", False),
     ("imagenet21k", False), ("digits", False), ("", False)],
)  # fmt: skip
def test_imagenet_1k_is_told_by_its_name(name, is_it):
    assert published.imagenet_1k(name) is is_it


def test_the_page_names_them_as_published_and_forms_nothing_from_them(tmp_path, monkeypatch):
    before = render(tmp_path, measured(), name="before")
    monkeypatch.setattr(published.read, "__defaults__", (folder(tmp_path),))
    page = Page(render(tmp_path, measured(), name="after"))
    assert "Published, not measured here" in page.text
    assert "an oracle" in page.text
    assert "88.88" not in page.text
    assert "an oracle" not in before
    assert page.main == Page(before).main


@pytest.mark.parametrize(
    ("lines", "header", "says"),
    [
        (LINES, "model,variant", "has no column 'dataset'"),
        (["imagenet1k,m,sa,small,224,224,0,many,,79.8,,a paper,,"], None, "params_m is 'many'; write a number"),
        (["imagenet1k,m,sa,small,224,224,0,22,,nan,,a paper,,"], None, "top1 is 'nan'; write a number"),
        (["imagenet1k,m,sa,small,224,224,0,22,,79.8,,,,"], None, "m has no source"),
    ],
)
def test_a_file_that_is_wrong_is_named(lines, header, says, tmp_path):
    where = folder(tmp_path, lines, header)
    with pytest.raises(ValueError, match=says):
        published.read(where)


def test_no_folder_is_no_error_and_ours_can_be_read(tmp_path):
    assert published.read(tmp_path / "missing") == []
    assert all(one.source for one in published.read())
