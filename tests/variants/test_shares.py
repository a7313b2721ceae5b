"""A batch shared by threads: each image once, whole in its numbers, and nothing of the threads left behind."""

import os
import threading

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from variants.backends import tiled
from variants.backends.shares import shares, together

from .published.agreement import WIDE, agrees_with_eager, drawn, rejected, tokens


@pytest.fixture
def threads():
    """Sets the number of torch's threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def parts(images):
    return [(part.start, part.stop) for part in shares(torch.empty(images, 1))]


def test_each_thread_has_an_equal_share(threads):
    threads(1)
    assert parts(5) == [(0, 5)]
    threads(3)
    assert parts(3) == [(0, 1), (1, 2), (2, 3)]
    assert parts(8) == [(0, 2), (2, 5), (5, 8)]
    assert parts(2) == [(0, 2)]  # too few: the operations are divided
    assert [(s.start, s.stop) for s in shares(torch.empty(8, 1, device="meta"))] == [(0, 8)]


def test_where_operations_are_looked_at_they_stay_in_their_thread(threads):
    threads(2)
    with FlopCounterMode(display=False):
        assert parts(8) == [(0, 8)]
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]):
        assert parts(8) == [(0, 8)]
    assert parts(8) == [(0, 4), (4, 8)]


@pytest.mark.parametrize("inference", [True, False])
def test_shares_are_worked_on_at_once_and_come_back_in_their_order(threads, inference):
    threads(3)
    all_there = threading.Barrier(3, timeout=30)

    def work(part):
        all_there.wait()
        state = torch.get_num_threads(), torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        return part.start, threading.get_ident(), state

    with torch.inference_mode(inference), torch.no_grad():
        found = together(work, shares(torch.empty(6, 1)))
    assert [first for first, _, _ in found] == [0, 2, 4]
    assert len({thread for _, thread, _ in found}) == 3
    assert {state for _, _, state in found} == {(1, False, inference)}
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("which", [0, 2])
def test_an_error_is_raised_when_all_have_ended(threads, which):
    threads(2)
    ended = []

    def work(part):
        if part.start == which:
            raise RuntimeError(f"share {which}")
        ended.append(part.start)

    with pytest.raises(RuntimeError, match=f"share {which}"):
        together(work, shares(torch.empty(4, 1)))
    assert ended == [2 - which]
    assert torch.get_num_threads() == 2


def test_a_child_has_threads_of_its_own(threads):
    threads(2)
    assert together(lambda part: part.start, shares(torch.empty(2, 1))) == [0, 1]
    child = os.fork()
    if not child:
        os._exit(0 if together(lambda part: part.start, [slice(0, 1), slice(1, 2)]) == [0, 1] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("spec", ["sa", "sp_sa+psa", "rpe_2d", "swin[window=2]+rpe_1d"])
def test_tiled_on_two_threads_is_eager(threads, spec):
    threads(2)
    agrees_with_eager(spec, WIDE, 1, "tiled")


def test_a_share_that_is_lost_is_noticed(threads, monkeypatch):
    threads(2)
    monkeypatch.setattr(tiled, "together", lambda work, parts: together(work, [parts[0], parts[0]]))
    with rejected():
        agrees_with_eager("sp_sa", WIDE, 0, "tiled")


def test_gradients_of_tables_have_the_same_bits_every_time(threads):
    threads(3)
    attention, x = drawn("sp_sa[form=table]+psa", WIDE, backend="tiled").float(), tokens(WIDE, batch=7).float()

    def gradients():
        attention.zero_grad()
        attention(x, WIDE).square().sum().backward()
        return [parameter.grad.clone() for parameter in attention.parameters()]

    first = gradients()
    assert all(torch.equal(a, b) for _ in range(5) for a, b in zip(first, gradients(), strict=True))


def test_multiplications_are_counted_on_any_number_of_threads(threads):
    attention, x, found = drawn("sp_sa", WIDE, backend="tiled"), tokens(WIDE, batch=4), []
    for number in (1, 2):
        threads(number)
        with FlopCounterMode(display=False) as counter:
            attention(x, WIDE).sum().backward()
        found.append(counter.get_total_flops())
    assert found[0] == found[1] > 0
