"""python -m harness.check my_variant.py: runs the conformance rules on what the file registers.

A registered name or a spec is checked too: python -m harness.check sp_sa 'swin+rpe_2d[mode=bias]'. Each variant is
tried with its defaults and with every setting changed, one at a time, on a square grid and on one that is not, with
and without a prefix token. Exit codes: 0, all rules pass; 1, one fails; 2, bad input.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from harness.jobs.variant_file import load
from harness.run.arguments import Parser


def parser() -> Parser:
    """The command line."""
    p = Parser(
        prog="python -m harness.check",
        description=__doc__.partition("\n")[0].partition(": ")[2].capitalize(),
        epilog=__doc__.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("target", nargs="+", help="a file that registers variants (my_variant.py), a name, or a spec")
    p.add_argument("--spec", help="check these specs alone, a comma-separated list: 'slope[start=1],slope+swin'")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns 0, 1 where a rule fails, 2 for bad input."""
    args = parser().parse_args(argv)
    warnings.filterwarnings("ignore", message=".*torch.jit", category=FutureWarning)  # of fvcore's import
    try:
        asked = subjects(args.target, args.spec)
    except ValueError as error:
        print(f"harness.check: {error}", file=sys.stderr)
        return 2
    return max([check(name, specs) for name, specs in asked.items()])


def subjects(targets: Sequence[str], only: str | None) -> dict[str, list[str]]:
    """Each name that is asked for -> the specs to try. Raises ValueError for a file or a spec that does not exist."""
    from variants.registry import expand

    found: list[str] = []
    for target in targets:
        found += load(Path(target)).names if target.endswith(".py") else [spec for spec, _ in expand(target)]
    if only is not None:
        found = [spec for spec, _ in expand(only)]
    return {name: specs_of(name) for name in dict.fromkeys(found)}


def specs_of(spec: str) -> list[str]:
    """For a bare name: its defaults, then each setting changed, one at a time. For any other spec: the spec alone.

    A value that the variant refuses with a ValueError is left out.
    """
    from variants.registry import canonical, parse, settings_of

    parts = parse(spec)
    if len(parts) > 1 or parts[0].settings:
        return [spec]
    specs = [spec]
    for key, (annotation, default) in settings_of(parts[0].cls).items():
        for value in values(annotation, default):
            changed = canonical(f"{spec}[{key}={value}]")
            if not refused(changed):
                specs.append(changed)
    return list(dict.fromkeys(specs))


def refused(spec: str) -> bool:
    """Whether the variant refuses these settings with a ValueError; the rules report any other error."""
    from harness.check.cases import CASES, built

    for case in CASES:
        try:
            built(spec, case)
        except ValueError:
            return True
        except Exception:  # a user's code may raise anything; the first rule says what
            return False
    return False


def values(annotation: Any, default: Any) -> Iterator[Any]:
    """Values to try for a setting: every choice, both bools, two numbers near the default."""
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    elif get_origin(annotation) in (Union, UnionType):
        for choice in get_args(annotation):
            yield from values(choice, default)
    elif annotation is bool:
        yield from (False, True)
    elif annotation is int:
        yield from (2, default + 1 if type(default) is int else 3)
    elif annotation is float and isinstance(default, int | float):
        yield from (default / 2, default + 1.0)


def check(name: str, specs: Sequence[str]) -> int:
    """Prints each rule with pass or FAIL and the sentence; returns 1 where one fails."""
    from harness.check.cases import violation
    from harness.check.rules import RULES

    print(f"{name}, as {' '.join(specs)}")
    failed = 0
    for rule in RULES:
        sentences = [f"{spec}: {sentence}" for spec in specs if (sentence := violation(rule, spec))]
        failed += bool(sentences)
        print(f"  {'FAIL' if sentences else 'pass'}  {(rule.__doc__ or '').partition(chr(10))[0]}")
        print("".join(f"        {sentence}\n" for sentence in sentences), end="", flush=True)
        if sentences and rule is RULES[0]:
            break
    print(f"{name}: {f'{failed} of {len(RULES)} rules fail' if failed else f'all {len(RULES)} rules pass'}")
    return int(failed > 0)
