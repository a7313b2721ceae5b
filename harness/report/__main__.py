"""`python -m harness.report results/NAME` renders a study again from its rows alone; with two, what changed in between.

Exit code 0; 1 where lines were damaged (each is named, the rest is rendered); 2 where there is nothing to render.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

EXPORTS = {
    "csv": "all rows as one tidy CSV",
    "parquet": "all rows as one Parquet file, raw samples too; needs pyarrow",
    "timm_csv": "a line a variant under timm's column names",
    "latex": "the main table for LaTeX, with booktabs' rules",
    "markdown": "the main table for a pull request",
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m harness.report",
        description="Render a study's rows as one self-contained HTML page; of two studies, what changed from the "
        "first to the second.",
        epilog="results/NAME@COMMIT stands for the rows that one commit wrote, so that two commits of a study can be "
        "compared. Exit codes: 0, done; 1, a line is damaged (the rest is rendered); 2, bad input, nothing rendered.",
    )
    parser.add_argument("folder", metavar="results/NAME", help="the folder of rows, or one .jsonl file")
    parser.add_argument("other", nargs="?", metavar="results/OTHER", help="a second one, to be compared with")
    parser.add_argument("--report", type=Path, metavar="FILE", help="the HTML file (default: reports/NAME.html)")
    for name, what in EXPORTS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, metavar="FILE", help=f"write {what}, too")
    parser.add_argument("--readme", type=Path, metavar="FILE", help="write table and figures into a Markdown file, too")
    parser.add_argument(
        "--figures", type=Path, default=Path("reports/figures"), metavar="DIR", help="where --readme's figures go"
    )
    chosen = parser.parse_args(arguments)
    names = [Path(one).resolve().name.removesuffix(".jsonl") for one in (chosen.folder, chosen.other) if one]
    output = chosen.report or Path("reports") / f"{'-vs-'.join(names)}.html"
    asked = {name: getattr(chosen, name) for name in (*EXPORTS, "readme") if getattr(chosen, name)}

    from harness.report import render, render_comparison
    from harness.results import store  # late, so that --help answers at once

    try:
        if chosen.other is not None:
            if asked:
                flags = ", ".join(f"--{name.replace('_', '-')}" for name in asked)
                raise ValueError(f"{flags} with two studies: an export is of one; name one alone")
            report = render_comparison(chosen.folder, chosen.other, output)
        else:
            if "parquet" in asked:
                store.require_pyarrow()  # before anything is written
            report = render(Path(chosen.folder), output)
            export(Path(chosen.folder), asked, chosen.figures)
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


def export(folder: Path, asked: dict[str, Path], figures: Path) -> None:
    """Writes the exports that were asked for, by name."""
    if not asked:
        return
    from harness.report.export import formats, readme
    from harness.report.study.study import study
    from harness.results import store

    frame = store.load(folder)
    for name, write in (("csv", store.to_csv), ("parquet", store.to_parquet)):
        if name in asked:
            write(frame, asked[name])
    whole = study(frame, store.recipes(folder if folder.is_dir() else folder.parent))
    for name, text in (("timm_csv", formats.timm_csv), ("latex", formats.latex), ("markdown", formats.markdown)):
        if name in asked:
            store.write_bytes(asked[name], text(whole).encode())
    if "readme" in asked:
        readme.write(whole, folder.resolve().name, asked["readme"], figures)


if __name__ == "__main__":
    sys.exit(main())
