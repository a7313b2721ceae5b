"""Counts against closed forms and torch's own counter; timing that can be believed; peaks that are peaks."""

import random
import time

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from harness.backbone.vit import create
from harness.measure import cost
from harness.measure.timing import clock, gate, interleave, memory, oom
from harness.measure.timing.ceiling import Ceiling
from harness.training.recipe import Recipe

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


def test_counts_agree_at_a_resolution_that_is_not_the_training_one():
    model = create("sp_sa", **SMALL, class_token="none").eval()
    with FlopCounterMode(display=False) as counter, cost.eager(model):
        model(torch.randn(1, 1, 12, 16))
    layer_norms = 5 * 64 * 48 * (2 * 4 + 1) / 1e9
    gmac = cost.count(model, torch.randn(1, 1, 12, 16))
    assert gmac - layer_norms == pytest.approx(counter.get_total_flops() / 2e9, rel=1e-9)


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

    samples = interleave.interleave(subjects, 40, torch.device("cpu"), tick, least_s=1e-9)
    assert {len(s) for s in samples.values()} == {40}
    timed = order[9:]  # after the warm-up
    rounds = ["".join(timed[i : i + 3]) for i in range(0, len(timed), 3)]
    assert len(rounds) == len(ticks) == 40
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert set(rounds) == {"abc", "acb", "bac", "bca", "cab", "cba"}


def test_a_ratio_is_the_median_of_the_rounds_and_survives_drift():
    drift = [1.0, 2.0, 4.0, 8.0, 16.0]
    fact = interleave.ratio("ratio", [1.1 * d for d in drift], drift)
    assert fact["value"] == pytest.approx(1.1)
    assert fact["samples"] == pytest.approx([1.1] * 5)
    assert interleave.rate("images_per_s", [0.5, 0.25, 1.0], 8)["value"] == 16


def test_a_slow_subject_reads_slow_and_a_copy_reads_alike(monkeypatch):
    now, draw = 0.0, random.Random(0)
    monkeypatch.setattr(time, "perf_counter", lambda: now)

    def lasting(seconds):
        def work():
            nonlocal now
            now += seconds * draw.lognormvariate(0, 0.05)

        return work

    works = {"base": lasting(0.004), "again": lasting(0.004), "slow": lasting(0.006)}
    samples = interleave.interleave(works, 15, torch.device("cpu"), lambda: None, least_s=0.004)
    assert interleave.ratio("ratio", samples["slow"], samples["base"])["value"] == pytest.approx(1.5, rel=0.05)
    assert interleave.ratio("ratio", samples["again"], samples["base"])["value"] == pytest.approx(1.0, rel=0.05)


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


def passes(spec, training):
    """Whether a freshly initialised model passes the gate with the sdpa backend, and the gap."""
    model = create(spec, **SMALL, seed=0, backend="sdpa")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fact, red = gate.gate(model, torch.randn(4, 1, 8, 8), torch.arange(4), training)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert (red is None) == (fact.get("note") is None)
    return red is None, fact["value"]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("spec", ["psa", "swin", "rpe_2d[mode=bias]"])
def test_the_gate_is_open_for_the_right_numbers_alone(monkeypatch, spec, training):
    from variants import backends

    assert passes(spec, training)[0]
    assert passes(spec, training)[1] < 1e-5
    monkeypatch.setitem(backends.BACKENDS, "sdpa", lambda q, k, v, terms: backends.eager.attend(q, k, 1.01 * v, terms))
    assert not passes(spec, training)[0]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("spec", ["sp_sa", "rpe_2d", "rpe_1d[mode=bias]", "psa"])
def test_the_gate_sees_a_term_left_out_that_starts_neutral(monkeypatch, spec, training):
    from variants import backends
    from variants.relation import Terms

    def without(q, k, v, terms):
        return backends.eager.attend(q, k, v, Terms(terms.grid))

    monkeypatch.setitem(backends.BACKENDS, "sdpa", without)
    assert not passes(spec, training)[0]


def test_the_gate_sees_a_backward_that_is_wrong_while_the_forward_is_right(monkeypatch):
    from variants import backends

    def halfway(q, k, v, terms):
        return backends.eager.attend(q, k.detach() + 0.9 * (k - k.detach()), v, terms)

    monkeypatch.setitem(backends.BACKENDS, "sdpa", halfway)
    assert passes("psa", training=False)[0]
    assert not passes("psa", training=True)[0]


def test_the_gate_takes_a_gap_that_is_no_number_for_red(monkeypatch):
    from variants import backends

    monkeypatch.setitem(
        backends.BACKENDS, "sdpa", lambda q, k, v, terms: backends.eager.attend(q, k, v, terms) * torch.nan
    )
    assert passes("psa", training=False) == (False, None)
    assert passes("psa", training=True) == (False, None)


