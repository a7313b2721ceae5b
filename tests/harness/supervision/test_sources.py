"""What a study learns from beside its labels: by its words, by one process at a time, and known to who only plans."""

import threading
import time
from dataclasses import replace

import pytest
import torch

from harness.data import download
from harness.data.label_maps import About, Writer
from harness.supervision import sources
from tests.support.teachers import halves

CPU = torch.device("cpu")
DATA = halves()
CHOSEN = torch.arange(len(DATA.train_y))


class Made:
    validated = 1.0

    def __init__(self, digest):
        self.digest = digest

    def to(self, device):
        return self


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return download.cache()


def makes(monkeypatch, *digests):
    """Lets teachers be made with these digests, one after another; the list of what was asked for."""
    asked, waiting = [], [*digests]

    def make(words, *_):
        asked.append(words)
        return Made(waiting.pop(0))

    monkeypatch.setattr(sources.teachers, "teacher", make)
    return asked


def test_the_digest_of_a_teacher_is_known_to_who_only_plans(monkeypatch):
    makes(monkeypatch, "one", "two")
    assert sources.digest("net", DATA, CHOSEN) == ""
    sources.teacher("net", DATA, CPU, 0, CHOSEN)
    assert sources.digest("net", DATA, CHOSEN) == "one"
    sources.teacher("net", DATA, CPU, 0, CHOSEN)  # which was made anew, as by another version of torch
    assert sources.digest("net", DATA, CHOSEN) == "two"


@pytest.mark.parametrize("changed", ["words", "data", "chosen"])
def test_another_name_dataset_or_choice_is_another_teacher(changed, monkeypatch):
    makes(monkeypatch, "one")
    sources.teacher("net", DATA, CPU, 0, CHOSEN)
    asked = {
        "words": ("web", DATA, CHOSEN),
        "data": ("net", halves(seed=1), CHOSEN),
        "chosen": ("net", DATA, CHOSEN[:3]),
    }
    assert sources.digest(*asked[changed]) == ""
    assert sources.digest("net", DATA, CHOSEN) == "one"


def test_what_is_no_folder_is_a_sentence():
    with pytest.raises(ValueError, match="nowhere is no folder; name one of label maps, or write annotate:"):
        sources.label_maps("nowhere", DATA, CPU, 0, CHOSEN)


def written(folder, data, right=1.0):
    """Label maps of 2 x 2 cells in a folder, of which so many name the label."""
    n, classes = len(data.train_y), len(data.classes)
    labels = data.train_y.clone()
    wrong = torch.arange(n) >= right * n
    labels[wrong] = (labels[wrong] + 1) % classes
    about = About(n, 1, (2, 2), classes, "hand", data.fingerprint)
    writer = Writer(folder, about)
    for part in writer.missing():
        index = labels[part.start : part.stop].view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
        writer.write(part, torch.full(index.shape, 5.0), index)
    return writer.finish()


def test_the_maps_of_a_folder_are_known_before_they_are_read(tmp_path):
    made = written(tmp_path / "maps", DATA)
    assert sources.digest(str(tmp_path / "maps"), DATA, CHOSEN) == made.digest
    assert sources.label_maps(str(tmp_path / "maps"), DATA, CPU, 0, CHOSEN).digest == made.digest
    assert sources.agreement(made, DATA) == 1.0


def many_classes():
    """Halves with five classes, so that a guess is seldom right."""
    data = halves(n=100)
    return replace(data, train_y=torch.arange(len(data.train_y)) % 5, classes=tuple("abcde"))


def test_maps_that_are_right_by_chance_alone_are_refused(tmp_path):
    data = many_classes()
    chosen = torch.arange(len(data.train_y))
    for right, refused in ((1.0, False), (0.6, False), (0.2, True), (0.0, True)):
        made = written(tmp_path / str(right), data, right)
        assert sources.agreement(made, data) == pytest.approx(right, abs=0.02)
        if refused:
            with pytest.raises(ValueError, match=r"names the label of .* % .*, about as often as a guess"):
                sources.label_maps(str(tmp_path / str(right)), data, CPU, 0, chosen)
        else:
            sources.label_maps(str(tmp_path / str(right)), data, CPU, 0, chosen)


def test_words_tell_who_makes_label_maps(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "agreement", lambda *_: 1.0)
    monkeypatch.setattr(sources.annotate, "annotated", lambda words, *_: Made(f"annotated by {words}"))
    monkeypatch.setattr(sources.published, "imported", lambda folder, *_: Made(f"imported from {folder.name}"))
    (tmp_path / "maps").mkdir()
    asked = ("annotate:net", str(tmp_path / "maps"))
    found = [sources.label_maps(words, DATA, CPU, 0, CHOSEN).digest for words in asked]
    assert found == ["annotated by net", "imported from maps"]


def test_one_process_makes_at_a_time(monkeypatch):
    """Two runs that start together: the second one waits, and then finds what the first has made."""
    at_once, most = [0], [0]

    def make(*_):
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        time.sleep(0.2)
        at_once[0] -= 1
        return Made("one")

    monkeypatch.setattr(sources.teachers, "teacher", make)
    runs = [threading.Thread(target=sources.teacher, args=("net", DATA, CPU, 0, CHOSEN)) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert most == [1]


def test_other_processes_of_torchrun_wait_for_the_first_one(monkeypatch):
    asked, looks = makes(monkeypatch, "one", "one"), []

    def later(seconds):
        looks.append(seconds)
        if len(looks) == 2:  # rank 0 has written its note
            sources._note("net", DATA, CHOSEN).write_text("one")

    monkeypatch.setattr(sources.distributed, "slot", lambda: 1)
    monkeypatch.setattr(sources.time, "sleep", later)
    sources.teacher("net", DATA, CPU, 0, CHOSEN)
    assert asked == ["net"]
    assert len(looks) == 2


def test_agreement_is_that_of_shares_in_full():
    """Classes that are not listed have logit 0; the mean over cells of the softmax over all classes decides."""
    generator = torch.Generator().manual_seed(0)
    values = (3 * torch.randn(300, 3, 4, 5, generator=generator)).half()
    indices = torch.rand(300, 7, 4, 5, generator=generator).argsort(1)[:, :3]
    data = replace(halves(n=400), train_y=torch.zeros(300, dtype=torch.int64), classes=tuple("abcdefg"))

    class Maps:
        classes = 7

        def __len__(self):
            return 300

        def __getitem__(self, numbers):
            return values[numbers], indices[numbers]

    shares = torch.zeros(300, 7, 4, 5, dtype=torch.float64).scatter_(1, indices, values.double()).softmax(1)
    likeliest = shares.mean((2, 3)).argmax(1)
    assert sources.agreement(Maps(), replace(data, train_y=likeliest)) == 1.0
    assert sources.agreement(Maps(), replace(data, train_y=(likeliest + 1) % 7)) == 0.0
