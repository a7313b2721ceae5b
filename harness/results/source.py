"""What a figure was made by: a digest of the source that is executed, read off the imports.

A digest of a module covers its syntax tree and, through its imports, the trees of all modules of this project that it
executes. Comments, docstrings, annotations, layout and the place of a file do not count. A name that a package passes
on is followed to the module that defines it, so a registry that lists modules (variants/__init__.py) ties nobody to
all of them. What only writes figures down counts for none of them: the modules in RECORDERS.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("variants", "harness")
# they name, order, store and describe what others compute
RECORDERS = ("harness.results.store", "harness.results.provenance", "harness.results.metrics", "harness.results.maps",
             "harness.results.source", "harness.jobs.cell")  # fmt: skip
DIGITS = 10


def digest(modules: Iterable[str]) -> str:
    """Ten hexadecimal digits of what these modules execute, whatever their order.

    A module is a dotted name of this project, or the path of a file of the user's own, whose imports of its neighbours
    are followed. Raises ValueError for one that does not exist.
    """
    return _join(sorted({_of(_file(module)) for module in modules}))


def of_classes(classes: Iterable[type]) -> str:
    """The digest of the files that define these classes, with what they build on."""
    return digest({inspect.getsourcefile(cls) or "" for cls in classes})


def executed(module: str) -> set[str]:
    """The files, relative to the project, that the digest of a module covers."""
    found, queue = set(), [_file(module)]
    while queue:
        file = queue.pop()
        if file not in found:
            found.add(file)
            queue += [target for target, _ in _targets(file)]
    return {file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else file.name for file in found}


_digests: dict[Path, str] = {}


def _of(file: Path, above: tuple[Path, ...] = ()) -> str:
    """The digest of a file: its own tree, then what it imports, by the names that it takes from there.

    Raises ValueError for files that import each other.
    """
    if file in above:
        raise ValueError(
            f"{file.name} imports itself by way of {', '.join(one.name for one in above)}; break the circle"
        )
    if file not in _digests:
        inner = sorted(f"{names} {_of(target, (*above, file))}" for target, names in _targets(file))
        _digests[file] = _join([_shape(_tree(file)), *inner])
    return _digests[file]


def _targets(file: Path) -> list[tuple[Path, str]]:
    """The files of this project that a file executes by importing them, and the names that it takes from each."""
    found = []
    for module, names in _imports(_tree(file), file):
        for target, name in _resolve(module, names, file):
            if _name(target) not in RECORDERS:
                found.append((target, name))
    return found


def _imports(tree: ast.Module, file: Path) -> Iterator[tuple[str, list[str]]]:
    """(module, names) of every import of this project's modules, wherever it stands; not what types alone ask for."""
    for node in _executed(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names if _exists(alias.name, file))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level and _exists(node.module, file):
            yield node.module, [alias.name for alias in node.names]


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those below `if TYPE_CHECKING`."""
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _executed(child)


def _resolve(module: str, names: list[str], file: Path) -> Iterator[tuple[Path, str]]:
    """The files that define these names of a module; the module's own for those that it defines itself."""
    where = _file(module, file)
    if not names or where.name != "__init__.py":
        yield where, ",".join(sorted(names))
        return
    imports = [node for node in ast.walk(_tree(where)) if isinstance(node, ast.ImportFrom)]
    imports = [node for node in ast.walk(_tree(where)) if isinstance(node, ast.ImportFrom)]
    passed = {one.asname or one.name: (node.module or "", one.name) for node in imports for one in node.names}
    for name in names:
        if _exists(f"{module}.{name}", file):
            yield _file(f"{module}.{name}", file), ""
        elif name in passed and passed[name][0].split(".")[0] in PACKAGES:
            yield from _resolve(passed[name][0], [passed[name][1]], where)
        else:
            yield where, name


def _exists(module: str, file: Path) -> bool:
    return _path(module, file) is not None


def _path(module: str, file: Path | None = None) -> Path | None:
    """The file of a module of this project, or of a neighbour of a file that is not this project's."""
    own = module.split(".")[0] in PACKAGES
    if not own and (file is None or file.is_relative_to(ROOT)):
        return None
    base = (ROOT if own or file is None else file.parent).joinpath(*module.split("."))
    found = (path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file())
    return next(found, None)


def _file(module: str, file: Path | None = None) -> Path:
    path = Path(module) if module.endswith(".py") else _path(module, file)
    if path is None or not path.is_file():
        raise ValueError(f"there is no module {module} in this project")
    return path.resolve()


def _name(file: Path) -> str:
    if not file.is_relative_to(ROOT):
        return file.stem
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_bytes())


def _shape(node: object) -> str:
    """A syntax tree as a text that is the same on every Python: what is executed, and nothing of where it stands."""
    if isinstance(node, list):
        return "[" + ",".join(_shape(one) for one in node if not _is_silent(one)) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    if isinstance(node, ast.Raise):  # what is said of an error is no figure
        return f"Raise({_shape(node.exc.func if isinstance(node.exc, ast.Call) else node.exc)})"
    fields = [(name, value) for name, value in ast.iter_fields(node) if name not in UNSEEN and value not in (None, [])]
    return f"{type(node).__name__}({','.join(f'{name}={_shape(value)}' for name, value in fields)})"


UNSEEN = {"annotation", "returns", "type_comment", "type_params", "kind", "ctx", "type_ignores"}


def _is_silent(node: object) -> bool:
    """What runs nothing: docstrings, help texts, what types ask for, and imports, for which other digests stand."""
    if isinstance(node, ast.keyword):
        return node.arg in ("help", "metadata")
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").split(".")[0] in (*PACKAGES, "__future__")
    return isinstance(node, ast.Import) and all(alias.name.split(".")[0] in PACKAGES for alias in node.names)


def _join(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:DIGITS]
