"""Pieces of work under a limit of time, by a clock of the test's own."""

import pytest

from harness.gpu.plan import Piece, carry_out, recorded
from harness.results import store


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def piece(self, name, expected, takes, kind="a", there=False):
        def work():
            self.now += takes

        return Piece(name, kind, expected, lambda: there, work)


def names(outcome):
    return outcome.there, outcome.done, outcome.left


def test_no_piece_is_begun_that_would_not_end_in_time():
    clock = Clock()
    plan = [clock.piece("first", 4, 4), clock.piece("long", 10, 10, "b"), clock.piece("short", 2, 2, "c")]
    assert names(carry_out(plan, 8, clock, lambda words: None)) == ([], ["first", "short"], ["long"])
    assert clock.now == 6


def test_what_a_piece_took_corrects_what_others_of_its_kind_will():
    clock = Clock()
    plan = [clock.piece(name, 2, 5) for name in ("one", "two", "three")]
    assert names(carry_out(plan, 11, clock, lambda words: None)) == ([], ["one", "two"], ["three"])
    assert clock.now <= 11


def test_what_is_there_is_not_done_again():
    clock = Clock()
    plan = [clock.piece("there", 5, 5, there=True), clock.piece("new", 5, 5)]
    assert names(carry_out(plan, 6, clock, lambda words: None)) == (["there"], ["new"], [])


def test_what_is_said_has_the_seconds_that_are_left():
    clock, said = Clock(), []
    carry_out([clock.piece("first", 2, 3), clock.piece("second", 2, 2, "b")], 10, clock, said.append)
    assert said == ["first: about 2 s of the 10 s that are left", "second: about 2 s of the 7 s that are left"]


NULL = {"study": "gpu", "variant": "sa", "metric": "parity", "unit": "1"}


def test_each_piece_leaves_its_rows_when_it_ends_and_the_next_run_goes_on(tmp_path):
    """Ctrl-C in the second piece: the first is whole, and is not done again."""
    done = []

    def ends(name):
        done.append(name)
        return [NULL | {"value": 1.0}]

    def interrupted():
        yield NULL | {"value": 1.0}
        raise KeyboardInterrupt

    pieces = [recorded("first", "a", 1, tmp_path, lambda: ends("first"), NULL),
              recorded("second", "a", 1, tmp_path, interrupted, NULL)]  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        carry_out(pieces, 100, Clock(), lambda words: None)
    assert [path.name for path in tmp_path.iterdir()] == ["first.jsonl"]
    pieces[1] = recorded("second", "a", 1, tmp_path, lambda: ends("second"), NULL)
    outcome = carry_out(pieces, 100, Clock(), lambda words: None)
    assert names(outcome) == (["first"], ["second"], [])
    assert done == ["first", "second"]
    assert len(store.load(tmp_path)) == 2


def test_a_piece_that_fails_says_why_and_costs_no_other(tmp_path):
    def fails():
        raise RuntimeError("no kernel image\nand more")

    pieces = [recorded("bad", "a", 1, tmp_path, fails, NULL),
              recorded("good", "a", 1, tmp_path, lambda: [NULL | {"value": 2.0}], NULL)]  # fmt: skip
    outcome = carry_out(pieces, 100, Clock(), lambda words: None)
    assert outcome.done == ["bad", "good"]
    assert outcome.failed == {"bad": "RuntimeError: no kernel image"}
    rows = store.load(tmp_path)
    assert set(rows["note"].dropna()) == {"RuntimeError: no kernel image"}
    assert rows["value"].dropna().tolist() == [2.0]


def test_what_failed_is_tried_again_and_keeps_what_was_found_before(tmp_path):
    def fails_late():
        yield NULL | {"value": 1.0}
        raise RuntimeError("out of memory")

    carry_out([recorded("piece", "a", 1, tmp_path, fails_late, NULL)], 100, Clock(), lambda words: None)
    assert store.load(tmp_path)["value"].tolist()[0] == 1.0
    again = recorded("piece", "a", 1, tmp_path, lambda: [NULL | {"value": 3.0}], NULL)
    assert carry_out([again], 100, Clock(), lambda words: None).done == ["piece"]
    assert store.load(tmp_path)["value"].tolist() == [3.0]
