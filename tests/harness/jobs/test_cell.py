"""Keys of cells: in a copy of the source one file is changed at a time, and the cells that are to be done again listed.

A process that has read torch and the like once forks for each question, so every answer is that of a new process.
"""

import compileall
import json
import os
import shutil
from pathlib import Path
from py_compile import PycInvalidationMode

import pytest

from tests.support import programs

ROOT = Path(__file__).parents[3]
FLAGS = ["--preset", "digits", "--seeds", "0-1", "--resolutions", "8,12", "--finetune-epochs", "1", "--measure",
         "cost,speed,accuracy,shift,calibration,corruption,maps,saliency"]  # fmt: skip
MEASURED = ("shift", "calibration", "corruption", "maps", "saliency")

SERVER = """
import gc, json, os, sys, warnings
import sklearn.datasets, sklearn.model_selection, timm, torch, torchvision.transforms.v2, pandas, fvcore.nn
sys.path.insert(0, sys.argv[1])
warnings.simplefilter("ignore")
gc.disable()  # a child lives for a second
for line in open(sys.argv[2]):
    planted, flags = json.loads(line)
    if child := os.fork():
        os.waitpid(child, 0)
        continue
    try:
        from harness.jobs import plan
        from harness.run import flags as words
        exec(planted)
        arm = plan.StudyArm(words.study_of(words.parser().parse_args(flags)), ("sa", "sp_sa", "psa"))
        run = plan.RunPlan((), "cpu", (arm,))
        print(json.dumps({cell.name: cell.key for cell in plan.cells(run)}), flush=True)
    except BaseException as error:
        print(json.dumps({"error": repr(error)}), flush=True)
    os._exit(0)
"""


