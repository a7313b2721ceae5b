"""How every program reads its arguments, and what it says of those that it cannot read. No torch."""

from __future__ import annotations

import argparse
import re
from difflib import get_close_matches
from typing import Any, NoReturn

from harness.jobs.study import Pixels


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that says in one sentence what is wrong and what to write instead. It exits with 2."""

    def __init__(self, *parts: Any, **words: Any):
        super().__init__(*parts, **words)
        self.register("type", int, whole)
        self.register("type", float, number)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog.removeprefix('python -m ')}: {self.sentence(message)}\n")

    def sentence(self, message: str) -> str:
        """argparse's own words as a sentence with value, expectation and remedy."""
        named = re.fullmatch(r"argument (\S+): (.*)", message, re.DOTALL)
        if named is not None:
            flag = next((word for word in named[1].split("/") if word.startswith("--")), named[1])
            return f"{flag} {self.of_flag(flag, named[2])}"
        what, _, rest = message.partition(": ")
        match what:
            case "unrecognized arguments" if rest.startswith("-"):
                flag = rest.split()[0].partition("=")[0]
                near = get_close_matches(flag, self._option_string_actions, 1, cutoff=0.75)
                return f"there is no flag {flag}; {f'did you mean {near[0]}?' if near else '--help lists all flags'}"
            case "unrecognized arguments":
                return f"{rest.split()[0]!r} follows no flag; leave it out, or quote a value that has spaces"
            case "the following arguments are required":
                return f"{rest} is missing; {' '.join(self.format_usage().split())}"
            case "ambiguous option":
                flag, _, several = rest.partition(" could match ")
                return f"{flag} may stand for {several}; write one of them in full"
        return f"{message}; see --help"

    def of_flag(self, flag: str, message: str) -> str:
        """What is wrong with the value of a flag, or of the argument of that name."""
        action = next(one for one in self._actions if flag in (*one.option_strings, one.dest, one.metavar))
        name = action.metavar or (f"{{{','.join(action.choices)}}}" if action.choices else action.dest.upper())
        example = f"{flag} {name if isinstance(name, str) else ' '.join(name)}"
        what, _, value = message.partition(": ")
        if message.startswith("expected "):
            return f"needs {'a value' if action.nargs is None else f'{action.nargs} values'}; write {example}"
        if what == "invalid choice":
            value = value.rpartition(" (choose from")[0]
            return f"{value} is unknown; choose {', '.join(map(str, action.choices or ()))}"
        if what.startswith("invalid "):  # a reader that raises ValueError
            return f"{value} cannot be read; write {example}"
        if what.startswith("ignored explicit argument "):
            return f"takes no value; leave out {what.removeprefix('ignored explicit argument ')}"
        return message


def whole(text: str) -> int:
    """ "20" -> 20. Raises ArgumentTypeError for text that is not a whole number, as do all readers below for theirs."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number; write one such as 20") from None


def number(text: str) -> float:
    """ "1e-3" -> 0.001."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number; write one such as 0.05 or 1e-3") from None


def shares(text: str) -> tuple[float, ...]:
    """ "0.01,0.1,1" -> (0.01, 0.1, 1.0), each once."""
    return tuple(dict.fromkeys(number(word) for word in text.split(",")))


def words(text: str) -> tuple[str, ...]:
    """ "cost,speed" -> ("cost", "speed")."""
    return tuple(word.strip() for word in text.split(","))


def pixels(text: str) -> tuple[Pixels, ...]:
    """ "8,12,8x16" -> (8, 12, (8, 16)): squares by their side, others HEIGHTxWIDTH."""
    found: list[Pixels] = []
    for word in text.split(","):
        height, x, width = word.strip().partition("x")
        if not height.isdecimal() or (x and not width.isdecimal()):
            raise argparse.ArgumentTypeError(f"{text!r} is not a list of sizes in pixels; write 8,12 or 8x12")
        found.append((int(height), int(width)) if x and width != height else int(height))
    return tuple(found)


MOST_SEEDS = 10_000


def seeds(text: str) -> tuple[int, ...]:
    """ "0-2" or "0,1,2" -> (0, 1, 2), each once."""
    found: list[int] = []
    for word in text.split(","):
        first, dash, last = (part.strip() for part in word.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise argparse.ArgumentTypeError(f"{text!r} is not a list of seeds; write 0-2 or 0,1,2")
        if dash and int(last) < int(first):
            raise argparse.ArgumentTypeError(f"{text!r} ends before it starts; write {last}-{first}")
        if int(last or first) - int(first) >= MOST_SEEDS:
            raise argparse.ArgumentTypeError(f"{text!r} are more than {MOST_SEEDS:,} seeds; write 0-2 or 0,1,2")
        found += range(int(first), int(last or first) + 1)
    return tuple(dict.fromkeys(found))
