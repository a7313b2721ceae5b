"""The digest of source: what is not executed does not change it, what is executed does, and each of that by itself.

Every check is run on the module as it is, and on one with an error planted in its text, which it has to notice.
"""

import os
from itertools import count
from pathlib import Path
from types import ModuleType

import pytest

from harness.results import source as real

A = '''"""A module."""
from __future__ import annotations
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
import math
from mine.b import twice, thrice
from mine.store import write
if TYPE_CHECKING:
    from mine.types import Thing

LIMIT = 3

@dataclass
class Holder:
    """Holds."""
    size: int = field(default=2, metadata={"help": "a size"})

def f(x: int, *, y: Thing | None = None) -> float:
    """What it does."""
    if x > LIMIT:
        raise ValueError(f"{x} is more than {LIMIT}")
    flag("--x", default=1, help="a flag")
    found: float = twice(x) + math.sqrt(x)
    write(found)
    return found
'''
FILES = {
    "mine/__init__.py": "from mine.b import twice, thrice as triple\nfrom mine.far import away\nfrom mine.a import f\n",
    "mine/a.py": A,
    "mine/b.py": "from mine.c import one\ndef twice(x):\n    return x + x * one()\ndef thrice(x):\n    return 3 * x\n",
    "mine/c.py": "def one():\n    return 1\n",
    "mine/far.py": "def away():\n    return 0\n",
    "mine/store.py": "def write(x):\n    print(x)\n",
    "mine/types.py": "class Thing:\n    size = 1\n",
    "mine/by_package.py": "from mine import triple, twice\n\ndef g(x):\n    return twice(x) + triple(x)\n",
}
numbers = count()


def digest(source, folder, module="mine.a", **changed):
    """The digest of a module in a tree of its own: `changed` has texts by file, a dot for each slash."""
    root = folder / str(next(numbers))
    for name, text in (FILES | {f"mine/{name}.py": text for name, text in changed.items()}).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    source.ROOT, source.PACKAGES, source.RECORDERS = root, ("mine",), ("mine.store",)
    return source.digest([module])


def mutant(text="", planted=""):
    """The module with an error planted in its text; as it is without one."""
    path = Path(real.__file__)
    whole = path.read_text()
    assert text in whole
    made = ModuleType("mutant")
    made.__file__ = str(path)
    exec(compile(whole.replace(text, planted) if text else whole, str(path), "exec"), made.__dict__)
    return made


# ---- what does not count

SAME = {
    "comment": ("LIMIT = 3", "# at most\nLIMIT = 3  # of them"),
    "layout": ("twice(x) + math.sqrt(x)", "(\n        twice(  x)\n        + math.sqrt(x)\n    )"),
    "docstring": ('"""What it does."""', '"""What else it does."""'),
    "no docstring": ('    """What it does."""\n', ""),
    "docstring of a class": ('"""Holds."""', '"""Has."""'),
    "docstring of the module": ('"""A module."""', '"""The module."""'),
    "annotation of an argument": ("x: int", "x: float | None"),
    "annotation of what is returned": (" -> float", ""),
    "annotation of a variable": ("found: float =", "found ="),
    "help": ('help="a flag"', 'help="another flag"'),
    "metadata": ('{"help": "a size"}', '{"help": "how large it is"}'),
    "sentence of an error": ('f"{x} is more than {LIMIT}"', 'f"{x} is too large; choose at most {LIMIT - 1}"'),
    "import for types": ("    from mine.types import Thing\n", "    import numpy\n    from mine.far import away\n"),
    "place of an import": (
        "from mine.b import twice, thrice\n",
        "from mine.b import thrice\nfrom mine.b import twice\n",
    ),
    "import in a function": ("    flag(", "    from mine.b import twice\n    flag("),
}


def same(source, folder, what):
    before, after = SAME[what]
    assert before in A
    changed = A.replace(before, after)
    assert digest(source, folder) == digest(source, folder, a=changed)


def types_alone(source, folder):
    assert digest(source, folder) == digest(source, folder, types="class Thing:\n    size = 2\n")


def recorder(source, folder):
    assert digest(source, folder) == digest(source, folder, store="def write(x):\n    print(2 * x)\n")


def place(source, folder):
    moved = {"elsewhere": FILES["mine/b.py"], "deep/there": A.replace("mine.b", "mine.elsewhere")}
    assert digest(source, folder) == digest(source, folder, "mine.deep.there", **moved)


