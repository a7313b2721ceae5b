"""Label maps: what is written is read, in any order, by any process; damage is named; values are probabilities."""

import json
import math
import pickle

import pytest
import torch

from harness.data import label_maps
from harness.data.label_maps import About, Writer, open_maps, top_logits

MADE = About(pictures=7, k=2, grid=(1, 3), classes=4, made_by="a test", dataset="0123456789")


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    monkeypatch.setattr(label_maps, "SHARD", 3)


def values(part):
    """[m, 2, 1, 3]: the number of the picture and a place tell each value."""
    return torch.tensor([[[[n + r / 2 + c / 8 for c in range(3)]] for r in range(2)] for n in part])


def indices(part):
    return torch.tensor([[[[(n + r + c) % 4 for c in range(3)]] for r in range(2)] for n in part])


def written(folder, about=MADE):
    writer = Writer(folder, about)
    for part in writer.missing():
        writer.write(part, values(part), indices(part))
    return writer.finish()


@pytest.fixture(params=["in memory", "on the disk"])
def read(request, monkeypatch):
    if request.param == "on the disk":
        monkeypatch.setattr(label_maps, "IN_MEMORY", 0)


def agree(maps, numbers=(6, 0, 3, 3, 2)):
    found, classes = maps[torch.tensor(numbers)]
    assert (found.dtype, classes.dtype) == (torch.float16, torch.int64)
    assert torch.equal(found.float(), values(numbers))
    assert torch.equal(classes, indices(numbers))


@pytest.mark.usefixtures("read")
def test_what_was_written_is_read(tmp_path):
    for maps in (written(tmp_path), open_maps(tmp_path)):
        assert (len(maps), maps.grid, maps.classes) == (7, (1, 3), 4)
        agree(maps)
        agree(pickle.loads(pickle.dumps(maps)))


@pytest.mark.usefixtures("read")
def test_a_reader_that_is_one_picture_off_is_noticed(tmp_path):
    written(tmp_path)
    real = open_maps(tmp_path)
    shifted = type("Off", (), {"__getitem__": lambda _, numbers: real[(numbers + 1) % 7]})()
    with pytest.raises(AssertionError):
        agree(shifted)


def test_what_was_read_is_not_pickled(tmp_path):
    maps = written(tmp_path)
    before = len(pickle.dumps(maps))
    agree(maps)
    assert len(pickle.dumps(maps)) == before


def test_the_digest_is_of_the_content(tmp_path):
    first = written(tmp_path / "a").digest
    assert len(first) == 10
    assert int(first, 16) >= 0
    assert written(tmp_path / "b").digest == open_maps(tmp_path / "a").digest == first
    writer = Writer(tmp_path / "c", MADE)
    for part in writer.missing():
        writer.write(part, -values(part), indices(part))
    assert writer.finish().digest != first


def test_many_classes_keep_their_numbers(tmp_path):
    """int16 ends at 32,767."""
    for classes, kept in ((2**15, torch.int16), (2**15 + 1, torch.int32)):
        about = About(1, 1, (1, 1), classes, "a test", "0123456789")
        assert about.index_type == kept
        writer = Writer(tmp_path / str(classes), about)
        writer.write(range(1), torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), classes - 1))
        assert writer.finish()[torch.tensor([0])][1].item() == classes - 1
    assert torch.tensor(2**15).to(torch.int16).item() != 2**15


def test_their_bytes_are_those_of_the_files(tmp_path):
    """Beside the headers, of some hundred bytes."""
    written(tmp_path)
    there = sum(file.stat().st_size for file in tmp_path.glob("*.safetensors"))
    assert MADE.bytes == 7 * 2 * 3 * (2 + 2)
    assert MADE.bytes < there < MADE.bytes + 3 * 600


def test_writing_goes_on_where_it_was_ended(tmp_path):
    first = Writer(tmp_path, MADE)
    assert first.missing() == [range(3), range(3, 6), range(6, 7)]
    first.write(range(3, 6), values(range(3, 6)), indices(range(3, 6)))
    (tmp_path / f".00000-{'0' * 16}.safetensors.77.draft").write_bytes(b"half of a shard")
    with pytest.raises(ValueError, match=r"2 of 3 shards .* are not written yet"):
        first.finish()
    [kept] = tmp_path.glob("00001-*")
    before = kept.stat().st_mtime_ns
    assert Writer(tmp_path, MADE).missing() == [range(3), range(6, 7)]
    agree(written(tmp_path))
    assert kept.stat().st_mtime_ns == before


def test_a_shard_that_is_damaged_or_of_other_maps_is_missing(tmp_path):
    written(tmp_path)
    assert Writer(tmp_path, MADE).missing() == []
    assert len(Writer(tmp_path, About(7, 2, (1, 3), 4, "another test", "0123456789")).missing()) == 3
    [shard] = tmp_path.glob("00001-*")
    shard.write_bytes(shard.read_bytes()[:-1])
    assert Writer(tmp_path, MADE).missing() == [range(3, 6)]


