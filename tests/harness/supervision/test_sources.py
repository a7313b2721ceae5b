"""What a study learns from beside its labels: by its words, once, and known to each process that plans the cells."""

import pytest
import torch

from harness.data import download
from harness.supervision import sources

CPU = torch.device("cpu")
CHOSEN = torch.arange(4)


class Made:
    def __init__(self, digest):
        self.digest = digest

    def to(self, device):
        return self


class Data:
    name, fingerprint = "made-up", "f00"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sources, "_made", {})
    return download.cache()


def makes(monkeypatch, *digests):
    """Lets teachers be made with these digests, one after another; the list of what was asked for."""
    asked, waiting = [], [*digests]

    def make(words, *_):
        asked.append(words)
        return Made(waiting.pop(0))

    monkeypatch.setattr(sources.teachers, "teacher", make)
    return asked


def test_a_teacher_is_made_once_a_process_and_its_digest_is_known_to_others(monkeypatch):
    asked = makes(monkeypatch, "one", "two")
    assert sources.digest("net", Data, CHOSEN) == ""
    first = sources.teacher("net", Data, CPU, 0, CHOSEN)
    assert sources.teacher("net", Data, CPU, 0, CHOSEN) is first
    assert asked == ["net"]
    monkeypatch.setattr(sources, "_made", {})  # as another process
    assert sources.digest("net", Data, CHOSEN) == "one"
    sources.teacher("net", Data, CPU, 0, CHOSEN)  # which was made anew, as by another version of torch
    assert sources.digest("net", Data, CHOSEN) == "two"


@pytest.mark.parametrize("changed", ["words", "data", "chosen"])
def test_another_name_dataset_or_choice_is_another_teacher(changed, monkeypatch):
    makes(monkeypatch, "one")
    sources.teacher("net", Data, CPU, 0, CHOSEN)
    other = type("Other", (Data,), {"fingerprint": "f01"})
    asked = {"words": ("web", Data, CHOSEN), "data": ("net", other, CHOSEN), "chosen": ("net", Data, CHOSEN[:3])}
    assert sources.digest(*asked[changed]) == ""
    assert sources.digest("net", Data, CHOSEN) == "one"


def test_what_is_no_folder_is_a_sentence():
    with pytest.raises(ValueError, match="nowhere is no folder; name one of label maps, or write annotate:"):
        sources.label_maps("nowhere", Data, CPU, 0, CHOSEN)


def test_words_tell_who_makes_label_maps(tmp_path, monkeypatch):
    monkeypatch.setattr(sources.annotate, "annotated", lambda words, *_: Made(f"annotated by {words}"))
    monkeypatch.setattr(sources.published, "imported", lambda folder, *_: Made(f"imported from {folder.name}"))
    (tmp_path / "maps").mkdir()
    found = [
        sources.label_maps(words, Data, CPU, 0, CHOSEN).digest for words in ("annotate:net", str(tmp_path / "maps"))
    ]
    assert found == ["annotated by net", "imported from maps"]


def test_other_processes_of_torchrun_wait_for_the_first_one(monkeypatch):
    asked, looks = makes(monkeypatch, "one", "one"), []

    def later(seconds):
        looks.append(seconds)
        if len(looks) == 2:  # rank 0 has written its note
            note = sources._note("net", Data, CHOSEN)
            note.parent.mkdir(parents=True)
            note.write_text("one")

    monkeypatch.setattr(sources.distributed, "slot", lambda: 1)
    monkeypatch.setattr(sources.time, "sleep", later)
    sources.teacher("net", Data, CPU, 0, CHOSEN)
    assert asked == ["net"]
    assert len(looks) == 2