class Tree:
    """A copy of the source, whose keys can be asked for."""

    def __init__(self, folder):
        self.folder, self.known = folder, {}
        for name in ("variants", "harness"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        # compiled once for all questions, and asked by the text of a file whether it has changed
        compileall.compile_dir(folder, quiet=1, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
        beside = folder.with_name(f"{folder.name}-server")
        beside.mkdir()
        (beside / "server.py").write_text(SERVER)
        os.mkfifo(beside / "questions")
        environment = {"PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = programs.start("server", folder, beside / "questions", cwd=beside, env=environment)
        self.questions = open(beside / "questions", "w")  # noqa: SIM115 (open as long as this is)

    def keys(self, planted=""):
        """By the name of a cell its key; planted: code that is run before."""
        self.questions.write(json.dumps([planted, FLAGS]) + "\n")
        self.questions.flush()
        found = json.loads(self.process.stdout.readline())
        assert "error" not in found, found
        return found

    def changed(self, edits, planted=""):
        """The cells whose keys are others after edits: by file a text that is added, or what becomes of the text."""
        if planted not in self.known:
            self.known[planted] = self.keys(planted)
        before = self.known[planted]
        kept = {file: (self.folder / file).read_text() if (self.folder / file).exists() else None for file in edits}
        try:
            for file, edit in edits.items():
                text = kept[file] or ""
                (self.folder / file).write_text(edit(text) if callable(edit) else text + edit)
            after = self.keys(planted)
        finally:
            for file, text in kept.items():
                (self.folder / file).unlink() if text is None else (self.folder / file).write_text(text)
        assert set(after) == set(before)
        return {name for name in before if before[name] != after[name]}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    made = Tree(tmp_path_factory.mktemp("source"))
    made.known[""] = made.keys()
    yield made
    made.questions.close()
    made.process.wait(30)


LINE = "\nTHIS_IS_NEW = 1\n"


def ends(*words):
    return lambda name: name.endswith(words)


def swap(before, after):
    def edit(text):
        assert text.count(before) == 1
        return text.replace(before, after)

    return edit


def nothing(name):
    return False


def everything(name):
    return True


VARIANT = "from variants.registry import register\nfrom variants.relation import SpatialRelation\n\n\n" \
          '@register("mine")\nclass Mine(SpatialRelation):\n    """Nothing."""\n'  # fmt: skip
MEASUREMENT = "def images(n):\n    return n\n\n\ndef measure(subject):\n    yield {}\n"

SHOWS = [f"harness/{file}.py" for file in (
    "results/metrics", "results/store", "results/provenance", "results/source", "results/stats", "jobs/plan",
    "jobs/local", "jobs/slurm", "jobs/estimate", "jobs/cell", "presets", "ablations", "training/published",
    "binarize/accuracy", "search", "costs",
)]  # fmt: skip
SHOWS += [file.relative_to(ROOT).as_posix() for part in ("report", "run")
          for file in (ROOT / "harness" / part).rglob("*.py")]  # fmt: skip

METRICS = "{metric.name: metric for metric in ["
NEW_METRIC = f"{METRICS}\n    Metric('mine', '1', 'mine', 'mine', 'what it is', 'up'),"

CASES = {
    "a new variant": ({"variants/mine.py": VARIANT, "variants/__init__.py": "\nfrom variants import mine\n"}, nothing),
    "a new dataset": ({"harness/data/sets/mine.py": "SIDE = 8\n",
                       "harness/data/__init__.py": "\nfrom harness.data.sets.mine import SIDE\n"}, nothing),
    "a new measurement": ({"harness/measure/mine.py": MEASUREMENT,
                           "harness/results/metrics.py": swap(METRICS, NEW_METRIC)}, nothing),
    "a comment": ({"harness/measure/saliency.py": "\n# more of it\n"}, nothing),
    "a docstring": ({"harness/training/loop.py": swap('"""One step, its', '"""A step, its')}, nothing),
    "calibration": ({"harness/measure/calibration.py": swap("BINS = 15", "BINS = 16")}, ends(" calibration")),
    "shift": ({"harness/measure/shift.py": LINE}, ends(" shift")),
    "corruption": ({"harness/measure/corruption.py": LINE}, ends(" corruption")),
    "maps": ({"harness/measure/maps.py": LINE}, ends(" maps")),
    "what maps say": ({"harness/results/maps.py": LINE}, ends(" maps")),
    "saliency": ({"harness/measure/saliency.py": LINE}, ends(" saliency")),
    "rollout": ({"harness/measure/rollout.py": LINE}, ends(" saliency")),
    "subject": ({"harness/measure/subject.py": LINE}, ends(*(f" {kind}" for kind in MEASURED))),
    "measured": ({"harness/jobs/kinds/measured.py": LINE}, ends(*(f" {kind}" for kind in MEASURED))),
    "fine-tuning": ({"harness/jobs/kinds/finetuning.py": LINE}, ends(" fine-tuned at 12 px")),
    "timing": ({"harness/measure/timing/clock.py": LINE}, lambda name: name == "speed"),
    "the speed cell": ({"harness/jobs/kinds/speed.py": LINE}, lambda name: name == "speed"),
    "the cost cell": ({"harness/jobs/kinds/cost.py": LINE}, lambda name: name == "cost"),
    "psa": ({"variants/psa.py": LINE}, lambda name: name.startswith("psa ") or name in ("cost", "speed")),
    "sp_sa": ({"variants/sp_sa.py": LINE}, lambda name: name.startswith("sp_sa ") or name in ("cost", "speed")),
    "training cell": ({"harness/jobs/kinds/training.py": LINE}, lambda name: "seed" in name),
    **{file: ({f"harness/{file}": LINE}, everything) for file in
       ("training/loop.py", "training/recipe.py", "backbone/vit.py", "jobs/experiment.py")},
    "attention": ({"variants/attention.py": LINE}, everything),
    "what plans, records and shows": (dict.fromkeys(SHOWS, LINE), nothing),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_change_costs_the_cells_that_execute_it_and_no_other(tree, case):
    edits, costs = CASES[case]
    assert tree.changed(edits) == {name for name in tree.known[""] if costs(name)}


def test_there_are_cells_of_all_kinds(tree):
    assert len(tree.known[""]) == 2 + 2 * 3 * (2 + len(MEASURED))
    assert len(set(tree.known[""].values())) == len(tree.known[""])
    assert tree.keys() == tree.known[""]


# code that is run before the keys are asked for, and the cases that are wrong then
ALL_FILES = """
from harness.results import source
source.digest = lambda modules: source._join(str(path.read_bytes()) for path in sorted(source.ROOT.rglob("*.py")))
"""
NO_RECORDERS = "from harness.results import source; source.RECORDERS = ()"
MODULES = """
from harness.jobs import cell
cell.Cell.modules = lambda self: [type(self).__module__, *(self.after.modules() if self.after else [])]
"""
NO_MEASUREMENT = """
from harness.jobs.kinds import measured, training
measured.Measured.modules = training.OfTrained.modules
"""
NO_VARIANTS = """
from harness.jobs import experiment
experiment.Experiment.source_of = lambda self, variant: ""
"""
PLANTED = [
    (ALL_FILES, "a new variant"), (ALL_FILES, "a new dataset"), (ALL_FILES, "a comment"), (ALL_FILES, "shift"),
    (ALL_FILES, "psa"), (ALL_FILES, "what plans, records and shows"),
    (NO_RECORDERS, "what plans, records and shows"), (NO_RECORDERS, "a new measurement"),
    (MODULES, "jobs/experiment.py"),
    (NO_MEASUREMENT, "calibration"), (NO_MEASUREMENT, "what maps say"), (NO_MEASUREMENT, "rollout"),
    (NO_VARIANTS, "sp_sa"),
]  # fmt: skip


@pytest.mark.parametrize(("planted", "case"), PLANTED)
def test_a_planted_error_is_noticed(tree, planted, case):
    edits, costs = CASES[case]
    assert tree.changed(edits, planted) != {name for name in tree.known[""] if costs(name)}


def test_the_digests_of_all_variants_read_and_walk_each_file_once(tmp_path):
    """Of every variant and measurement, in a process that has none yet."""
    code = """
import ast, variants
from harness.jobs.kinds import cost, finetuning, measured, speed, training
from harness.results import source
from variants.registry import names, parse
seen = {"parsed": [], "walked": []}
parse_text, shape = ast.parse, source._shape
def parsed(text):
    seen["parsed"].append(parse_text(text))
    return seen["parsed"][-1]
def walked(node):
    seen["walked"] += [node] if isinstance(node, ast.Module) else []
    return shape(node)
ast.parse, source._shape = parsed, walked
for kind in ("cost", "speed", "training", "finetuning", "measured"):
    source.digest([f"harness.jobs.kinds.{kind}", "harness.jobs.experiment"])
for kind in ("shift", "calibration", "corruption", "maps", "saliency", "symmetry"):
    source.digest([f"harness.measure.{kind}"])
for spec in names():
    source.of_classes(part.cls for part in parse(spec))
print(len(set(map(id, seen["walked"]))), len(seen["walked"]), len(seen["parsed"]))
"""
    (tmp_path / "digests.py").write_text(code)
    done = programs.run("digests", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    files, walked, read = map(int, done.stdout.split())
    assert 50 < files == walked <= read
    assert read <= sum(len(list((ROOT / package).rglob("*.py"))) for package in ("variants", "harness"))
