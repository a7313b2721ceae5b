"""The time that a bar says is left: right where kinds of cells go at paces of their own, and after an interruption."""

from types import SimpleNamespace

import pytest
from tqdm import tqdm

from harness.run import bar as module
from harness.run.bar import Bar


def cell(kind, work):
    return SimpleNamespace(kind=kind, work=work)


class Clock:
    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(module, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


# a study as it is: timings first, ten times slower a step than a training; at the end what reads the weights
STUDY = [(cell("cost", 5), 1.0), (cell("speed", 45), 2.5), *[(cell("training", 30), 0.25)] * 15,
         *[(cell("calibration", 1), 0.1)] * 15]  # fmt: skip
WHOLE = sum(one.work * seconds for one, seconds in STUDY)


def told(clock, bar_of, study=STUDY):
    """The time that is left by the bar and by the clock, after each step."""
    with bar_of([one for one, _ in study]) as bar:
        for one, seconds in study:
            for _ in range(one.work):
                clock.now += seconds
                bar.step(one)
                yield bar.n / bar.total, bar.seconds_left(), WHOLE - clock.now


def worst(pairs):
    """By how much the time left is wrong at worst, after a twelfth of the steps and before the last tenth."""
    return max(max(said / true, true / said) if said else 99 for share, said, true in pairs if 0.12 < share < 0.9)


def quiet(cells):
    return Bar(cells, file=open("/dev/null", "w"))


def test_the_time_left_is_right_within_a_half_after_a_tenth(clock):
    assert worst(told(clock, quiet)) < 1.5


def test_one_pace_for_all_steps_would_not_be(clock):
    class Plain(Bar):
        def seconds_left(self):
            return sum(self.left.values()) * clock.now / max(1, self.n)

    assert worst(told(clock, lambda cells: Plain(cells, file=open("/dev/null", "w")))) > 2  # noqa: SIM115


def test_the_pace_follows_a_machine_that_becomes_slower(clock):
    bar, one = quiet([cell("training", 400)]), cell("training", 400)
    for step in range(200):
        clock.now += 0.1 if step < 100 else 0.4
        bar.step(one)
    assert bar.seconds_left() == pytest.approx(200 * 0.4, rel=0.02)
    bar.close()


def test_what_was_done_before_and_what_is_lost_again_are_no_pace(clock):
    one = cell("training", 100)
    bar = quiet([one])
    clock.now += 0.001
    bar.step(one, 60)  # from a checkpoint
    assert bar.seconds_left() is None
    clock.now += 2.0
    bar.step(one)
    assert bar.seconds_left() == pytest.approx(39 * 2.0)
    bar.step(one, -61)  # its process died
    assert (bar.n, bar.seconds_left()) == (0, pytest.approx(100 * 2.0))
    bar.close()


def test_the_time_is_what_tqdm_writes(clock, capsys):
    one = cell("training", 10)
    with Bar([one], mininterval=0, unit="step") as bar:
        for _ in range(4):
            clock.now += 30.0
            bar.step(one)
        assert tqdm.format_interval(180) == "03:00"
        assert "<03:00" in str(bar)
        bar.refresh()
    assert "4/10 [" in capsys.readouterr().err


def test_while_the_longest_kind_has_not_begun_nothing_is_promised(clock):
    said = [seconds for _, seconds, _ in told(clock, quiet, STUDY[:3])]
    assert said[:5] == [None] * 5  # costs are counted, and most steps are timings
    assert None not in said[5:20]
    assert said[30:50] == [None] * 20  # most steps that are left are a training's
    assert None not in said[50:]
