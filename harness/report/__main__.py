"""`python -m harness.report results/NAME` renders a study again from its rows alone.

Exit code 0; 1 where lines were damaged (each is named, the rest is rendered); 2 where there is nothing to render.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m harness.report", description="Render a study's rows as one self-contained HTML page."
    )
    parser.add_argument("folder", type=Path, metavar="results/NAME", help="the folder of rows, or one .jsonl file")
    parser.add_argument("--report", type=Path, metavar="FILE", help="the HTML file (default: reports/NAME.html)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write all rows as one tidy CSV, too")
    chosen = parser.parse_args(arguments)
    output = chosen.report or Path("reports") / f"{chosen.folder.resolve().name.removesuffix('.jsonl')}.html"

    from harness import results  # late, so that --help answers at once
    from harness.report import render

    try:
        report = render(chosen.folder, output)
        if chosen.csv:
            results.to_csv(results.load(chosen.folder), chosen.csv)
    except ValueError as error:
        print(f"harness.report: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"harness.report: {error.filename or output}: {error.strerror or error}", file=sys.stderr)
        return 2
    for damage in report.damaged:
        print(damage, file=sys.stderr)
    print(report.path)
    return 1 if report.damaged else 0


if __name__ == "__main__":
    sys.exit(main())
