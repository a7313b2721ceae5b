"""The guides say what there is: their links lead somewhere, their commands are read by the programs, names exist."""

import argparse
import ast
import re
import shlex
import tomllib
from functools import reduce
from importlib import import_module
from importlib.util import find_spec

import pytest

from harness import data, presets
from harness.jobs.study import MEASURED, MEASURES
from harness.results import store
from harness.training.recipe import Recipe
from tests.support import markdown
from tests.support.paths import ROOT
from variants import families, names
from variants.backends import BACKENDS
from variants.registry import canonical, expand, parse, settings_of
from variants.relation import RESOLUTION_RULES

GUIDES = ["variants/README.md", "harness/README.md", "results/README.md", "tests/README.md"]
TEXTS = ["README.md", "CONTRIBUTING.md", *GUIDES]
NOT_RUN = {  # commands that are no program of this project: why they are not read by one
    "pip": "installs packages", "pytest": "is the suite itself", "ruff": "is a check of its own",
    "mypy": "is a check of its own", "git": "changes the checkout",
}  # fmt: skip
FOREIGN = {  # flags of Slurm, of pytest and of timm's scripts
    "--exclusive", "--badges", "--benchmark-only", "--rounds", "--device-modules", "--img-size", "--model-kwargs",
}  # fmt: skip


class Parsed(Exception):
    """What a program read of its arguments."""


def main_of(program):
    """The main function of `python -m PROGRAM`. Raises ValueError where there is no such program."""
    for module in (f"{program}.program", f"{program}.__main__", program):
        if _is_module(module) and hasattr(import_module(module), "main"):
            return import_module(module).main
    raise ValueError(f"there is no program {program}")


def _is_module(name):
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def read_by(program, arguments, monkeypatch):
    """(parser, what it read): a program parses its arguments and does nothing else. SystemExit where it refuses."""

    def parse_args(self, args=None, namespace=None):
        found, left = self.parse_known_args(args, namespace)
        if left:
            self.error(f"unrecognized arguments: {' '.join(left)}")
        raise Parsed(self, found)

    with monkeypatch.context() as patched:
        patched.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        with pytest.raises(Parsed) as caught:
            main_of(program)(arguments)
    return caught.value.args