def package(source, folder):
    """Who asks a package for two names is tied to their modules, and not to all that it lists."""
    mine = digest(source, folder, "mine.by_package")
    init = FILES["mine/__init__.py"]
    assert mine == digest(source, folder, "mine.by_package", __init__=init + "from mine.types import Thing\n")
    assert mine == digest(source, folder, "mine.by_package", far="def away():\n    return 7\n")
    assert mine != digest(source, folder, "mine.by_package", c="def one():\n    return 2\n")
    assert mine != digest(source, folder, "mine.by_package", __init__=init.replace("thrice as", "twice as"))


# ---- what counts

OTHER = {
    "constant": ("LIMIT = 3", "LIMIT = 4"),
    "operator": ("x > LIMIT", "x >= LIMIT"),
    "arithmetic": ("twice(x) + math", "twice(x) - math"),
    "call": ("math.sqrt(x)", "math.exp(x)"),
    "value of a flag": ("default=1", "default=2"),
    "default of a field": ("default=2", "default=3"),
    "kind of an error": ("raise ValueError(", "raise TypeError("),
    "name that is taken": ("import twice, thrice\n", "import twice\n"),
    "line that is gone": ("    write(found)\n", ""),
    "decorator": ("@dataclass\n", "@dataclass(frozen=True)\n"),
}


def other(source, folder, what):
    before, after = OTHER[what]
    assert before in A
    assert digest(source, folder) != digest(source, folder, a=A.replace(before, after))


def imported(source, folder):
    assert digest(source, folder) != digest(source, folder, b=FILES["mine/b.py"].replace("3 * x", "4 * x"))
    assert digest(source, folder) != digest(source, folder, c="def one():\n    return 2\n")


def imported_below(source, folder):
    inside = "def f(x):\n    from mine.c import one\n    return one()\n"
    assert digest(source, folder, a=inside) != digest(source, folder, a=inside, c="def one():\n    return 2\n")


def swapped(source, folder):
    one = "from mine.b import twice as f, thrice as g\nx = f(1) + 2 * g(1)\n"
    two = "from mine.b import twice as g, thrice as f\nx = f(1) + 2 * g(1)\n"
    assert digest(source, folder, a=one) != digest(source, folder, a=two)


def circle(source, folder):
    with pytest.raises(ValueError, match=r"a.py imports itself by way of a.py, b.py; break the circle"):
        digest(source, folder, b="from mine.a import f\n")


def neighbour(source, folder, beside="users"):
    """A user's own file follows the modules that lie beside it, and this project's."""
    found = []
    for factor, one in ((1, 1), (2, 1), (1, 2)):
        digest(source, folder, c=f"def one():\n    return {one}\n")
        where = (source.ROOT if beside == "root" else folder / str(next(numbers))) / "own"
        where.mkdir(parents=True)
        (where / "helper.py").write_text(f"FACTOR = {factor}\n")
        (where / "my_variant.py").write_text("from helper import FACTOR\nfrom mine.b import twice\nx = twice(FACTOR)\n")
        found.append(source.digest([str(where / "my_variant.py")]))
    assert len(set(found)) == 3


def neighbour_in_a_clone(source, folder):
    neighbour(source, folder, "root")


def unknown(source, folder):
    with pytest.raises(ValueError, match=r"there is no module mine\.nothing in this project"):
        digest(source, folder, "mine.nothing")


def order(source, folder):
    digest(source, folder)
    assert source.digest(["mine.a", "mine.c"]) == source.digest(["mine.c", "mine.a", "mine.a"])
    assert source.digest(["mine.a", "mine.c"]) != source.digest(["mine.a"])


def forgotten(source):
    """As in a process that has read nothing yet; what it has known before."""
    known = source.known()
    for kept in (source._digests, source._stamps):
        kept.clear()
    for kept in (source._tree, source._targets):
        kept.cache_clear()
    return known


def handed_on(source, folder):
    """What one process knows serves another one, which then reads nothing."""
    before = digest(source, folder)
    source.know(forgotten(source))
    source._tree = lambda file: pytest.fail(f"{file} is read again")
    assert source.digest(["mine.a"]) == before


def changed_since(source, folder):
    """Nothing is taken over where a file is another one by now, even of the same length."""
    before = digest(source, folder)
    file, known = source.ROOT / "mine" / "c.py", forgotten(source)
    file.write_text(file.read_text().replace("return 1", "return 2"))
    os.utime(file, ns=(0, 0))  # so that it differs where a clock is coarse
    source.know(known)
    assert source.digest(["mine.a"]) != before


PLAIN = [handed_on, changed_since, types_alone, recorder, place, package, imported, imported_below, swapped, circle,
         neighbour, neighbour_in_a_clone, unknown, order]  # fmt: skip