def cut(folder):
    shard = next(folder.glob("00001-*"))
    shard.write_bytes(shard.read_bytes()[:-8])


def altered(folder):
    shard = next(folder.glob("00002-*"))
    content = shard.read_bytes()
    shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def told(folder, **changes):
    (folder / "maps.json").write_text(json.dumps(json.loads((folder / "maps.json").read_text()) | changes))


DAMAGE = {
    "no maps": (lambda folder: (folder / "maps.json").unlink(), "no folder of label maps, since it has no maps.json"),
    "a shard less": (lambda folder: next(folder.glob("00000-*")).unlink(), r"00000-.* is missing; delete"),
    "cut off": (cut, r"00001-.* is damaged: its contents"),
    "one bit": (altered, r"00002-.* is damaged: its contents"),
    "half a json": (lambda folder: (folder / "maps.json").write_text('{"format": 1, "pict'), "maps.json is damaged"),
    "no object": (lambda folder: (folder / "maps.json").write_text("[1]"), "maps.json is damaged"),
    "another format": (lambda folder: told(folder, format=9), "have the format 9, and 1 is read; make them again"),
    "other keys": (lambda folder: told(folder, colour=9), "maps.json is damaged"),
    "more pictures": (lambda folder: told(folder, pictures=70), "names 3 shards, and 70 pictures have 24"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named(kind, tmp_path):
    written(tmp_path)
    damage, sentence = DAMAGE[kind]
    damage(tmp_path)
    with pytest.raises(ValueError, match=sentence) as raised:
        open_maps(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("change", "sentence"), [
    (lambda v, i: (v[:2], i[:2]), r"maps of \(2, 2, 1, 3\) are not the \(3, 2, 1, 3\) of this shard"),
    (lambda v, i: (v * math.nan, i), "values of a test are not finite in float16"),
    (lambda v, i: (v * 1e6, i), "values of a test are not finite in float16"),
    (lambda v, i: (v, i + 1), "classes 1 to 4 are not among the 4 of the maps"),
    (lambda v, i: (v, i - 1), "classes -1 to 2 are not among the 4 of the maps"),
])  # fmt: skip
def test_what_is_no_map_is_not_written(change, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        Writer(tmp_path, MADE).write(range(3), *change(values(range(3)), indices(range(3))))
    assert not list(tmp_path.iterdir())


def probabilities(values, indices, classes):
    """The published reading: 0 for what is not listed, a softmax over all."""
    b, _, h, w = values.shape
    return torch.zeros(b, classes, h, w, dtype=torch.float64).scatter(1, indices, values.double()).softmax(dim=1)


def agrees_with_the_network(make, classes, scale, k=5, shift=0.0):
    """In each cell the listed classes have the network's probabilities, the others equal shares of what is left."""
    logits = scale * torch.randn(3, classes, 2, 4, dtype=torch.float64) + shift
    true = logits.softmax(dim=1)
    values, indices = make(logits.float(), k)
    assert values.dtype == torch.float16
    k = min(k, classes)
    assert values.shape == indices.shape == (3, k, 2, 4)
    assert torch.equal(indices, true.topk(k, dim=1).indices)
    expected = true.gather(1, indices)
    rest = (1 - expected.sum(dim=1, keepdim=True)) / max(1, classes - k)
    expected = rest.expand_as(true).scatter(1, indices, expected)
    found = probabilities(values, indices, classes)
    step = values.abs().max().double() * 2**-11 + 2**-25  # at most half a step of float16
    torch.testing.assert_close(found, expected, rtol=float(4 * step), atol=1e-12)


CASES = [(10, 1.0), (10, 8.0), (3, 2.0), (5, 2.0), (6, 2.0), (1000, 3.0)]


@pytest.mark.parametrize("shift", [0.0, -7.0])
@pytest.mark.parametrize(("classes", "scale"), CASES)
def test_values_are_the_networks_probabilities(classes, scale, shift):
    agrees_with_the_network(top_logits, classes, scale, shift=shift)


def raw(logits, k):
    """As the authors keep them."""
    values, indices = logits.topk(min(k, logits.shape[1]), dim=1)
    return values.half(), indices


@pytest.mark.parametrize(("classes", "scale"), [case for case in CASES if case[0] > 5])
def test_raw_logits_are_not(classes, scale):
    with pytest.raises(AssertionError):
        agrees_with_the_network(raw, classes, scale)


def test_a_listed_class_would_fall_below_the_others():
    """All ten logits below 0: by raw logits the likeliest class is one that is not listed."""
    logits = torch.linspace(-1, -10, 10).view(1, 10, 1, 1)
    assert probabilities(*raw(logits, 5), 10).argmax() == 5
    assert probabilities(*top_logits(logits), 10).argmax() == 0
