"""Counts against closed forms and torch's own counter; timing that can be believed; peaks that are peaks."""

import time

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from harness.backbone import create
from harness.measure import cost, memory, parity, speed
from harness.recipe import Recipe

SMALL = {"img_size": 8, "patch_size": 2, "in_chans": 1, "num_classes": 10}
SPECS = ["sa", "sp_sa", "sp_sa[form=table]", "sp_sa[combine=add]", "psa", "gpsa", "rpe_1d", "rpe_1d[mode=bias]",
         "rpe_2d", "rpe_2d[factorized=True,values=True]", "rpe_2d[extent=2]", "swin", "cswin", "window",
         "gpsa+swin"]  # fmt: skip


def deit_gmac(width, classes=1000, tokens=197, depth=12):
    """FACTS: 4ND^2 + 2N^2D an attention, 8ND^2 an MLP, 5 a normalised element, as fvcore counts."""
    layer = 12 * tokens * width**2 + 2 * tokens**2 * width
    norms = 5 * (2 * depth + 1) * tokens * width
    return ((tokens - 1) * 768 * width + depth * layer + norms + width * classes) / 1e9


@pytest.mark.parametrize(
    ("size", "width", "published"), [("tiny", 192, 1.258), ("small", 384, 4.608), ("base", 768, 17.583)]
)
def test_deit_counts_as_published_and_as_the_closed_form(size, width, published):
    model = create("sa", size=size, img_size=224, patch_size=16, num_classes=1000, class_token="input")
    gmac = cost.count(model, torch.randn(1, 3, 224, 224))
    assert gmac == pytest.approx(deit_gmac(width), rel=1e-9)
    assert gmac == pytest.approx(published, abs=6e-4)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("batch", [1, 3])
def test_counts_agree_with_torchs_counter(spec, batch):
    model = create(spec, **SMALL, class_token="none").eval()
    images = torch.randn(batch, 1, 8, 8)
    with FlopCounterMode(display=False) as counter, cost.eager(model):
        model(images)
    layer_norms = 5 * 64 * 16 * (2 * 4 + 1) / 1e9
    assert cost.count(model, images) - layer_norms == pytest.approx(counter.get_total_flops() / 2e9 / batch, rel=1e-9)


def test_a_fused_attention_is_counted_and_not_skipped():
    q = torch.randn(2, 4, 16, 8)

    class Fused(torch.nn.Module):
        def forward(self, q):
            return torch.nn.functional.scaled_dot_product_attention(q, q, q)

    assert cost.count(Fused(), q) == pytest.approx(4 * 2 * 16 * 16 * 8 / 1e9)


def test_an_operation_of_unknown_cost_is_an_error():
    class Odd(torch.nn.Module):
        def forward(self, x):
            return torch.linalg.inv(x)

    with pytest.raises(NotImplementedError, match=r"the cost of aten::.* is not known"):
        cost.count(Odd(), torch.eye(3)[None])


def test_counting_leaves_mode_and_backend_as_they_were():
    model = create("sa", **SMALL, backend="sdpa").train()
    cost.count(model, torch.randn(1, 1, 8, 8))
    assert model.training
    assert model.blocks[0].attn.backend == "sdpa"


def test_rounds_are_interleaved_in_an_order_drawn_anew():
    order, ticks = [], []
    subjects = {name: (lambda name=name: order.append(name)) for name in "abc"}

    def tick():
        ticks.append(len(order))

    samples = speed.interleave(subjects, 40, torch.device("cpu"), tick, least_s=1e-9)
    assert {len(s) for s in samples.values()} == {40}
    timed = order[9:]  # after the warm-up
    rounds = ["".join(timed[i : i + 3]) for i in range(0, len(timed), 3)]
    assert len(rounds) == len(ticks) == 40
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert set(rounds) == {"abc", "acb", "bac", "bca", "cab", "cba"}


def test_a_ratio_is_the_median_of_the_rounds_and_survives_drift():
    drift = [1.0, 2.0, 4.0, 8.0, 16.0]
    fact = speed.ratio("ratio", [1.1 * d for d in drift], drift)
    assert fact["value"] == pytest.approx(1.1)
    assert fact["samples"] == pytest.approx([1.1] * 5)
    assert speed.rate("images_per_s", [0.5, 0.25, 1.0], 8)["value"] == 16


def test_a_slow_subject_reads_slow_and_a_copy_reads_alike():
    works = {
        "base": lambda: time.sleep(0.004),
        "again": lambda: time.sleep(0.004),
        "slow": lambda: time.sleep(0.006),
    }
    samples = speed.interleave(works, 15, torch.device("cpu"), lambda: None, least_s=0.004)
    assert speed.ratio("ratio", samples["slow"], samples["base"])["value"] == pytest.approx(1.5, rel=0.15)
    assert speed.ratio("ratio", samples["again"], samples["base"])["value"] == pytest.approx(1.0, rel=0.15)


def test_peak_memory_sees_what_lives_only_for_a_moment():
    held = [torch.zeros(2**18)]  # 1 MiB
    device = torch.device("cpu")

    def moment():
        torch.ones(4 * 2**18).sum()  # 4 MiB, gone at the end

    def twice():
        a = torch.ones(4 * 2**18)
        (a + a).sum()

    assert memory.peak_mib(moment, held, device) == pytest.approx(5, abs=0.05)
    assert memory.peak_mib(twice, held, device) == pytest.approx(9, abs=0.05)


def test_parity_sees_a_backend_that_is_wrong(monkeypatch):
    from variants import backends

    model, images = create("psa", **SMALL), torch.randn(2, 1, 8, 8)
    assert parity.parity(model, images) < 1e-5
    monkeypatch.setitem(backends.BACKENDS, "sdpa", lambda q, k, v, terms: backends.eager.attend(q, k, 1.1 * v, terms))
    assert parity.parity(model, images) > parity.GATE["float32"]


def test_a_subject_trains_and_infers():
    model = create("sp_sa", **SMALL)
    subject = speed.Subject(model, torch.randn(8, 1, 8, 8), torch.arange(8), Recipe())
    before = model.head.weight.clone()
    subject.inference()()
    assert torch.equal(before, model.head.weight)
    subject.training()()
    assert not torch.equal(before, model.head.weight)
    assert len(subject.held()) > 3 * len(list(model.parameters()))
    assert all(p.grad is None for p in model.parameters())


def test_peak_memory_on_cuda_leaves_out_what_belongs_to_others(monkeypatch):
    """Others hold 100 MiB, the subject 1; the work takes 5 more for a moment."""
    mib = 2**20
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 101 * mib)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 106 * mib)
    assert memory.peak_mib(lambda: None, [torch.zeros(2**18)], torch.device("cuda")) == pytest.approx(6)
