"""The layers, read off the imports: they are those of CONTRIBUTING.md, and no module imports itself in a circle.

An import counts wherever it stands, inside a function too; one that types alone ask for (`if TYPE_CHECKING`) does not.
"""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support import markdown
from tests.support.paths import ROOT

PROGRAMS = ("program", "__main__")  # files of a folder that are a program, whatever the folder is
SINGLE = ("costs", "gallery", "regress", "search")  # programs of one file
FILES = "one file a variant"
TORCHLESS = ["harness/jobs/study.py", "harness/training/recipe.py", "harness/regress.py", *(
    file.relative_to(ROOT).as_posix() for folder in ("results", "report")
    for file in sorted((ROOT / "harness" / folder).rglob("*.py")) if file.name != "provenance.py")]  # fmt: skip


def modules(root):
    """By dotted name the files of both packages."""
    files = [file for package in ("variants", "harness") for file in sorted((root / package).rglob("*.py"))]
    return {".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def executed(node):
    """All nodes but those below `if TYPE_CHECKING`."""
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        node = ast.Module(body=node.orelse, type_ignores=[])
    yield node
    for child in ast.iter_child_nodes(node):
        yield from executed(child)


def imported(path):
    """Every name that a file imports: of `from a import b` both a and a.b."""
    for node in executed(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports by dots; write the whole name"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def graph(root):
    """By module the modules of both packages that it imports."""
    known = modules(root)

    def found(name):
        return name if name in known else name.rpartition(".")[0]

    return {name: {found(one) for one in imported(path)} & set(known) - {name} for name, path in known.items()}


def part(module):
    """The row of the tables that a module belongs to: (table, row)."""
    package, _, rest = module.partition(".")
    names = rest.split(".")
    if package == "variants":
        lines = [line[0].strip("`") for line in tables()["variants"]]
        return package, names[0] if names[0] in lines else FILES
    if names[-1] in PROGRAMS or names[0] == "run" or names[0] in SINGLE:
        return package, "programs"
    return package, names[0]


def drawn(root):
    """By table and row what the imports lead to, but for the row itself; `variants` is a row of harness's table."""
    found = {"variants": {}, "harness": {}}
    for module, targets in graph(root).items():
        if module in ("variants", "harness"):  # which bring the names of others together
            continue
        package, row = part(module)
        into = found[package].setdefault(row, set())
        for target in targets - {"variants", "harness"}:
            other, its = part(target)
            into.add(its if other == package else other)
        if package == "harness" and "variants" in targets:
            into.add("variants")
    return {package: {row: into - {row} for row, into in rows.items()} for package, rows in found.items()}


def tables():
    """The rows of CONTRIBUTING.md's two tables, from bottom to top."""
    rows = markdown.table(markdown.section(markdown.read("CONTRIBUTING.md"), "The layers"))
    return {"variants": [row for row in rows if len(row) == 2], "harness": [row for row in rows if len(row) == 3]}


def told():
    """By table and row, from bottom to top, what it says that the row imports."""
    found = {}
    for package, rows in tables().items():
        found[package] = {row[0].strip("`"): {w.strip("` ") for w in row[-1].split(",") if w} for row in rows}
    return found


def circle(edges):
    """Modules that import each other in a circle; [] where there is none."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return error.args[1]
    return []


@pytest.mark.parametrize("package", ["variants", "harness"])
def test_the_layers_are_those_of_the_table(package):
    found, expected = drawn(ROOT)[package], told()[package]
    found |= {"variants": set()} if package == "harness" else {}
    assert set(found) == set(expected)
    rows = {row: ", ".join(f"`{one}`" if one[:4] != "one " else one for one in expected if one in found[row])
            for row in expected}  # fmt: skip
    assert {row: found[row] for row in expected} == expected, f"the table is to say {rows}"


@pytest.mark.parametrize("package", ["variants", "harness"])
def test_the_table_goes_down_only(package):
    rows = told()[package]
    for place, (row, into) in enumerate(rows.items()):
        assert into <= set(list(rows)[:place]), f"{row} imports what stands below it"


def test_no_module_imports_itself_in_a_circle():
    assert circle(graph(ROOT)) == []


def test_a_wrong_import_is_seen(tmp_path):
    """A circle inside functions, an import upwards, and one that types alone ask for."""
    (tmp_path / "variants").mkdir()
    for name, text in {
        "harness/results/a.py": "def f():\n    from harness.report.b import g\n",
        "harness/report/b.py": "import harness.results.a\n",
        "harness/jobs/c.py": "if TYPE_CHECKING:\n    from harness.run import d\nelse:\n    import harness.report.b\n",
        "harness/jobs/program.py": "from harness.jobs import c\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = drawn(tmp_path)["harness"]
    assert found == {"results": {"report"}, "report": {"results"}, "jobs": {"report"}, "programs": {"jobs"}}
    assert set(circle(graph(tmp_path))) == {"harness.results.a", "harness.report.b"}


@pytest.mark.parametrize("path", sorted((ROOT / "variants").rglob("*.py")), ids=lambda path: path.stem)
def test_variants_never_import_the_harness(path):
    assert not any(name.split(".")[0] == "harness" for name in imported(path))


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
    found = [name for name in imported(ROOT / path) if name.split(".")[0] in heavy or name.startswith(heavy[3:])]
    assert found == []


def runs(code):
    """What a new process prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_rendering_never_loads_torch():
    code = "import harness.report, harness.results.stats, harness.results, sys; print('torch' in sys.modules)"
    assert runs(code).strip() == "False"


def programs():
    """The module that has the main function, by program."""
    package = ROOT / "harness"
    folders = [file.parent for file in sorted(package.glob("*/__main__.py"))]
    found = {f"harness.{one.name}": "program" if (one / "program.py").exists() else "__main__" for one in folders}
    return [f"{name}.{file}" for name, file in found.items()] + [f"harness.{name}" for name in SINGLE]


def test_help_needs_no_torch():
    """Every program explains itself where torch cannot be imported."""
    code = f"""
import contextlib, io, sys
from importlib import import_module
sys.modules |= dict.fromkeys(("torch", "timm", "torchvision"))
for name in {programs()}:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        import_module(name).main(["--help"])
    assert said.getvalue().startswith("usage: python -m harness"), name
"""
    runs(code)
    with pytest.raises(AssertionError, match="torch"):
        runs(code.replace("for name in", "import harness.backbone.vit\nfor name in"))


def test_every_program_of_one_file_is_named():
    found = [
        path.stem for path in (ROOT / "harness").glob("*.py") if '__name__ == "__main__"' in Path(path).read_text()
    ]
    assert sorted(found) == sorted(SINGLE)