def commands(text):
    """The commands of the bash blocks, each a list of words."""
    for block in markdown.blocks(text, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words:
                end = words.index("&&") if "&&" in words else len(words)
                yield words[:end]
                words = words[end + 1 :]


def told_by(words):
    """(program, its arguments) of a command; None for one of NOT_RUN. ValueError for a command that nobody knows."""
    if words[0] in NOT_RUN:
        return None
    if words[0] not in ("python", "torchrun") or "-m" not in words:
        raise ValueError(f"nobody knows the command {words[0]}")
    at = words.index("-m")
    return words[at + 1], words[at + 2 :]


def checked(words, monkeypatch):
    """Raises what is wrong with a command. Of `python -c` what it imports exists; the rest is of another's script."""
    if words[:2] == ["python", "-c"]:
        imports = [node for node in ast.walk(ast.parse(words[2])) if isinstance(node, ast.Import)]
        for name in (alias.name for node in imports for alias in node.names):
            assert _is_module(name), f"there is no module {name}"
        return
    program, arguments = told_by(words)
    _, found = read_by(program, arguments, monkeypatch)
    if program == "harness.run":
        from harness.run.flags import study_of

        study = study_of(found)
        if not found.variant_file:
            expand(found.variants or study.variants)
    for file in getattr(found, "variant_file", []) + [w for w in arguments if w.endswith(".py")]:
        assert (ROOT / file).is_file(), f"there is no file {file}"


EVERY = sorted({(name, shlex.join(words)) for name in TEXTS for words in commands(markdown.read(name))})


@pytest.mark.parametrize(("guide", "command"), EVERY, ids=[f"{name}: {command}" for name, command in EVERY])
def test_a_command_is_read_by_its_program(guide, command, monkeypatch):
    words = shlex.split(command)
    if words[0] == "pytest":
        for word in words[1:]:
            assert word.startswith("-") or "/" not in word or (ROOT / word).exists()
    if words[0] == "pip":
        known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert set(re.findall(r"\.\[(\w+)\]", command)) <= set(known)
    if words[0] in NOT_RUN:
        pytest.skip(f"{words[0]} {NOT_RUN[words[0]]}")
    checked(words, monkeypatch)


@pytest.mark.parametrize("wrong", [
    "python -m harness.run --varaints sp_sa", "python -m harness.run --preset digit", "python -m harness.nothing",
    "python -m harness.run --variants 'sp_sa[hiden=16]'", "python -m harness.check examples/no_variant.py",
    "python -m harness.run --measure weather", "make all", "python -c 'import runpy, harness.models' --data-dir images",
])  # fmt: skip
def test_a_wrong_command_is_seen(wrong, monkeypatch, capsys):
    with pytest.raises((ValueError, AssertionError, SystemExit, ModuleNotFoundError)):
        checked(shlex.split(wrong), monkeypatch)


def test_the_first_command_plans_its_cells(capsys, tmp_path):
    first = next(words for words in commands(markdown.read("README.md")) if words[0] == "python")
    program, arguments = told_by(first)
    where = ["--output", str(tmp_path / "rows"), "--report", str(tmp_path / "page.html")]
    assert main_of(program)([*arguments, "--dry-run", *where]) == 0
    said = capsys.readouterr().out
    for variant in ("sa", "sp_sa", "psa", "rpe_1d", "rpe_2d"):
        assert re.search(rf"to do +{variant} seed 2\n", said)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", markdown.guides(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(path):
    text = path.read_text(encoding="utf-8")
    assert [wrong for target in markdown.links(text) if (wrong := markdown.missing(path, target))] == []


def test_a_link_to_nothing_is_seen():
    path = ROOT / "README.md"
    assert markdown.missing(path, "variants/README.md#backends") is None
    assert markdown.missing(path, "variants/README.md#back-ends") is not None
    assert markdown.missing(path, "variant/README.md") is not None
    assert markdown.links("see [it](a.md#b) and `[no](c.md)`\n```bash\n[nor](d.md)\n```\n") == ["a.md#b"]
    assert markdown.anchors("# A, `b`\n## A b\n## Keys: what is\n") == ["a-b", "a-b-1", "keys-what-is"]


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_begins_with_its_contents(name):
    text = markdown.read(name)
    listed = re.findall(r"^- \[([^\]]+)\]\(#([^)]+)\)$", text.partition("\n## ")[0], re.MULTILINE)
    assert [title for title, _ in listed] == markdown.headings(text, 2)
    assert {anchor for _, anchor in listed} <= set(markdown.anchors(text))


@pytest.mark.parametrize("name", GUIDES)
def test_the_readme_leads_to_every_guide(name):
    assert name in markdown.links(markdown.read("README.md"))


@pytest.mark.parametrize("name", TEXTS)
def test_what_a_guide_names_exists(name):
    """Programs, modules and their functions, specs, presets."""
    text = markdown.read(name)
    for program in set(re.findall(r"python -m ([\w.]+)", text)):
        assert main_of(program), program
    for code in markdown.inline(text):
        exists(code)


MODULE = re.compile(r"(?:import )?((?:harness|variants|tests)(?:\.\w+)+)(?:\(.*\))?")
FILE = re.compile(r"(?:harness|variants|tests|examples)/[a-z_./]+")  # a name in capitals stands for others
SPEC = re.compile(r"[a-z]\w+(\[[^\]]+\])?(\+[a-z]\w+(\[[^\]]+\])?)*")


def exists(code):
    """Raises what is wrong with a name of the project's between backticks; any other text passes."""
    if (found := MODULE.fullmatch(code)) and not code.endswith((".py", ".md")):
        parts = found[1].split(".")
        depth = next(d for d in range(len(parts), 0, -1) if _is_module(".".join(parts[:d])))
        reduce(getattr, parts[depth:], import_module(".".join(parts[:depth])))
    elif FILE.fullmatch(code):
        assert (ROOT / code).exists(), f"there is no {code}"
    elif found := re.fullmatch(r"--preset ([a-z][\w:-]*)", code):
        presets.preset(found[1])
    elif SPEC.fullmatch(code) and re.search(r"[\[+]", code) and re.split(r"[\[+]", code)[0] in names():
        canonical(code)


@pytest.mark.parametrize("wrong", [
    "harness.models.load", "harness.presets.deti()", "harness/cells.py", "sp_sa[hiden=16]", "swin+sp_as",
    "--preset digits:hiden", "import harness.checkpoints",
])  # fmt: skip
def test_a_name_of_nothing_is_seen(wrong):
    with pytest.raises((ValueError, AssertionError, AttributeError)):
        exists(wrong)


def below(guide, title):
    """The text of a guide below a heading."""
    return markdown.section(markdown.read(guide), title)


def told_programs():
    return set(re.findall(r"python -m (harness\.\w+)", str(markdown.table(below("harness/README.md", "Programs")))))


def flags(words):
    return re.findall(r"(?<![\w-])--[a-z][\w-]+", words)


def test_flags_exist(monkeypatch):
    known = set(FOREIGN)
    needed = {"harness.regress": ["a", "b"]} | {f"harness.{name}": [] for name in ("gallery", "costs", "gpu")}
    for program in told_programs():
        given = needed.get(program, [] if program in ("harness.run", "harness.search") else ["a"])
        known |= set(read_by(program, given, monkeypatch)[0]._option_string_actions)
    for name in TEXTS:
        for code in markdown.inline(markdown.read(name)):
            if code.split()[0] not in NOT_RUN:
                assert set(flags(code)) <= known, f"{name}: {code}"


def test_the_programs_of_the_table_are_all_that_there_are():
    package = ROOT / "harness"
    found = {f"harness.{path.parent.name}" for path in package.glob("*/__main__.py")}
    found |= {f"harness.{file.stem}" for file in package.glob("*.py") if '__name__ == "__main__"' in file.read_text()}
    assert told_programs() == found


def first_column(guide, title):
    """The names between backticks in the first column of the tables below a heading, in order."""
    return [name for line in markdown.table(below(guide, title)) for name in markdown.CODE.findall(line[0])]


CATALOGUE = ("The paper's variants", "The rest of the field")


def test_the_catalogue_has_every_variant_and_no_other():
    told = [name for title in CATALOGUE for name in first_column("variants/README.md", title)]
    assert sorted(told) == sorted(names())
    text = markdown.read("variants/README.md")
    paper = re.search(r"`paper` stands for (.*?)\.", text, re.DOTALL)
    assert set(markdown.CODE.findall(paper[1])) == set(families()["paper"])
    stands = re.search(r"A family stands for its members: (.*?)\.", text, re.DOTALL)
    several = {family for family, members in families().items() if len(members) > 1}
    assert set(markdown.CODE.findall(stands[1])) == several


def test_settings_of_the_catalogue_exist():
    for line in [line for title in CATALOGUE for line in markdown.table(below("variants/README.md", title))]:
        classes = [parse(name)[0].cls for name in markdown.CODE.findall(line[0])]
        known = {key: default for cls in classes for key, (_, default) in settings_of(cls).items()}
        for setting in markdown.CODE.findall(line[2]):
            key, _, values = setting.partition("=")
            assert key in known, f"{line[0]} has no setting {key}"
            if values:
                default = known[key]
                first = type(default)(values) if type(default) in (int, float) else values.partition(",")[0]
                assert first == (default if type(default) in (int, float) else str(default)), f"{line[0]}: {key}"


def test_tables_have_what_the_code_has():
    assert first_column("variants/README.md", "Backends") == list(BACKENDS)
    rules = [line[0] for line in markdown.table(below("variants/README.md", "At another resolution"))]
    assert rules == list(RESOLUTION_RULES)
    assert sorted(first_column("harness/README.md", "Presets and ablations")) == sorted(presets.PRESETS)
    assert set(presets.ABLATIONS) <= set(markdown.inline(below("harness/README.md", "Presets and ablations")))
    measurements = below("harness/README.md", "Measurements")
    assert sorted(first_column("harness/README.md", "Measurements")) == sorted(MEASURES)
    default = measurements.partition(" are measured by default")[0].rpartition("list. ")[2]
    assert set(markdown.CODE.findall(default)) == set(MEASURED)
    told = {
        name for line in markdown.table(below("harness/README.md", "Data")) for name in markdown.CODE.findall(line[1])
    }
    assert set(data.DATASETS) | {"folder:PATH", "torch/NAME", "hfds/NAME"} <= told
    assert sorted(first_column("results/README.md", "The columns of a row")) == sorted(store.COLUMNS)


def kinds():
    """The kinds of cells that classes name."""
    found = set()
    for path in sorted((ROOT / "harness").rglob("*.py")):
        for cls in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)):
            for line in cls.body:
                if isinstance(line, ast.Assign) and getattr(line.targets[0], "id", "") == "kind":
                    found.add(ast.literal_eval(line.value))
    return found