@pytest.mark.parametrize("training", [False, True])
def test_the_gate_takes_eager_in_parts_where_it_has_no_room_for_the_batch(monkeypatch, training):
    """And the timed backend on the whole: another batch might be another backend's."""
    from variants import backends

    seen = {"eager": [], "sdpa": []}

    def limited(name, most, attend):
        def attend_if_there_is_room(q, k, v, terms):
            if len(q) > most:
                raise torch.OutOfMemoryError("no room")
            seen[name].append(len(q))
            return attend(q, k, v, terms)

        monkeypatch.setitem(backends.BACKENDS, name, attend_if_there_is_room)

    limited("eager", 2, backends.eager.attend)
    limited("sdpa", 8, backends.sdpa.attend)
    model, images = create("psa", **SMALL, backend="sdpa", drop_path=0.5), torch.randn(8, 1, 8, 8)
    fact, red = gate.gate(model, images, torch.arange(8), training)
    assert red is None
    assert fact["value"] < 1e-5
    assert (set(seen["eager"]), set(seen["sdpa"])) == ({2}, {8})
    limited("eager", 0, backends.eager.attend)
    fact, red = gate.gate(model, images, torch.arange(8), training)
    assert fact["value"] is None
    assert "no room for eager" in red
    limited("sdpa", 4, backends.sdpa.attend)
    with pytest.raises(torch.OutOfMemoryError):
        gate.gate(model, images, torch.arange(8), training)


def test_a_batch_is_halved_until_it_fits():
    tried = []

    def attempt(batch_size, error=torch.OutOfMemoryError):
        tried.append(batch_size)
        if batch_size > 3:
            raise error("what went wrong")
        return "done"

    assert oom.halved(attempt, 24) == ("done", 3)
    assert tried == [24, 12, 6, 3]
    assert oom.halved(attempt, 2) == ("done", 2)

    def never(batch_size):
        torch.empty(2**50)  # what the CPU's allocator says

    assert oom.halved(never, 5) == (None, 1)
    with pytest.raises(RuntimeError, match="what went wrong"):
        oom.halved(lambda size: attempt(size, RuntimeError), 24)


def test_what_is_hopeless_is_told_from_what_fewer_images_would_help():
    def attempt(batch_size, most):
        if batch_size > most:
            raise torch.OutOfMemoryError("no room")
        return batch_size

    assert oom.unless_hopeless(lambda size: attempt(size, 8), 8) == 8
    assert oom.unless_hopeless(lambda size: attempt(size, 0), 8) is None
    assert oom.unless_hopeless(lambda size: attempt(size, 0), 1) is None
    with pytest.raises(torch.OutOfMemoryError):
        oom.unless_hopeless(lambda size: attempt(size, 1), 8)
    with pytest.raises(ZeroDivisionError):
        oom.unless_hopeless(lambda size: size // 0, 8)


def test_what_ran_out_of_memory_is_let_go_before_the_next_attempt():
    import weakref

    held = []

    def attempt(batch_size):
        assert all(reference() is None for reference in held)
        large = torch.zeros(batch_size)
        held.append(weakref.ref(large))
        circle = [large]
        circle.append(circle)  # as errors and their frames make them
        if batch_size > 1:
            raise torch.OutOfMemoryError
        return float(large.sum())

    assert oom.halved(attempt, 8) == (0.0, 1)
    assert len(held) == 4


def test_a_subject_trains_and_infers():
    model = create("sp_sa", **SMALL)
    subject = interleave.Subject(model, torch.randn(8, 1, 8, 8), torch.arange(8), Recipe())
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


class Stream:
    """A device whose time passes by its own work; its events tell nothing before they are waited for."""

    def __init__(self):
        self.now = self.waited = 0.0

    def event(self, enable_timing=False):
        assert enable_timing
        stream = self

        class Event:
            def record(self, on):
                assert on is stream
                self.at = stream.now

            def synchronize(self):
                stream.waited = stream.now

            def elapsed_time(self, end):
                assert stream.waited >= end.at, "the end has not come yet"
                return 1e3 * (end.at - self.at)

        return Event()


def test_a_gpu_is_timed_by_events_in_its_stream(monkeypatch):
    stream, synchronised = Stream(), []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: synchronised.append(stream.now))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "Event", stream.event)
    monkeypatch.setattr(clock, "_on_host", None)

    def work():
        stream.now += 0.004

    assert clock.seconds(work, 5, torch.device("cuda")) == pytest.approx(0.004)
    assert synchronised == [0.0]  # what came before is not in the time
    samples = interleave.interleave({"a": work, "b": lambda: (work(), work())}, 4, torch.device("cuda"), lambda: None)
    assert samples["a"] == pytest.approx([0.004] * 4)
    assert interleave.ratio("ratio", samples["b"], samples["a"])["value"] == pytest.approx(2)


def test_the_ceiling_and_the_share_of_it_in_numbers(monkeypatch):
    monkeypatch.setattr("harness.measure.timing.ceiling.SIDE", {"cpu": 100})  # 0.001 GMAC
    ceiling = Ceiling(torch.device("cpu"))
    assert ceiling.work()().shape == (100, 100)
    fact = ceiling.rate("ceiling_gmac_per_s", [0.01, 0.02, 0.04])
    assert fact["value"] == pytest.approx(0.05)
    assert fact["note"] == "a 100 x 100 matmul in float32"
    share = ceiling.share("mfu", 0.002, [0.1, 0.1, 0.1], [0.01, 0.02, 0.04])  # 0.02 GMAC/s over 0.1, 0.05, 0.025
    assert share["samples"] == pytest.approx([0.2, 0.4, 0.8])
    assert share["value"] == pytest.approx(0.4)


def test_a_latency_is_the_median_in_milliseconds():
    fact = interleave.latency("latency_ms", [0.002, 0.009, 0.001])
    assert (fact["value"], fact["unit"], fact["n"]) == (pytest.approx(2.0), "ms", 3)
