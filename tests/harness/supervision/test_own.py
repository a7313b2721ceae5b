"""A training of this harness as a teacher: it is the model that the rows are of, and what does not fit is refused."""

import json
import shutil

import pytest
import torch

from harness import data, results
from harness.run import program
from harness.supervision import own
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
def digits():
    return data.load("digits")


def test_it_is_the_model_that_the_rows_are_of(pooled, tokened, digits, tmp_path):
    """To the image: as many of the test images are right as the row says."""
    frame = results.load(pooled)
    found = {}
    for folder, variant in ((pooled, "psa"), (pooled, "sa"), (tokened, "sa")):
        made = teacher(weights(folder, variant), digits, CPU, tmp_path)
        logits = made(digits.normalise(digits.test_x))
        rows = results.load(folder)
        (row,) = rows[(rows["metric"] == "top1") & (rows["variant"] == variant)].to_dict("records")
        right = (logits.argmax(1) == digits.test_y).double().mean()
        assert 100 * float(right) == pytest.approx(row["value"])
        assert made.words == weights(folder, variant).rpartition("/")[2]
        found[made.digest] = row["value"]
    assert len(found) == 3
    assert len(frame) > 2


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


def test_a_class_token_alone_teaches_no_patch(tokened, digits, tmp_path):
    with pytest.raises(ValueError, match=r"nothing of its patches; name one that was trained with --class-token none"):
        annotated(weights(tokened, "sa"), digits, CPU, tmp_path)


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
        assert of["here"] == of["there"]
        assert not of["here"] & of["other"]
        words = [word.format(weights(elsewhere, "psa")) for word in flags]
        assert program.main([*FLAGS, "--variants", "sa", *words, *made]) == 0
        assert "nan" not in str(results.load(tmp_path / "rows")["value"].tolist())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("alone", "has no rows and no recipe beside it"),
        ("no recipe", "has no rows and no recipe beside it"),
        ("dataset", "was trained on letters, and would teach digits here; name weights that were trained on digits"),
        ("variant", "holds the weights of another model than sp_sa"),
        ("damaged", "is no checkpoint that can be read"),
        ("no such variant", "cannot be built: .*no_such"),
        ("missing", "has no rows and no recipe beside it"),
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
