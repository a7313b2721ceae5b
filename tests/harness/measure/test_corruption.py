"""Corruption: the same for every variant and seed, worse with severity, what it says on images made by hand."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.measure import corruption
from harness.measure.corruption import CORRUPTIONS, SEVERITIES, corrupted
from harness.measure.subject import Subject
from harness.training.loop import correct
from tests.support.cells import experiment
from tests.support.trainings import digits


def every(image, number=0):
    """By name and severity, an image of that number corrupted."""
    return {(name, severity): corrupted(image[None], name, severity, [number])[0]
            for name in CORRUPTIONS for severity in SEVERITIES}  # fmt: skip


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (3, 8, 8), (1, 7, 9), (3, 5, 2), (1, 1, 6), (3, 6, 1), (1, 1, 1), (3, 32, 32)]
)
def test_what_is_corrupted_is_8_bit_and_of_the_same_shape(shape):
    image = torch.randint(0, 256, shape, dtype=torch.uint8)
    for found in every(image).values():
        assert found.shape == image.shape
        assert found.dtype == torch.uint8


def test_severities_are_ordered():
    """The mean squared change of real images grows from one to the next."""
    images = digits().test_x[:64]
    change = {}
    for number, image in enumerate(images):
        for word, found in every(image, number).items():
            change[word] = change.get(word, 0.0) + float((found.float() - image.float()).square().mean())
    for name in CORRUPTIONS:
        one, two, three = (change[name, severity] for severity in SEVERITIES)
        assert 0 < 1.2 * one < 1.2**0.5 * two * 1.2**0.5, name
        assert 1.2 * two < three, name


def test_what_is_drawn_depends_on_the_images_number_the_corruption_and_the_severity():
    image = torch.full((1, 16, 16), 200, dtype=torch.uint8)
    torch.manual_seed(1)
    first = every(image, 3)
    torch.manual_seed(2)
    assert all(torch.equal(first[word], found) for word, found in every(image, 3).items())
    assert not torch.equal(first["noise", 1], every(image, 4)["noise", 1])
    assert not all(torch.equal(first["occlusion", 1], every(image, number)["occlusion", 1]) for number in range(4, 9))
    noise = [(first["noise", severity].float() - 200).flatten() for severity in (1, 2)]
    assert abs(float(torch.corrcoef(torch.stack(noise))[0, 1])) < 0.3  # another draw, and not the same one louder


def test_noise_has_its_deviation_and_no_mean():
    image = torch.full((3, 64, 64), 128, dtype=torch.uint8)
    for severity in (1, 2):
        noise = every(image)["noise", severity].float() / 255 - 128 / 255
        assert float(noise.std()) == pytest.approx(corruption.NOISE[severity - 1], rel=0.06)
        assert float(noise.mean()) == pytest.approx(0.0, abs=0.01)


def test_blur_spreads_a_point_evenly_and_leaves_what_is_flat():
    point = torch.zeros(1, 21, 21, dtype=torch.uint8)
    point[0, 10, 10] = 255
    flat = torch.full((3, 9, 9), 77, dtype=torch.uint8)
    widths = []
    for severity in SEVERITIES:
        found = corruption.blur(point.float() / 255, severity - 1, torch.Generator())
        assert float(found.sum()) == pytest.approx(1.0, rel=1e-4 if severity < 3 else 0.05)  # the mirror is near
        torch.testing.assert_close(found, found.mT)
        torch.testing.assert_close(found, found.flip(-1))
        dy = torch.arange(21.0) - 10
        widths.append(float((found[0].sum(1) * dy**2).sum()) ** 0.5)
        assert torch.equal(every(flat)["blur", severity], flat)
    assert widths[0] == pytest.approx(0.05 * 21, rel=0.1)
    assert widths[1] == pytest.approx(0.1 * 21, rel=0.05)
    assert widths == sorted(widths)


def test_contrast_is_less_about_the_mean_of_the_grey_image():
    image = torch.tensor([[[50, 150], [100, 100]]], dtype=torch.uint8)
    for severity, left in zip(SEVERITIES, corruption.CONTRAST, strict=True):
        expected = (100 + left * (image.float() - 100)).round()
        assert (every(image)["contrast", severity].float() - expected).abs().max() <= 1


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 10), (1, 1, 6)])
def test_occlusion_is_one_grey_square_inside_the_image(shape):
    image = torch.zeros(shape, dtype=torch.uint8)
    corners = set()
    for severity, number in itertools.product(SEVERITIES, range(40)):
        found = every(image, number)["occlusion", severity]
        side = max(1, round(corruption.OCCLUDED[severity - 1] * min(shape[1:])))
        for channel in found:
            y, x = channel.nonzero(as_tuple=True)
            assert set(channel.flatten().tolist()) <= {0, 128}
            assert len(y) == side * side
            assert (y.max() - y.min() + 1, x.max() - x.min() + 1) == (side, side)
        corners.add((severity, int(y.min()), int(x.min())))
    assert len(corners) > 10
    ends = {x for severity, _, x in corners if severity == 1}
    assert {0, shape[2] - max(1, round(0.25 * min(shape[1:])))} <= ends  # to both borders


class Seen(torch.nn.Module):
    """Keeps what it is shown."""

    def __init__(self):
        super().__init__()
        self.weight, self.seen = torch.nn.Parameter(torch.zeros(1)), []

    def forward(self, images):
        self.seen.append(images.clone())
        return torch.nn.functional.one_hot(torch.zeros(len(images), dtype=torch.long), 10).float()


def subject(model, data, seed):
    one, nowhere = experiment(), Path("nowhere")
    made = Subject(data, one.image, 2, seed, lambda: model, one.shown, nowhere, nowhere, nowhere)
    made.model = model.eval()
    return made


def test_every_variant_and_seed_meets_the_same_images_and_rows_say_which():
    data = replace(digits(), test_x=digits().test_x[:30], test_y=digits().test_y[:30])
    models = [Seen(), Seen()]
    rows = []
    for seed, model in enumerate(models):
        torch.manual_seed(seed)
        rows.append(list(corruption.measure(subject(model, data, seed))))
    assert rows[0] == rows[1]
    assert len(models[0].seen) == 12
    assert all(torch.equal(a, b) for a, b in zip(models[0].seen, models[1].seen, strict=True))
    assert [row["params"] for row in rows[0]] == [
        {"corruption": name, "severity": severity} for name in CORRUPTIONS for severity in SEVERITIES
    ]
    share = 100 * float((data.test_y == 0).double().mean())
    assert all((row["metric"], row["unit"], row["n"]) == ("corrupted_top1", "%", 30) for row in rows[0])
    assert all(row["value"] == pytest.approx(share) for row in rows[0])
    plain = Seen()
    correct(plain, [(data.normalise(data.test_x), data.test_y)])
    assert not torch.equal(plain.seen[0], models[0].seen[0])
    first = data.normalise(corrupted(data.test_x[7:8], "noise", 1, [7]))[0]
    torch.testing.assert_close(models[0].seen[0][7], first)


def test_batches_change_nothing(monkeypatch):
    data = replace(digits(), test_x=digits().test_x[:30], test_y=digits().test_y[:30])
    found = []
    for batch in (512, 7):
        monkeypatch.setattr(corruption, "BATCH", batch)
        model = Seen()
        list(corruption.measure(subject(model, data, 0)))
        found.append(torch.cat(model.seen))
    assert torch.equal(*found)


def test_pictures_from_files_are_refused_in_one_sentence():
    data = replace(digits(), test_x=["a.png"])
    with pytest.raises(
        ValueError, match=r"corruption must have images in memory, and digits is read from files; leave "
    ):
        next(corruption.measure(subject(Seen(), data, 0)))