def test_every_kind_of_cell_is_told():
    """Those of measurements have their names, of which one is told."""
    columns = markdown.table(below("results/README.md", "The columns of a row"))
    line = next(line for line in columns if line[0] == "`kind`")
    assert set(markdown.CODE.findall(line[1])) == kinds() | {"refused", "calibration"}


def test_what_is_told_as_a_flag_of_the_recipe_is_one():
    told = re.search(r"parts do the work: (.*?)\.\s", markdown.read("harness/README.md"), re.DOTALL)
    entries = {flag[2:].replace("-", "_") for flag in flags(told[1])}
    assert entries - {"amp", "torchcompile"} <= set(Recipe.__dataclass_fields__)


# ---- prose is short


def sentences(text):
    """The sentences of a guide's prose, as words; code, tables and headings are none."""
    text = re.sub(r"```.*?```|<!--.*?-->", "", text, flags=re.DOTALL)
    lines = [line for line in text.split("\n") if not line.startswith(("|", "#", "    "))]
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", "\n".join(lines))
    found = []
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", text):
        for one in re.split(r"(?<=[.!?:])\s+(?=[A-Z`*\"(])", " ".join(block.split()).removeprefix("- ")):
            words = [word for word in one.split() if re.search(r"\w", word)]
            if len(words) > 2:
                found.append(words)
    return found


def is_short(text):
    lengths = [len(words) for words in sentences(text)]
    assert sum(lengths) / len(lengths) <= 16
    assert max(lengths) <= 30, next(" ".join(words) for words in sentences(text) if len(words) > 30)


@pytest.mark.parametrize("name", TEXTS)
def test_sentences_are_short(name):
    is_short((ROOT / name).read_text())


@pytest.mark.parametrize("text", ["one word after another " * 8 + ".", "These are words, " * 5 + "and no end."])
def test_long_sentences_are_noticed(text):
    with pytest.raises(AssertionError):
        is_short(text)
