"""The two one-way chains, read off the imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = ["geometry", "relation", "backends", "attention", "registry"]
TORCHLESS = ["harness/jobs/study.py", "harness/training/recipe.py", "harness/regress.py", *(
    file.relative_to(ROOT).as_posix() for folder in ("results", "report")
    for file in sorted((ROOT / "harness" / folder).rglob("*.py")) if file.name != "provenance.py")]  # fmt: skip


def imported(path):
    """Every module that a file names in an import, at the top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", sorted((ROOT / "variants").rglob("*.py")), ids=lambda path: path.stem)
def test_variants_import_downwards_only(path):
    found = set(imported(path))
    assert not any(name.startswith("harness") for name in found)
    layer = path.relative_to(ROOT / "variants").with_suffix("").parts[0]
    if layer in LAYERS:
        above = {f"variants.{name}" for name in LAYERS[LAYERS.index(layer) + 1 :]}
        files = {f"variants.{f.stem}" for f in (ROOT / "variants").glob("*.py")} - {f"variants.{n}" for n in LAYERS}
        assert not found & (above | files)


@pytest.mark.parametrize("path", TORCHLESS)
def test_rows_and_report_know_no_torch(path):
    heavy = (
        "torch",
        "timm",
        "variants",
        "harness.jobs.cell",
        "harness.jobs.experiment",
        "harness.training.loop",
        "harness.backbone.vit",
    )
    assert [name for name in imported(ROOT / path) if name.split(".")[0] in heavy or name in heavy] == []


def test_rendering_never_loads_torch():
    code = "import harness.report, harness.results.stats, harness.results, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"
