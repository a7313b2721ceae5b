"""What a figure was made by: a digest of the source that is executed, read off the imports.

A digest of a module covers its syntax tree and, through its imports, the trees of all modules of this project that it
executes. Comments, docstrings, annotations, layout and the place of a file do not count. A name that a package passes
on is followed to the module that defines it, so a registry that lists modules (variants/__init__.py) ties nobody to
all of them. What only writes figures down, or names what is asked for, counts for none of them: the modules in
RECORDERS. Each file is read and walked once a process.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("variants", "harness")
# they name, order, store and describe what others compute; studies, sizes and images are in the keys by their values
RECORDERS = ("harness.results.store", "harness.results.provenance", "harness.results.metrics",
             "harness.results.source", "harness.jobs.cell", "harness.jobs.study", "harness.jobs.variant_file",
             "harness.backbone.sizes", "harness.data.fingerprint")  # fmt: skip
DIGITS = 10
Stamp = tuple[int, int]  # when a file changed last (ns), and its size (bytes)


def digest(modules: Iterable[str]) -> str:
    """Ten hexadecimal digits of what these modules execute, whatever their order.

    A module is a dotted name of this project, or the path of a file of the user's own, whose imports are followed as
    far as nothing is installed; data files that it reads are not. Raises ValueError for one that does not exist.
    """
    return _join(sorted({_of(_file(module)) for module in modules}))


def of_classes(classes: Iterable[type], files: Iterable[str] = ()) -> str:
    """The digest of the files that define these classes, and of these files, with what they build on."""
    return digest({inspect.getsourcefile(cls) or "" for cls in classes} | set(files))


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
_stamps: dict[Path, Stamp] = {}


def known() -> dict[Path, tuple[Stamp, str]]:
    """The digests that this process has read, for one that it starts: a second of work, and the same words again."""
    return {file: (_stamps[file], found) for file, found in _digests.items()}


def know(found: dict[Path, tuple[Stamp, str]]) -> None:
    """Takes over what another process knew, where none of its files has changed since it was read."""
    if all(file.is_file() and _stamp(file) == stamp for file, (stamp, _) in found.items()):
        _digests.update({file: digest for file, (_, digest) in found.items()})
        _stamps.update({file: stamp for file, (stamp, _) in found.items()})


def _stamp(file: Path) -> Stamp:
    at = file.stat()
    return at.st_mtime_ns, at.st_size


def _of(file: Path, above: tuple[Path, ...] = ()) -> str:
    """The digest of a file: its own tree, then what it imports, by the names that it takes from there.

    Raises ValueError for files that import each other.
    """
    if file in above and not _is_ours(file):
        return file.stem  # a user's files may import each other; each counts where it is met first
    if file in above:
        raise ValueError(
            f"{file.name} imports itself by way of {', '.join(one.name for one in above)}; break the circle"
        )
    if file not in _digests:
        _stamps[file] = _stamp(file)  # before it is read
        inner = sorted({f"{name} {_of(target, (*above, file))}" for target, name in _targets(file)})
        _digests[file] = _join([_shape(_tree(file)), *inner])
    return _digests[file]


@cache
def _targets(file: Path) -> tuple[tuple[Path, str], ...]:
    """(file of this project, name): what a file executes by importing it, for each name that it takes from there."""
    every = (found for module, names in _imports(file) for found in _resolve(module, names, file))
    return tuple((target, name) for target, name in every if _name(target) not in RECORDERS)


def _imports(file: Path) -> Iterator[tuple[str, list[str]]]:
    """(module, names) of every import of followed modules, wherever it stands; not what types alone ask for."""
    for node in _executed(_tree(file)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names if _exists(alias.name, file))
        elif isinstance(node, ast.ImportFrom):
            names, above = [alias.name for alias in node.names], "." * node.level
            if node.module and _exists(above + node.module, file):
                yield above + node.module, names
            elif above:  # from . import a, b
                yield from ((above + name, []) for name in names if _exists(above + name, file))


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those below `if TYPE_CHECKING`."""
    if _asks_for_types(node):
        node = ast.Module(body=node.orelse, type_ignores=[])  # type: ignore[attr-defined]
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _executed(child)


