"""`python -m harness.report results/NAME` renders a study again from its rows alone; with two, what changed in between.

Exit code 0; 1 where lines were damaged (each is named, the rest is rendered); 2 where there is nothing to render.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness.results import targets
from harness.run.arguments import Parser
from harness.run.console import in_words

if TYPE_CHECKING:
    from harness.report import Report

EXPORTS = {
    "csv": "all rows as one tidy CSV",
    "parquet": "all rows as one Parquet file, raw samples too; needs pyarrow",
    "timm-csv": "a line a variant under timm's column names",
    "latex": "the main table for LaTeX, with booktabs' rules",
    "markdown": "the main table for a pull request",
    "readme": "table and figures into a Markdown file",
}


def parser() -> Parser:
    """The command line."""
    p = Parser(
        prog="python -m harness.report",
        description="Render a study's rows as one self-contained HTML page; of two studies, what changed from the "
        "first to the second.",
        epilog="results/NAME@COMMIT stands for the rows that one commit wrote, so that two commits of a study can be "
        "compared. Exit codes: 0, done; 1, a line is damaged (the rest is rendered); 2, bad input, nothing rendered.",
    )
    p.add_argument("folder", nargs="?", metavar="results/NAME", help="the folder of rows, or one .jsonl file")
    p.add_argument("other", nargs="?", metavar="results/OTHER", help="a second one, to be compared with")
    p.add_argument("--report", type=Path, metavar="FILE", help="the HTML file (default: reports/NAME.html)")
    for name, what in EXPORTS.items():
        p.add_argument(f"--{name}", dest=name, type=Path, metavar="FILE", help=f"write {what}, too")
    p.add_argument(
        "--figures", type=Path, default=Path("reports/figures"), metavar="DIR", help="where --readme's figures go"
    )
    p.add_argument(
        "--index", type=Path, metavar="DIR", help="in place of a study: write DIR/index.html, a page of the pages there"
    )
    p.add_argument("--force", action="store_true", help="replace files that this program did not write")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Runs the program; returns the exit code."""
    args = parser().parse_args(arguments)
    return in_words("harness.report", lambda: run(args), resumes=False)


def run(args: argparse.Namespace) -> int:
    """Renders one study with its exports, or two side by side."""
    from harness.report import render_comparison, render_index

    if args.index is not None:
        if args.folder or any(getattr(args, name) for name in ("report", *EXPORTS)):
            raise ValueError(f"--index {args.index} makes one page of many; leave out studies and exports")
        print(render_index(args.index, args.force))
        return 0
    if args.folder is None:
        raise ValueError("no study is named; write results/NAME, or --index reports")
    names = [Path(one).resolve().name.removesuffix(".jsonl") for one in (args.folder, args.other) if one]
    output = args.report or Path("reports") / f"{'-vs-'.join(names)}.html"
    asked = {name: path for name in EXPORTS if (path := getattr(args, name))}
    targets.check(
        {"report": output} | asked | ({"figures": args.figures} if "readme" in asked else {}), force=args.force
    )
    if args.other is None:
        report = export(args.folder, output, asked, args.figures)
    elif asked:
        flags = ", ".join(f"--{name}" for name in asked)
        raise ValueError(f"{flags} with two studies: an export is of one; name one alone")
    else:
        report = render_comparison(args.folder, args.other, output)
    for damage in report.damaged:
        print(damage, file=sys.stderr)
    print(report.path)
    return 1 if report.damaged else 0


def export(folder: str, output: Path, asked: dict[str, Path], figures: Path) -> Report:
    """Reads a study once; writes its page, then the exports that were asked for, by name."""
    from harness.report import write
    from harness.report.export import formats, readme
    from harness.report.pages.page import page
    from harness.report.study.source import read
    from harness.results import store

    if "parquet" in asked:
        store.require_pyarrow()  # before anything is written
    source = read(folder)
    report = write(output, page(source.study), source)
    texts = {"timm-csv": formats.timm_csv, "latex": formats.latex, "markdown": formats.markdown}
    for name, path in asked.items():
        if name in texts:
            store.write_bytes(path, texts[name](source.study).encode())
        elif name == "readme":
            readme.write(source.study, Path(folder).resolve().name, path, figures)
        else:
            (store.to_csv if name == "csv" else store.to_parquet)(source.frame, path)
    return report


if __name__ == "__main__":
    sys.exit(main())
