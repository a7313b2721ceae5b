"""The presets: whole studies, each function a lab note (command, hardware, how long, what to expect).

`--preset NAME` or `--preset NAME:ABLATION`: any preset with one factor of the paper's ablations varied. No torch here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from harness.ablations import ABLATIONS
from harness.jobs.study import Study
from harness.training.published import deit, lv_vit, without_labels
from harness.training.recipe import Recipe


def digits_translated() -> Study:
    """Digits at random places of a 12x12 px canvas, patch 3: a 4x4 grid, two layers, both spatial, average pooling.

    Command: python -m harness.run --variants sp_sa,psa,rpe. Two CPU cores, about 10 s a cell. To expect (eight seeds):
    63 % for sa, 74 % for psa, 64 to 66 % for the others; paired differences to sa spread by 1.8 points. Of 40 draws
    from these eight seeds, 33 decided at least one of the four comparisons with three seeds. With five seeds all did,
    and 22 decided two. With --patch-size 2 --seeds 0-4, which takes over three times as long, all 40 decided at least
    two: there sa has 45 % and psa 77 %. --epochs 58 trains to the end, as results/translated was: about 88 % for sa,
    and variants are nearer to each other.
    """
    return Study(
        name="digits-translated",
        dataset="digits:translated",
        size="nano",
        patch_size=3,
        pos_std=0.5,
        recipe=Recipe(epochs=28, cooldown_epochs=2, batch_size=32, lr=2e-3, warmup_epochs=6, clip_grad=1.0),
        resolutions=(12, 18),
        val_interval=3,
        speed_rounds=9,
        note="pos_std by python -m harness.search: sa alone, validation split, 1 seed, 12 points, 58 epochs. There lr "
        "4e-3 has 88.1 % and 2e-3 85.6 %; with 4e-3 two seeds of rpe_2d were 19 points apart in a pilot of 40 epochs",
    )


def fashion_cluttered() -> Study:
    """Fashion-MNIST at 10 px among clutter on a 24x24 px canvas, patch 4: a 6x6 grid, the body of the default study.

    Command: python -m harness.run --preset fashion-cluttered --variants paper. Two CPU cores, about 60 s a cell. To
    expect (eight seeds): 53 % for sa, 65 % for lepe, 58 to 61 % for most others, 39 % for the mean of all patches
    (uniform); paired differences to sa spread by 1.4 points. Attention has to find the object here, and to put its
    patches together. On patches of 5 px and a 20x20 px canvas the differences were a third to a half of these.
    """
    translated = digits_translated()
    return replace(
        translated, name="fashion-cluttered", dataset="fashion_mnist:cluttered", train_images=10_000, canvas=24,
        img_size=24, object_size=10, patch_size=4, resolutions=(24,), val_interval=1,
        recipe=replace(translated.recipe, epochs=7, cooldown_epochs=1, warmup_epochs=1),
        note="of digits-translated; sa alone, validation split, 1 seed: lr 2e-3 has 52.9 %, 4e-3 53.2 %, 8e-3 43.6 %",
    )  # fmt: skip


def probes() -> Study:
    """Generated tasks of one spatial relation each, 24x24 px, patch 4: a 6x6 grid, the body of the default study.

    Command, once for each of corner, same_row, distance, mirror and texture: python -m harness.run --preset probes
    --dataset probes:corner --variants paper --pos-embed none. 2,048 updates; two CPU cores, about 40 s a cell. To
    expect: 100 % where a variant finds the relation and chance where it does not, with little between.
    """
    return Study(
        name="probes",
        dataset="probes:same_row",
        size="nano",
        patch_size=4,
        pos_std=0.5,
        recipe=Recipe(epochs=16, batch_size=32, lr=2e-3, warmup_epochs=2, clip_grad=1.0),
        resolutions=(24,),
        reach=(90.0,),
        measure=("cost", "accuracy", "symmetry"),
        note="lr and pos_std are those of digits-translated, not tuned for these tasks",
    )


def digits() -> Study:
    """Handwritten digits, 8x8 px, patch 2: a 4x4 grid, a ViT of width 64 and 4 layers, the last two plain.

    Command: python -m harness.run --variants sp_sa,psa,rpe. Two CPU cores, about 6 s a cell. To expect: all variants
    near 97 %, apart by less than three seeds resolve; the transfer to 12 and 16 px differs more.
    """
    return Study(
        name="digits",
        dataset="digits",
        size="micro",
        patch_size=2,
        pos_std=0.5,
        recipe=Recipe(epochs=20, lr=4e-3),
        resolutions=(8, 12, 16),
        speed_rounds=24,
        note="lr and pos_std by python -m harness.search: sa alone, validation split, 3 seeds, 30 points. 96.6 % here; "
        "with the usual pos_std of 0.02, where the patch embedding drowns the position, at most 81 %",
    )


def fashion() -> Study:
    """Fashion-MNIST whole, 54,000 training images, with the recipe of fashion-quick.

    Command: python -m harness.run --preset fashion --variants paper. Two CPU cores, about 15 minutes a cell.
    """
    quick = fashion_quick()
    return replace(
        quick, name="fashion", train_images=None, val_interval=1, reach=(85.0, 90.0), recipe=replace(
            quick.recipe, epochs=10),
        note="lr and pos_std of fashion-quick, found with 10,000 images and 6 epochs; not tuned for all of them",
    )  # fmt: skip


def fashion_quick() -> Study:
    """10,000 training images of Fashion-MNIST, 28x28 px, patch 4: a 7x7 grid, the small ViT of the digits.

    Command: python -m harness.run --preset fashion-quick --variants paper. Two CPU cores, about a minute a
    cell and half an hour in all. To expect: all variants between 81.5 and 83.5 %, apart by less than three seeds
    resolve. On 7x7 patches swin's window is the whole grid, so it is sa.
    """
    return Study(
        name="fashion-quick",
        dataset="fashion_mnist",
        train_images=10_000,
        size="micro",
        patch_size=4,
        pos_std=0.5,
        recipe=Recipe(epochs=6, lr=2e-3, warmup_epochs=1),
        resolutions=(28, 20, 36),
        val_interval=2,
        reach=(80.0, 85.0),
        speed_rounds=12,
        note="lr and pos_std by python -m harness.search: sa alone, validation split, 1 seed, 16 points. 83.7 % here; "
        "with the usual pos_std of 0.02 at most 80.8 %",
    )


def fashion_low() -> Study:
    """Low data: 540 and 5,400 training images of Fashion-MNIST, one and ten in a hundred, patch 4: a 7x7 grid.

    Command: python -m harness.run --preset fashion-low --variants paper. Two CPU cores, about a minute and a
    half a cell. To expect: about 76 % with 540 images; the seeds draw images of their own, which costs about a point.
    """
    quick = fashion_quick()
    return replace(
        quick, name="fashion-low", train_images=5_400, train_fractions=(0.1, 1.0), val_interval=3, reach=(),
        seeds=(0, 1, 2, 3, 4), pos_std=1.0, recipe=replace(quick.recipe, lr=5e-4),
        note="lr and pos_std by python -m harness.search: sa alone, 540 images, validation split, 1 seed, 30 points. "
        "76.6 % here; with the usual pos_std of 0.02 at most 70.4 %",
    )  # fmt: skip


def imagenet100() -> Study:
    """ImageNet-100 as in SP-ViT's ablations, DeiT's recipe at batch 256; 9 heads, so that psa's start fits.

    Command: python -m harness.run --preset imagenet100 --data-dir /data/imagenet100 --variants paper --amp. The folder
    has train/ and val/ with a folder for each class.
    """
    recipe = replace(deit(), batch_size=256, lr=2.5e-4)
    return Study(
        name="imagenet100",
        dataset="folder",
        size="convit_small",
        patch_size=16,
        img_size=224,
        recipe=recipe,
        resolutions=(160, 224, 288, 384),
        val_interval=10,
        checkpoint_interval=600.0,
        workers=8,
        variants="paper",
        note="DeiT's recipe, its lr scaled to the batch; not tuned here, since nobody here has the images",
    )


def imagenet1k() -> Study:
    """ImageNet-1k at SP-ViT-S's size with its recipe, then fine-tuned at 384 px.

    Command: torchrun --nproc-per-node 8 -m harness.run --preset imagenet1k --data-dir /data/imagenet --amp. One seed by
    default, since one takes GPU-weeks.
    """
    return Study(
        name="imagenet1k",
        dataset="folder",
        size="sp_vit_s",
        patch_size=16,
        img_size=224,
        recipe=without_labels(),
        resolutions=(224, 288, 384),
        finetune_epochs=30,
        seeds=(0,),
        val_interval=10,
        checkpoint_interval=900.0,
        workers=8,
        variants="sp_sa",
        note="SP-ViT's recipe without token labels; not tuned here, since nobody here has the images",
    )


def sp_vit() -> Study:
    """SP-ViT-S as it was published (83.9 %): ImageNet-1k with token labels and MixToken, 224 px.

    Command: torchrun --nproc-per-node 8 -m harness.run --preset sp-vit --data-dir /data/imagenet --amp --token-labels
    /data/label_top5_train_nfnet, the authors' label maps. By default the maps are made first, by the same network
    (NFNet-F6, at timm's test size of 576 px), which takes GPU-days. Then fine-tuned at 384 px.
    """
    return replace(
        imagenet1k(), name="sp-vit", recipe=lv_vit(), token_labels="annotate:timm:dm_nfnet_f6.dm_in1k",
        note="LV-ViT's recipe, which SP-ViT's script takes as it is; not tuned here, since nobody here has the images",
    )  # fmt: skip


def lv_vit_s() -> Study:
    """LV-ViT-S as it was published (83.3 %), beside which SP-ViT-S stands: plain attention, an input class token.

    Command: as of sp-vit.
    """
    return replace(sp_vit(), name="lv-vit", size="lv_vit_s", variants="sa")


def speed() -> Study:
    """All variants at DeiT-Ti's size on images of noise in ImageNet's shape: costs, time, memory. Nothing is trained.

    Command: python -m harness.run --preset speed. Two CPU cores, about twenty minutes, and nothing beside
    it. On a GPU: --device cuda --size small --num-heads 4 --amp -b 128 --resolutions 224,384,512.
    """
    return Study(
        name="speed",
        dataset="noise:1000",
        size="tiny",
        num_heads=4,
        patch_size=16,
        img_size=224,
        recipe=replace(deit(), batch_size=8),
        resolutions=(224, 384),
        speed_rounds=12,
        variants="all",
        measure=("cost", "speed"),
        note="four heads instead of three, which psa's start takes",
    )


DEFAULT = "digits-translated"
MADE = (
    digits_translated,
    fashion_cluttered,
    probes,
    digits,
    fashion,
    fashion_quick,
    fashion_low,
    imagenet100,
    imagenet1k,
    sp_vit,
    speed,
)
PRESETS: dict[str, Callable[[], Study]] = {made.__name__.replace("_", "-"): made for made in MADE}
PRESETS["lv-vit"] = lv_vit_s


def preset(name: str) -> Study:
    """The study of that name, PRESET or PRESET:ABLATION. Raises ValueError for one that does not exist."""
    base, colon, ablation = name.partition(":")
    if base not in PRESETS:
        raise ValueError(f"there is no preset {base!r}; choose {', '.join(PRESETS)}")
    study = PRESETS[base]()
    if not colon:
        return study
    if ablation not in ABLATIONS:
        raise ValueError(f"there is no ablation {ablation!r}; choose {', '.join(ABLATIONS)}, as in {base}:hidden")
    varied = ABLATIONS[ablation](study)
    return replace(varied, name=f"{study.name}-{ablation}", measure=("cost", "accuracy", "maps"), finetune_epochs=0)
