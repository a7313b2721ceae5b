"""Two processes that train one model do what a single one does, and the job ends where one of them dies."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm.layers
import torch
from PIL import Image
from torch import distributed

from harness import data
from harness import distributed as ranks
from harness.backbone import vit
from harness.results import store
from harness.training import loop
from tests.support import bodies, programs, timings
from tests.support.trainings import QUICK, training

MIXED = replace(QUICK, epochs=1, warmup_epochs=0, batch_size=128, lr=1e-3, crop_pad=1, hflip=0.5, reprob=0.5, mixup=0.8,
                cutmix=1.0, model_ema=True, model_ema_decay=0.9, drop_path=0.3)  # fmt: skip


def neighbours(batch_size, ranks_=None):
    """A planted error: every rank has a run of the batch, so that mixup meets other partners."""
    share = batch_size // 2
    return torch.arange(distributed.get_rank() * share, (distributed.get_rank() + 1) * share)


PLANTED = {
    "partners": (ranks, "mine", neighbours),
    "gradients": (ranks, "wrapped", lambda model, device: model),
    "drop path": (vit, "DropPath", timm.layers.DropPath),
}


def follow(where):
    """One of two processes: trains and tests with each planted error and, last, with none; leaves what it has."""
    distributed.init_process_group("gloo")
    for error in (*PLANTED, "nothing"):
        with pytest.MonkeyPatch.context() as patch:
            if error != "nothing":
                patch.setattr(*PLANTED[error])
            torch.save(followed(), where / f"{error}-{distributed.get_rank()}.pt")
    distributed.destroy_process_group()


def followed(dataset=None):
    one = training("sp_sa", 4, MIXED, dataset=dataset)
    history = loop.train(one, lambda _: None)
    digits = data.load("digits")
    from harness.training.batches import shown

    guesses, logs, labels = loop.answers(
        one.trained, shown(digits, digits.val_x, digits.val_y, (8, 8), one.device, 0, True)
    )
    return {"state": one.state(), "losses": history.losses, "guesses": guesses, "logs": logs, "labels": labels}


@pytest.fixture(scope="module")
def alone():
    return followed()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def started(module, *words):
    """A program in two processes as torchrun would start them."""
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2",
                   "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "test"}  # fmt: skip
    return [programs.start(module, *words, env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
            for rank in range(2)]  # fmt: skip


def ended(both, seconds=300):
    """The exit codes of two processes, their outputs and their complaints."""
    said = [one.communicate(seconds) for one in both]
    return [one.returncode for one in both], *("".join(texts) for texts in zip(*said, strict=True))


def two_ranks(module, *words):
    return ended(started(module, *words))


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """By planted error what each of two processes has."""
    folder = tmp_path_factory.mktemp("both")
    codes, _, err = two_ranks("tests.harness.test_distributed", "follow", folder)
    assert codes == [0, 0], err
    return {error: [torch.load(folder / f"{error}-{rank}.pt", weights_only=True) for rank in range(2)]
            for error in (*PLANTED, "nothing")}  # fmt: skip


def gap(one, two):
    """The largest difference of the weights, over what training moved them by at most."""
    return max(
        float((one["state"][n] - two["state"][n]).abs().max()) for n in one["state"] if n.startswith(("model", "ema"))
    )


def test_two_processes_train_what_one_trains(both, alone):
    """Mixup, cutmix, random erasing, shifts, flips, drop path and moving average among it; eight steps of lr 1e-3."""
    first, second = both["nothing"]
    assert gap(first, second) == 0
    assert gap(first, alone) < 1e-4
    assert first["losses"] == pytest.approx(alone["losses"], rel=1e-5)
    assert torch.equal(first["labels"], alone["labels"])
    torch.testing.assert_close(first["logs"], alone["logs"], rtol=0, atol=1e-2)
    assert (first["guesses"][:, 0] == alone["guesses"][:, 0]).float().mean() > 0.99


@pytest.mark.parametrize("error", PLANTED)
def test_a_planted_error_is_seen(both, alone, error):
    assert gap(both[error][0], alone) > 1e-3


def test_drop_path_of_one_process_is_timms():
    x, mine, theirs = torch.ones(64, 3, 2), ranks.DropPath(0.4), timm.layers.DropPath(0.4)
    found = []
    for module in (mine, theirs):
        torch.manual_seed(3)
        found.append(module(x))
    assert torch.equal(*found)
    assert torch.equal(mine.eval()(x), x)


def test_a_batch_is_dealt_in_mirrored_pairs(monkeypatch):
    monkeypatch.setattr(ranks, "rank", lambda: 1)
    monkeypatch.setattr(ranks, "world", lambda: 2)
    assert ranks.mine(12).tolist() == [3, 4, 5, 6, 7, 8]
    assert ranks.mine(8).tolist() == [2, 3, 4, 5]
    with pytest.raises(
        ValueError, match="a batch of 10 cannot be dealt to 2 processes in pairs; choose a multiple of 4"
    ):
        ranks.mine(10)


ODD = """
from variants.registry import register
from variants.relation import SpatialRelation


@register("odd", family="custom")
class Odd(SpatialRelation):
    equation = "logit"
    source = "none"

    def bias(self, offsets):
        if self.training:
            raise ValueError("no luck; try sa")
        return 0 * offsets[0]
