"""Teachers: they see pictures as they have learned them, are trained once, and refuse what does not fit."""

from dataclasses import replace

import pytest
import timm
import torch

from harness import data
from harness.supervision import convnet
from harness.supervision import teacher as module
from harness.supervision.teacher import Teacher, teacher
from harness.training.loop import Training
from tests.support.teachers import MEAN, STD, colours, halves

CPU = torch.device("cpu")
SMALL = "test_byobnet"


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(convnet, "RECIPE", replace(convnet.RECIPE, epochs=2, batch_size=16))


def made(data, cache, name=SMALL, **more):
    return teacher(name, data, CPU, cache, **more)


def refused(words, dataset, cache, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        teacher(words, dataset, CPU, cache)
    assert "\n" not in str(error.value)


def known_by_hand(tmp_path):
    """Images of one colour each, and of two halves, at twice the size that the network sees."""
    images = torch.zeros(2, 3, 16, 32, dtype=torch.uint8)
    images[0] += torch.tensor([10, 128, 255], dtype=torch.uint8)[:, None, None]
    images[1, 0, :, 16:] = 204
    dataset = colours(images)
    one = teacher("timm:colours", dataset, CPU, tmp_path)
    assert (one.size, one.grid, one.classes) == ((8, 16), (2, 4), 3)
    shown = dataset.normalise(images)
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in (MEAN, STD))
    expected = torch.stack([(torch.tensor(c).double() / 255 - mean) / std for c in ([10, 128, 255], [102, 0, 0])])
    torch.testing.assert_close(one(shown).double(), expected, rtol=1e-5, atol=1e-2)  # bicubic at the edge of halves
    torch.testing.assert_close(one(shown)[0].double(), expected[0], rtol=1e-5, atol=1e-5)
    dense = one.dense(shown)
    assert dense.shape == (2, 3, 2, 4)
    for cell in dense[0].flatten(1).T:
        torch.testing.assert_close(cell.double(), expected[0], rtol=1e-5, atol=1e-5)
    right = (torch.tensor(0.8).double() - mean[0]) / std[0]
    torch.testing.assert_close(dense[1, 0, :, 3].double(), right.expand(2), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(dense[1, 0, :, 0].double(), (-mean[0] / std[0]).expand(2), rtol=1e-2, atol=1e-2)


@pytest.mark.usefixtures("pretrained")
def test_a_pretrained_network_sees_pictures_as_it_learned_them(tmp_path):
    known_by_hand(tmp_path)


WRONG = {
    "as the data has them": lambda self, images: module.resize(images, self.size),
    "scaled alone": lambda self, images: module.resize(images * self.scale, self.size),
    "mirrored": lambda self, images: module.resize(images * self.scale + self.shift, self.size).flip(3),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.usefixtures("pretrained")
def test_pictures_seen_otherwise_are_noticed(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(Teacher, "_own", WRONG[kind])
    with pytest.raises(AssertionError):
        known_by_hand(tmp_path)


@pytest.mark.usefixtures("pretrained")
def test_grey_images_are_seen_in_colour(tmp_path):
    grey = replace(colours(torch.full((1, 1, 8, 16), 51, dtype=torch.uint8)), mean=(0.1,), std=(0.3,))
    one = teacher("timm:colours", grey, CPU, tmp_path)
    expected = [(0.2 - mean) / std for mean, std in zip(MEAN, STD, strict=True)]
    torch.testing.assert_close(one(grey.normalise(grey.train_x))[0], torch.tensor(expected))


@pytest.mark.usefixtures("pretrained")
def test_it_stays_in_eval_mode_and_asks_for_no_gradient(tmp_path):
    images = torch.randint(0, 256, (4, 3, 8, 16), dtype=torch.uint8)
    one = teacher("timm:colours", colours(images), CPU, tmp_path)
    shown = colours(images).normalise(images).requires_grad_()
    before = one(shown)
    assert not any(m.training for m in one.train().modules())
    assert torch.equal(one.train()(shown), before)
    assert not before.requires_grad
    assert not one.dense(shown).requires_grad
    assert not any(p.requires_grad for p in one.parameters())
    one.network.train()  # which the class does not do
    assert not torch.equal(one(shown), before)


def test_a_network_is_trained_with_its_norms(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(convnet, "RECIPE", replace(convnet.RECIPE, epochs=4, batch_size=16))
    one = made(halves(n=110, test=50), tmp_path)
    assert one.validated == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(
        f"the teacher {SMALL} is trained on halves: 100.0 % of 11 validation images are right, after"
    )
    dataset = halves(n=110, test=50)
    guesses = one(dataset.normalise(dataset.test_x)).argmax(1)
    assert (guesses == dataset.test_y).float().mean() > 0.9
    assert (guesses == 1 - dataset.test_y).float().mean() < 0.9  # as labels of the other class would be
    assert any(name.endswith("running_mean") and tensor.any() for name, tensor in one.network.state_dict().items())


def test_a_second_call_trains_nothing(tmp_path, monkeypatch, capsys):
    dataset = halves()
    first = made(dataset, tmp_path)
    capsys.readouterr()
    monkeypatch.setattr(convnet, "train", None)  # a call would raise
    second = made(dataset, tmp_path)
    assert (second.digest, second.validated) == (first.digest, first.validated)
    assert capsys.readouterr().err == ""
    assert [file.name.startswith(SMALL) for file in (tmp_path / "teachers").iterdir()] == [True]
    shown = dataset.normalise(dataset.test_x)
    assert torch.equal(first(shown), second(shown))
    for others in ({"chosen": torch.arange(40)}, {"data": halves(seed=1)}, {"name": "test_resnet"}):
        with pytest.raises(TypeError):
            made(**({"data": dataset, "cache": tmp_path} | others))


def test_it_learns_from_the_chosen_images_alone(tmp_path):
    dataset, chosen = halves(), torch.arange(24)
    spoiled = dataset.train_x.clone()
    spoiled[24:] = 7
    first = made(dataset, tmp_path / "a", chosen=chosen)
    assert first.digest == made(replace(dataset, train_x=spoiled), tmp_path / "b", chosen=chosen).digest
    assert first.digest != made(replace(dataset, train_x=spoiled), tmp_path / "c").digest


@pytest.mark.parametrize("kind", ["cut off", "another number"])
def test_damaged_weights_are_trained_again(kind, tmp_path, capsys):
    first = made(halves(), tmp_path)
    [file] = (tmp_path / "teachers").iterdir()
    content = file.read_bytes()
    file.write_bytes(content[:-100] if kind == "cut off" else content[:-1] + bytes([content[-1] ^ 64]))
    capsys.readouterr()
    assert made(halves(), tmp_path).digest == first.digest
    assert f"the teacher in {file} is damaged, and is trained again" in capsys.readouterr().err
    assert file.read_bytes() == content or file.stat().st_size == len(content)  # the seconds may differ


class Killed(BaseException):
    """What a test throws in the middle."""


def test_a_killed_training_goes_on(tmp_path, monkeypatch):
    """With the same norms and moments, so with the same bits."""
    whole, end = made(halves(), tmp_path / "a"), Training.end_epoch
    monkeypatch.setattr(convnet, "CHECKPOINT_S", 0)
    ended = []

    def mortal(self):
        ended.append(self.history.step)
        if len(ended) == 2:
            raise Killed
        end(self)

    monkeypatch.setattr(Training, "end_epoch", mortal)
    with pytest.raises(Killed):
        made(halves(), tmp_path / "b")
    assert made(halves(), tmp_path / "b").digest == whole.digest
    assert ended == [3, 6, 6]  # the second one began where the first was ended
    assert [file.suffix for file in (tmp_path / "b" / "teachers").iterdir()] == [".safetensors"]


def test_canvases_are_what_it_learns_on(tmp_path):
    dataset = data.canvas.placed(halves(), "translated")
    one = made(dataset, tmp_path)
    assert dataset.image_size == (12, 12)
    assert (one.size, one.grid) == ((48, 48), (6, 6))


@pytest.mark.parametrize(("size", "seen"), [
    ((8, 8), (32, 32)), ((12, 12), (48, 48)), ((16, 16), (32, 32)), ((28, 28), (56, 56)), ((32, 32), (64, 64)),
    ((42, 42), (84, 84)), ((64, 64), (64, 64)), ((224, 224), (224, 224)), ((8, 12), (32, 48)),
])  # fmt: skip
def test_small_pictures_are_enlarged(size, seen):
    assert convnet.enlarged(size) == seen


def test_a_network_with_a_fixed_stride_sees_larger_pictures():
    _, size = convnet.fresh("mobilenetv3_small_050", halves())
    assert size == (128, 128)  # 4 x 4 cells at a stride of 32


def test_the_recipe_follows_the_set():
    few, many, files = (convnet.recipe_for(*of) for of in ((7, False), (7_000, False), (7_000, True)))
    assert (few.batch_size, few.epochs) == (7, convnet.RECIPE.epochs)
    assert (many.batch_size, many.epochs) == (convnet.RECIPE.batch_size, 5)
    assert files.epochs == 30


def test_what_is_no_teacher_is_refused(tmp_path):
    refused("resnet5000", halves(), tmp_path, "timm has no model 'resnet5000'; choose test_resnet or another")
    refused("test_vit", halves(), tmp_path, "test_vit is no convolutional network .* choose another")
    refused("timm:resnet5000", halves(), tmp_path, "timm has no model 'resnet5000'; print its names")
    refused("timm:resnet18.nope", halves(), tmp_path, "timm has no weights 'resnet18.nope': .*; print their names")
    refused("timm:resnet18", halves(), tmp_path, "timm:resnet18 knows 1,000 classes, and halves has 2; name a network")
    assert not list(tmp_path.iterdir())


def test_weights_that_cannot_be_had_are_told(tmp_path, pretrained, monkeypatch):
    dataset = colours(torch.zeros(3, 3, 8, 8, dtype=torch.uint8))

    def offline(name, pretrained):
        raise OSError("no route\nto host.")

    monkeypatch.setattr(module.timm, "create_model", offline)
    refused("timm:colours", dataset, tmp_path, "the weights of timm:colours cannot be had: OSError: no route to host;")
    pretrained.has_weights = False
    refused("timm:colours", dataset, tmp_path, "timm has no weights of 'colours'")
    pretrained.has_weights, pretrained.test_input_size, pretrained.input_size = True, None, (4, 8, 8)
    refused("timm:colours", dataset, tmp_path, "wants 4 channels, and colours has 3")


def test_a_pretrained_transformer_is_refused(tmp_path, pretrained, monkeypatch):
    pretrained.num_classes, pretrained.test_input_size = 2, (3, 160, 160)
    monkeypatch.setattr(module.timm, "create_model", lambda name, pretrained: timm.create_model("test_vit"))
    refused("timm:colours", halves(channels=3), tmp_path, "timm:colours is no convolutional network")


def test_a_training_that_fails_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(convnet, "RECIPE", replace(convnet.RECIPE, lr=1e30, warmup_lr=1e30, warmup_epochs=0))
    refused(
        SMALL, halves(), tmp_path, f"{SMALL} cannot be trained on halves: the loss is nan .* choose another network"
    )
