"""A training of this harness as a teacher: it is the model that the rows are of, and what does not fit is refused."""

import json
import shutil

import pytest
import torch
from safetensors import torch as tensors_file

from harness import data, results
from harness.run import program
from harness.supervision import own, sources
from harness.supervision.annotate import annotated
from harness.supervision.teacher import teacher
from tests.support import bodies

CPU = torch.device("cpu")
FLAGS = ["--preset", "digits", *bodies.FLAGS, "--epochs", "2", "--warmup-epochs", "1", "--seeds", "0", "--jobs", "1",
         "--measure", "accuracy", "--resolutions", "8"]  # fmt: skip


def study(where, *flags):
    """Trains on the digits, and returns the study's folder."""
    assert program.main([*FLAGS, *flags, "--output", str(where / "rows"), "--report", str(where / "page.html")]) == 0
    return where / "rows"


def weights(folder, variant):
    (found,) = (folder / "weights").glob(f"{variant}-seed-0-*.safetensors")
    return str(found)


@pytest.fixture(scope="module")
def pooled(tmp_path_factory):
    """A study of two variants whose class is that of the mean of all patches."""
    return study(tmp_path_factory.mktemp("pooled"), "--class-token", "none", "--variants", "psa", "--epochs", "10")


@pytest.fixture(scope="module")
def tokened(tmp_path_factory):
    return study(tmp_path_factory.mktemp("tokened"), "--variants", "sa")


@pytest.fixture(scope="module")
def headed(tmp_path_factory):
    return study(tmp_path_factory.mktemp("headed"), "--variants", "sa", "--aux-head")