@pytest.mark.parametrize("what", SAME)
def test_what_is_not_executed_does_not_count(tmp_path, what):
    same(mutant(), tmp_path, what)


@pytest.mark.parametrize("what", OTHER)
def test_what_is_executed_counts(tmp_path, what):
    other(mutant(), tmp_path, what)


@pytest.mark.parametrize("check", PLAIN, ids=lambda check: check.__name__)
def test_digests_follow_imports(tmp_path, check):
    check(mutant(), tmp_path)


READ, SIZE = "ast.parse(file.read_bytes())", "ast.parse(file.read_bytes() + str(file.stat().st_size).encode())"
TEXT = "return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)"
TYPES = 'return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"'
OURS = "return file.is_relative_to(ROOT) and file.relative_to(ROOT).parts[0] in PACKAGES"
PLANTED = [
    (READ, SIZE, same, "comment"),
    (TEXT, "return False", same, "docstring"),
    (TEXT, "return False", same, "no docstring"),
    (TEXT, "return False", same, "docstring of a class"),
    (TEXT, "return False", same, "docstring of the module"),
    ('"annotation", ', "", same, "annotation of an argument"),
    ("if isinstance(node, ast.AnnAssign) and node.value is not None", "if False", same, "annotation of a variable"),
    ('"returns", ', "", same, "annotation of what is returned"),
    ('("help", "metadata")', '("metadata",)', same, "help"),
    ('("help", "metadata")', '("help",)', same, "metadata"),
    ("isinstance(node, ast.Raise)", "False", same, "sentence of an error"),
    (TYPES, "return False", same, "import for types"),
    ("return not any(one.asname for one in node.names)", "return False", same, "place of an import"),
    ("return not any(one.asname for one in node.names)", "return False", same, "import in a function"),
    ("if _asks_for_types(node):\n        node = ", "if False:\n        node = ", types_alone, ""),
    ("if _name(target) not in RECORDERS", "", recorder, ""),
    ('{name} {_of(', '{target} {_of(', place, ""),
    ("elif name in passed and", "elif False and", package, ""),
    ("yield from _resolve(passed[name][0], [passed[name][1]], where)", "yield where, name", package, ""),
    ("        return repr(node)\n", '        return ""\n', other, "constant"),
    ("        return repr(node)\n", '        return ""\n', other, "call"),
    ("        return repr(node)\n", '        return ""\n', other, "value of a flag"),
    ("        return repr(node)\n", '        return ""\n', other, "default of a field"),
    ('return f"{type(node).__name__}({', 'return f"({', other, "operator"),
    ('return f"{type(node).__name__}({', 'return f"({', other, "arithmetic"),
    ("{_shape(node.exc.func if isinstance(node.exc, ast.Call) else node.exc)}", "", other, "kind of an error"),
    ('f"{name} {_of(', 'f"{_of(', other, "name that is taken"),
    ("for one in node if not _is_silent(one)", "for one in node[:3]", other, "line that is gone"),
    ('"ctx", ', '"ctx", "decorator_list", ', other, "decorator"),
    ("[_shape(_tree(file)), *inner]", "[_shape(_tree(file))]", imported, ""),
    ("for child in ast.iter_child_nodes(node):", "for child in getattr(node, 'body', [])[:0]:", imported_below, ""),
    ("if one.asname)", "if False)", swapped, ""),
    ("    if file in above:", "    if False:", circle, ""),
    ("elif file is None or _is_ours(file):", "elif True:", neighbour, ""),
    (OURS, "return file.is_relative_to(ROOT)", neighbour_in_a_clone, ""),
    ('raise ValueError(f"there is no module', 'raise KeyError(f"there is no module', unknown, ""),
    ("_digests.update(", "dict.update({}, ", handed_on, ""),
    ("== stamp for", "is not None for", changed_since, ""),
    ("sorted({_of(_file(module)) for module in modules})", "[_of(_file(module)) for module in modules]", order, ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "planted", "check", "what"), PLANTED)
def test_a_planted_error_is_noticed(tmp_path, text, planted, check, what):
    module = mutant(text, planted)  # out here, since it asserts that the text is there
    with pytest.raises((AssertionError, RecursionError, KeyError, pytest.fail.Exception)):
        check(module, tmp_path, *([what] if what else []))


def test_every_case_has_a_planted_error():
    seen = {(check.__name__, what) for _, _, check, what in PLANTED}
    wanted = {("same", what) for what in SAME} | {("other", what) for what in OTHER}
    wanted |= {(check.__name__, "") for check in PLAIN}
    assert wanted - seen == {("same", "layout")}  # which no syntax tree has
