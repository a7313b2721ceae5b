"""Numbers as a reader expects them: as many digits as the number bears, a real minus sign, thin spaces in thousands."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

DASH = "\N{EM DASH}"
MINUS = "\N{MINUS SIGN}"
THIN = "\u202f"
HARD = "\u00a0"


def significant(value: float, digits: int = 3) -> str:
    """`value` with this many significant digits and no exponent where it can be helped: 0.00512, 23.4, 1 234."""
    if not math.isfinite(value):
        return DASH
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if not -5 <= size <= 11:
        return f"{value:.{digits - 1}e}".replace("-", MINUS)
    return grouped(round(value, digits - 1 - size), max(0, digits - 1 - size))


def grouped(value: float, decimals: int) -> str:
    """Fixed decimals, thousands apart."""
    return f"{value:,.{decimals}f}".replace(",", THIN).replace("-", MINUS)


def tick(value: float, digits: int = 6) -> str:
    """A number of an axis, without trailing zeros."""
    shown = significant(value, digits)
    return shown.rstrip("0").rstrip(".") if "." in shown and "e" not in shown else shown


def distinct(values: Sequence[float], form: Callable[[float, int], str] = tick, fewest: int = 6) -> list[str]:
    """The labels of an axis: form(value, digits) with as many digits, `fewest` at least, as tell its values apart."""
    every = ([form(value, digits) for value in values] for digits in range(fewest, 16))
    return next((found for found in every if len(set(found)) == len(set(values))), [str(value) for value in values])


def count(value: float, digits: int = 3, form: Callable[[float, int], str] = significant) -> str:
    """Parameters: 118 K, 5.72 M, 1.30 G."""
    for unit, scale in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if abs(value) >= scale:
            return form(value / scale, digits) + THIN + unit
    return form(value, digits)


def aligned(values: Sequence[float], digits: int = 3) -> tuple[str, Callable[[float], str]]:
    """The unit of a column of sizes (K, M, G or ""), and how to write its numbers below it: all with as many decimals.

    The largest has as many significant digits at least, the smallest two, and numbers that differ are told apart.
    """
    known = sorted({abs(value) for value in values if math.isfinite(value)} - {0.0})
    if not known:
        return "", significant
    unit, scale = next(((u, s) for u, s in (("G", 1e9), ("M", 1e6), ("K", 1e3)) if known[-1] >= s), ("", 1.0))
    whole = scale == 1 and all(value == round(value) for value in known)
    largest, smallest = (math.floor(math.log10(value / scale)) for value in (known[-1], known[0]))
    fewest = 0 if whole else max(0, digits - 1 - largest, 1 - smallest)
    told = (n for n in range(fewest, fewest + 9) if len({grouped(v / scale, n) for v in known}) == len(known))
    decimals = next(told, fewest + 8)
    return unit, lambda value: grouped(value / scale, decimals)


def fixed(value: float, decimals: int | None) -> str:
    """So many decimals; three significant digits where they are None or the number is very large."""
    return significant(value) if decimals is None or abs(value) >= 1e6 else grouped(value, decimals)


def signed(value: float, decimals: int | None) -> str:
    """A difference, with its sign unless it is 0 as written."""
    body = fixed(abs(value), decimals)
    return ("+" if value > 0 else MINUS) + body if body.strip("0.") else body


def points(value: float) -> str:
    """A difference in percentage points, always with its sign."""
    return signed(value, 2)


def percent(value: float) -> str:
    """Accuracy in %, two decimals, no sign."""
    return fixed(value, 2)


def interval(low: float | None, high: float | None, form: object = percent) -> str:
    """ "[low, high]", or "" without an interval."""
    if low is None or high is None or not callable(form):
        return ""
    return f"[{form(low)}, {form(high)}]"


def share(fraction: str) -> str:
    """ "0.01" is "1 %", which no line break parts; what is no number stays as it is."""
    try:
        return f"{tick(100 * float(fraction))}{HARD}%"
    except ValueError:
        return fraction


def percentage(share: float) -> str:
    """0.864 is "86 %"."""
    return f"{100 * share:.0f}{HARD}%"


def confidence(level: float) -> str:
    """0.95 is "95 %", 0.9875 is "98.75 %"."""
    return f"{round(100 * level, 2):g}{THIN}%"


def p_value(p: float) -> str:
    """ "p = 0.012", "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {significant(p, 2)}"


def plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listing(names: list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    if len(names) < 2:
        return "".join(names)
    return ", ".join(names[:-1]) + " and " + names[-1]