@pytest.fixture(scope="module")
def labelled(pooled, tmp_path_factory):
    """A study whose auxiliary head, beside a class token, learns from the labels of another study's model."""
    where = tmp_path_factory.mktemp("labelled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(where / "cache"))
        maps = f"annotate:{weights(pooled, 'psa')}"
        return study(where, "--variants", "sa", "--aux-head", "--token-labels", maps)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def test_it_is_the_model_that_the_rows_are_of(pooled, tokened, headed, labelled, digits, tmp_path):
    """To the image: as many of the test images are right as the row says."""
    found = {}
    for folder, variant in ((pooled, "psa"), (pooled, "sa"), (tokened, "sa"), (headed, "sa"), (labelled, "sa")):
        made = teacher(weights(folder, variant), digits, CPU, tmp_path)
        logits = made(digits.normalise(digits.test_x))
        rows = results.load(folder)
        (row,) = rows[(rows["metric"] == "top1") & (rows["variant"] == variant)].to_dict("records")
        right = (logits.argmax(1) == digits.test_y).double().mean()
        assert 100 * float(right) == pytest.approx(row["value"])
        assert made.words == f"{variant} of this harness"
        found[made.digest] = row["value"]
    assert len(found) == 5


def test_the_mean_of_what_it_says_of_patches_is_what_it_says_of_the_picture(pooled, digits, tmp_path):
    made = teacher(weights(pooled, "psa"), digits, CPU, tmp_path)
    images = digits.normalise(digits.test_x[:7])
    dense, model = made.dense(images), made.network.model
    assert dense.shape == (7, 10, 4, 4)
    torch.testing.assert_close(dense.mean((2, 3)), made(images), rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        each = model.head(model.tokens(images))  # [B, N, classes], a row of patches after the other
    by_place = each.mT.unflatten(2, (4, 4))
    torch.testing.assert_close(dense, by_place, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(dense, by_place.mT, atol=1e-2)  # rows and columns swapped


def test_a_class_token_teaches_no_patch(tokened, headed, digits, tmp_path):
    """Nor does an auxiliary head that no token labels have taught."""
    for folder in (tokened, headed):
        with pytest.raises(ValueError, match=r"nothing of its patches; name one that was trained with --class-token"):
            annotated(weights(folder, "sa"), digits, CPU, tmp_path)


def test_an_auxiliary_head_that_token_labels_taught_speaks_for_patches(labelled, digits, tmp_path):
    made = teacher(weights(labelled, "sa"), digits, CPU, tmp_path)
    images, model = digits.normalise(digits.test_x[:5]), made.network.model
    with torch.no_grad():
        each = model.aux_head(model.tokens(images)[:, model.prefix :])
    torch.testing.assert_close(made.dense(images), each.mT.unflatten(2, (4, 4)), rtol=1e-4, atol=1e-4)


def test_a_study_learns_from_another_one_wherever_that_lies(pooled, tmp_path, monkeypatch, capsys):
    """Cells have the same keys where the same weights lie in another folder, and others by other weights."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    elsewhere = shutil.copytree(pooled, tmp_path / "elsewhere")

    def keys(*flags):
        capsys.readouterr()
        assert program.main([*FLAGS, "--variants", "sa", *flags, "--output", str(tmp_path / "rows"), "--dry-run"]) == 0
        return {line.split()[0] for line in capsys.readouterr().out.splitlines() if "  to do  " in line}

    for flags in (["--aux-head", "--token-labels", "annotate:{}"], ["--distill", "soft", "--teacher", "{}"]):
        of = {}
        for name, file in (
            ("here", weights(pooled, "psa")), ("there", weights(elsewhere, "psa")), ("other", weights(pooled, "sa")),
        ):  # fmt: skip
            words = [word.format(file) for word in flags]
            made = ["--output", str(tmp_path / "rows"), "--report", str(tmp_path / "page.html")]
            assert program.main([*FLAGS, "--variants", "sa", *words, *made, "--teach"]) == 0
            of[name] = keys(*words)
        assert of["here"]
        assert of["here"] == of["there"]
        assert not of["here"] & of["other"]
        words = [word.format(weights(elsewhere, "psa")) for word in flags]
        assert program.main([*FLAGS, "--variants", "sa", *words, *made]) == 0
        assert not keys(*words)


def test_weights_that_changed_in_place_are_another_lesson(pooled, tmp_path, monkeypatch):
    """The file has the same name; what a plan knows of it is what is in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = shutil.copytree(pooled, tmp_path / "copy")
    words, images = weights(folder, "psa"), data.load("digits")
    chosen = torch.arange(len(images.train_y))
    assert sources.digest(words, images, chosen) == ""
    made = sources.teacher(words, images, CPU, 0, chosen)
    assert sources.digest(words, images, chosen) == made.digest
    state = tensors_file.load_file(words)
    tensors_file.save_file({name: tensor * 1.001 for name, tensor in state.items()}, words)
    assert sources.digest(words, images, chosen) == ""
    assert sources.teacher(words, images, CPU, 0, chosen).digest != made.digest


def test_what_it_computes_is_part_of_what_it_is(pooled, digits, tmp_path, monkeypatch):
    """A changed source of its variant is another teacher."""
    before = teacher(weights(pooled, "psa"), digits, CPU, tmp_path).digest
    monkeypatch.setattr(own.source, "of_classes", lambda *_: "another")
    assert teacher(weights(pooled, "psa"), digits, CPU, tmp_path).digest != before


def test_it_computes_in_the_precision_that_it_was_trained_in(pooled, digits, tmp_path):
    folder = shutil.copytree(pooled, tmp_path / "copy")
    for path in (folder / "recipes").iterdir():
        path.write_text(json.dumps(json.loads(path.read_text()) | {"precision": "bfloat16"}))
    assert own.trained(weights(folder, "psa"), digits)[0].model.precision == "bfloat16"


def test_no_more_images_than_the_student_has(pooled, digits):
    """A student of few images would learn of the others from its teacher."""
    with pytest.raises(ValueError, match="learned from 1077 images, and those who learn from it have 200; name"):
        own.trained(weights(pooled, "psa"), digits, 200)
    own.trained(weights(pooled, "psa"), digits, 1077)


def test_a_canvas_of_another_size_is_refused(tmp_path):
    flags = ["--variants", "sa", "--dataset", "digits:translated", "--patch-size", "4", "--class-token", "none",
             "--resolutions", "12"]  # fmt: skip
    words = weights(study(tmp_path, *flags), "sa")
    assert own.trained(words, data.load("digits:translated"))[1] == (12, 12)
    for other in ({"canvas": 16}, {"object_size": 6, "canvas": 9}):
        with pytest.raises(ValueError, match=r"was trained on other canvases \(12 px\) than those here; name weights"):
            own.trained(words, data.load("digits:translated", **other))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("controls", "a control that was widened to another variant's size; name the weights of a variant"),
        ("alone", "has no rows and no recipe beside it"),
        ("no recipe", "has no rows and no recipe beside it"),
        ("dataset", "was trained on letters, and would teach digits here; name weights that were trained on digits"),
        ("variant", "holds the weights of another model than sp_sa"),
        ("damaged", "is no checkpoint that can be read"),
        ("no such variant", "cannot be built: .*no_such.*; a variant of a file needs its --variant-file here, too"),
        ("missing", "cannot be read: No such file or directory; name a file of weights in the folder of a study"),
    ],
)
def test_what_does_not_fit_is_one_sentence(pooled, digits, tmp_path, change, sentence):
    folder = shutil.copytree(pooled, tmp_path / "copy")
    words = weights(folder, "psa")
    rows = folder / f"{words.rpartition('/')[2].removesuffix('.safetensors')}.jsonl"
    said = {
        "dataset": ("dataset", "letters"),
        "variant": ("variant", "sp_sa"),
        "no such variant": ("variant", "no_such"),
        "controls": ("family", "controls"),
    }
    if change in said:
        name, value = said[change]
        lines = [json.dumps(json.loads(line) | {name: value}) for line in rows.read_text().splitlines()]
        rows.write_text("\n".join(lines))
    elif change == "alone":
        words = str(shutil.copy(words, tmp_path / "alone.safetensors"))
    elif change == "no recipe":
        shutil.rmtree(folder / "recipes")
    elif change == "damaged":
        with open(words, "r+b") as file:
            file.truncate(100)
    else:
        words = str(folder / "weights" / "none.safetensors")
    with pytest.raises(ValueError, match=sentence) as error:
        own.trained(words, digits)
    assert "\n" not in str(error.value)