"""
FLAGS = ["--preset", "digits", *bodies.FLAGS,
         "--variants", "sp_sa", "--epochs", "3", "--warmup-epochs", "1", "--train-images", "320", "--batch-size", "64",
         "--seeds", "0", "--resolutions", "8,12", "--finetune-epochs", "1", "--speed-rounds", "3", "--jobs",
         "1"]  # fmt: skip


def into(folder):
    return ["--output", str(folder / "rows"), "--report", str(folder / "page.html")]


def torchrun(folder, *flags):
    command = ["--standalone", "--nproc-per-node", "2", "-m", "harness.run", *flags, *into(folder)]
    return programs.start("torch.distributed.run", *command)


def recorded(words):
    """Runs the program here, its timings quick, without a page, and with little patience for a rank elsewhere."""
    from harness.run import program

    with pytest.MonkeyPatch.context() as patch:
        timings.quick(patch)
        patch.setattr("harness.jobs.cell.PATIENCE", timedelta(seconds=3))
        patch.setattr("harness.report.render", lambda folder, page: SimpleNamespace(damaged=[]))
        return program.main(words)


def test_two_processes_record_each_cell_once_and_near_what_one_process_records(tmp_path):
    codes, out, err = two_ranks("tests.harness.test_distributed", "record", *FLAGS, *into(tmp_path / "two"))
    assert codes == [0, 0], err
    assert out.count("cells are there") == 1
    assert recorded([*FLAGS, *into(tmp_path / "one")]) == 0
    one, two = (store.load(tmp_path / which / "rows") for which in ("one", "two"))
    columns = ["variant", "metric", "epoch", "test_px", "seed"]
    assert one.groupby(columns, dropna=False).size().equals(two.groupby(columns, dropna=False).size())
    losses = [frame[frame["metric"] == "loss"].sort_values(columns)["value"].tolist() for frame in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)
    top1 = [frame[frame["metric"] == "top1"].sort_values(columns)["value"].tolist() for frame in (one, two)]
    assert top1[0] == pytest.approx(top1[1], abs=2.0)  # percent: 7 of 360 images


def test_a_dead_rank_ends_the_job_and_the_same_command_goes_on(tmp_path):
    flags = [*FLAGS, "--measure", "accuracy", "--epochs", "60", "--checkpoint-interval", "0"]
    process = torchrun(tmp_path, *flags)
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("rows/checkpoints/*/*.safetensors")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    os.kill(int(children.stdout.split()[-1]), signal.SIGKILL)
    _, err = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "this process ends, since all end together; what was recorded is whole, and the same command goes on" in err
    assert not list(tmp_path.glob("rows/*.failed.jsonl"))
    before = max(int(file.name[:9]) for file in tmp_path.glob("rows/checkpoints/*/*.safetensors"))
    two, deadline = started("harness.run", *flags, *into(tmp_path)), time.monotonic() + 300
    while not [f for f in tmp_path.glob("rows/checkpoints/*/*.safetensors") if before < int(f.name[:9]) < before + 40]:
        assert time.monotonic() < deadline
        assert [one.poll() for one in two] == [None, None], ended(two)
        time.sleep(0.01)
    for one in two:
        one.terminate()
    ended(two)
    assert not list(tmp_path.glob("rows/*.jsonl"))


def test_a_picture_that_one_rank_cannot_read_is_named_and_ends_the_job(tmp_path):
    for part, shade in itertools.product(("train", "val"), (40, 200)):
        (tmp_path / "tree" / part / str(shade)).mkdir(parents=True)
        for number in range(20):
            Image.new("RGB", (16, 16), (shade + number,) * 3).save(tmp_path / f"tree/{part}/{shade}/{number}.png")
    picture = tmp_path / "tree/train/200/7.png"
    whole = picture.read_bytes()
    picture.write_bytes(whole[:60])  # its header is whole
    flags = ["--variants", "sa", "--dataset", f"folder:{tmp_path / 'tree'}", "--img-size", "16", "--patch-size", "8",
             "--epochs", "1", "--warmup-epochs", "0", "--batch-size", "8", "--seeds", "0-1", "--resolutions", "16",
             "--measure", "accuracy", "--workers", "1"]  # fmt: skip
    codes, _, err = two_ranks("tests.harness.test_distributed", "record", *flags, *into(tmp_path))
    assert codes == [1, 1]
    assert f"harness.run: sa seed 0: {picture} cannot be read as a picture" in err
    assert "; replace or delete it; this process ends" in err
    assert not list(tmp_path.glob("rows/*.jsonl"))
    picture.write_bytes(whole)
    codes, _, err = two_ranks("harness.run", *flags, *into(tmp_path))
    assert codes == [0, 0], err
    assert len(store.load(tmp_path / "rows").query("metric == 'top1'")) == 2


def test_what_all_ranks_refuse_costs_no_other_cell(tmp_path):
    variant = tmp_path / "odd.py"
    variant.write_text(ODD)
    flags = ["--variants", "odd,sa", "--variant-file", str(variant), "--measure", "accuracy", "--seeds", "0",
             "--epochs", "1", "--warmup-epochs", "0", "--resolutions", "12"]  # fmt: skip
    codes, _, err = two_ranks("harness.run", *flags, *into(tmp_path))
    assert codes == [1, 1], err
    assert err.count("odd seed 0 failed: ValueError: no luck; try sa") == 1
    assert list(tmp_path.glob("rows/sa-seed-0-*.jsonl"))
    assert list(tmp_path.glob("rows/odd-seed-0-*.failed.jsonl"))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--jobs", "2"], "torchrun trains one cell on all its processes; leave out --jobs and --slurm"),
        (["--batch-size", "62"], "a batch of 62 cannot be dealt to 2 processes in pairs; choose a multiple of 4"),
    ],
)
def test_bad_input_is_said_once(tmp_path, flags, says):
    codes, _, err = two_ranks("harness.run", *FLAGS, *flags, *into(tmp_path))
    assert 0 not in codes
    assert err.count(says) == 1


if __name__ == "__main__":
    what, *given = sys.argv[1:]
    if what == "follow":
        follow(Path(given[0]))
    else:
        sys.exit(recorded(given))
