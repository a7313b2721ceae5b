"""Wrong arguments: one sentence with value, expectation and remedy, and no words of argparse's own."""

import argparse
import re

import pytest

from harness.run.arguments import Parser, pixels, seeds, shares


@pytest.fixture
def parser():
    made = Parser(prog="prog")
    made.add_argument("file", metavar="some/FILE")
    made.add_argument("-n", "--number", type=int, metavar="N")
    made.add_argument("--rate", type=float)
    made.add_argument("--form", choices=("wide", "tall"))
    made.add_argument("--sides", type=int, nargs=2, metavar=("H", "W"))
    made.add_argument("--shade", action=argparse.BooleanOptionalAction)
    made.add_argument("--month", type=lambda text: ("jan", "feb").index(text), metavar="MONTH")
    return made


WRONG = {
    "not a number": (["-n", "two", "f"], "--number 'two' is not a whole number; write one such as 20"),
    "half a number": (["--number", "1.5", "f"], "--number '1.5' is not a whole number; write one such as 20"),
    "not a rate": (["--rate", "1,5", "f"], "--rate '1,5' is not a number; write one such as 0.05 or 1e-3"),
    "no value": (["f", "--number"], "--number needs a value; write --number N"),
    "no value of some": (["f", "--form"], "--form needs a value; write --form {wide,tall}"),
    "one of two": (["f", "--sides", "1"], "--sides needs 2 values; write --sides H W"),
    "not one of some": (["--form", "very round", "f"], "--form 'very round' is unknown; choose wide, tall"),
    "a value too many": (["--shade=3", "f"], "--shade takes no value; leave out '3'"),
    "unreadable": (["--month", "may", "f"], "--month 'may' cannot be read; write --month MONTH"),
    "a slip": (["--nmber", "3", "f"], "there is no flag --nmber; did you mean --number?"),
    "no flag": (["--x=3", "f"], "there is no flag --x; --help lists all flags"),
    "too many": (["f", "g"], "'g' follows no flag; leave it out, or quote a value that has spaces"),
    "none": ([], "some/FILE is missing; usage: prog [-h]"),
    "two flags": (["f", "--s", "1"], "--s may stand for --sides, --shade; write one of them in full"),
}


@pytest.mark.parametrize(("given", "says"), WRONG.values(), ids=WRONG)
def test_a_wrong_argument_is_one_sentence(parser, capsys, given, says):
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(given)
    err = capsys.readouterr().err
    assert stop.value.code == 2
    assert err.startswith(f"prog: {says}"), err
    assert err.count("\n") == 1
    assert not re.search(r"argument -|invalid \w+ value|expected \w+ argument|unrecognized|required:", err)


def test_a_program_calls_itself_as_its_other_errors_do(capsys):
    with pytest.raises(SystemExit):
        Parser(prog="python -m harness.run").parse_args(["--no-such"])
    assert capsys.readouterr().err.startswith("harness.run: there is no flag --no-such")


def test_right_arguments_are_read(parser):
    read = parser.parse_args(["f", "-n", "3", "--rate", "1e-3", "--sides", "2", "4", "--no-shade", "--month", "feb"])
    assert (read.number, read.rate, read.sides, read.shade, read.month) == (3, 1e-3, [2, 4], False, 1)


@pytest.mark.parametrize("read", [pixels, seeds, shares])
@pytest.mark.parametrize("text", ["", "x", "1,,2", "1;2"])
def test_a_list_that_is_none_is_refused(read, text):
    with pytest.raises(argparse.ArgumentTypeError, match="; write "):
        read(text)


def test_lists_are_read():
    assert pixels("8,12x8,9x9") == (8, (12, 8), 9)
    assert seeds("0-2, 5,1") == (0, 1, 2, 5)
    assert shares("0.1,1,0.1") == (0.1, 1.0)