def _asks_for_types(node: object) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _resolve(module: str, names: list[str], file: Path) -> Iterator[tuple[Path, str]]:
    """(file, name) for each of these names of a module, or for "": the file that defines it, the module's own or one
    whose names the module passes on."""
    where = _file(module, file)
    if not names or where.name != "__init__.py":
        yield from ((where, name) for name in names or [""])
        return
    passed = _passed(where)
    for name in names:
        if _exists(f"{module}.{name}", file):
            yield _file(f"{module}.{name}", file), ""
        elif name in passed and passed[name][0].split(".")[0] in PACKAGES:
            yield from _resolve(passed[name][0], [passed[name][1]], where)
        else:
            yield where, name


@cache
def _passed(package: Path) -> dict[str, tuple[str, str]]:
    """The names that a package imports, each with its module and its name there."""
    imports = [node for node in _executed(_tree(package)) if isinstance(node, ast.ImportFrom)]
    return {one.asname or one.name: (node.module or "", one.name) for node in imports for one in node.names}


def _exists(module: str, file: Path) -> bool:
    return _path(module, file) is not None


def _path(module: str, file: Path | None = None) -> Path | None:
    """The file of a module of this project; for a file of the user's own, of whatever is not installed."""
    if module.split(".")[0] in PACKAGES:
        folders = [ROOT]
    elif file is None or _is_ours(file):
        return None
    elif module.startswith("."):
        level = len(module) - len(module.lstrip("."))
        folders = [[file, *file.parents][level]]
    else:
        found = (Path(place or ".").resolve() for place in sys.path)
        folders = [file.parent, *(place for place in found if not _is_installed(place))]
    names = module.lstrip(".").split(".")
    paths = (folder.joinpath(*names) for folder in folders)
    files = (one for path in paths for one in (path.with_suffix(".py"), path / "__init__.py"))
    return next((one for one in files if one.is_file()), None)


def _is_installed(folder: Path) -> bool:
    """Whether a folder of the path holds installed packages or Python's own, whose versions rows name."""
    prefixes = {Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()}
    return "site-packages" in folder.parts or any(folder.is_relative_to(prefix) for prefix in prefixes)


def _is_ours(file: Path) -> bool:
    """Whether a file is this project's; a user's own may lie beside its packages."""
    return file.is_relative_to(ROOT) and file.relative_to(ROOT).parts[0] in PACKAGES


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
    if _asks_for_types(node):
        return _shape(node.orelse)  # type: ignore[attr-defined]
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        return _shape(ast.Assign(targets=[node.target], value=node.value))
    if isinstance(node, ast.Raise):  # what is said of an error is no figure
        return f"Raise({_shape(node.exc.func if isinstance(node.exc, ast.Call) else node.exc)})"
    if isinstance(node, ast.Import | ast.ImportFrom) and _is_of_ours(node):  # what it is called here
        return f"Import({','.join(f'{one.name}={one.asname}' for one in node.names if one.asname)})"
    fields = [(name, getattr(node, name, None)) for name in node._fields if name not in UNSEEN]
    fields = [(name, value) for name, value in fields if value not in (None, [])]
    return f"{type(node).__name__}({','.join(f'{name}={_shape(value)}' for name, value in fields)})"


UNSEEN = {"annotation", "returns", "type_comment", "type_params", "kind", "ctx", "type_ignores"}


def _is_silent(node: object) -> bool:
    """What runs nothing: docstrings, help texts, what types ask for, and imports, for which other digests stand."""
    if isinstance(node, ast.keyword):
        return node.arg in ("help", "metadata")
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    if _asks_for_types(node):
        return not node.orelse  # type: ignore[attr-defined]
    if isinstance(node, ast.Import | ast.ImportFrom) and _is_of_ours(node):
        return not any(one.asname for one in node.names)
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _is_of_ours(node: ast.Import | ast.ImportFrom) -> bool:
    """Whether it imports this project's modules alone."""
    names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
    return all(name.split(".")[0] in PACKAGES for name in names)


def _join(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:DIGITS]
