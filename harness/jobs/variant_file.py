"""A file of variants of one's own: runs it once, and says which names it registered and what it held."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class VariantFile:
    """The names that a file registered, and ten hexadecimal digits of its contents."""

    path: Path
    names: tuple[str, ...]
    digest: str


_loaded: dict[Path, VariantFile] = {}


def load(path: Path) -> VariantFile:
    """Runs the file, so that what it registers is known; once a process. It is the user's own code.

    Raises ValueError, with file, line and error, for a file that cannot be read or run, or that registers nothing.
    """
    from variants.registry import names

    if not path.is_file():
        raise ValueError(f"there is no file {path}; give the Python file that registers your variant")
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    digest = hashlib.sha256(source).hexdigest()[:10]
    before = _loaded.get(path.resolve())
    if before is not None:
        if before.digest != digest:
            raise ValueError(f"{path} has changed since this process ran it; start a new one")
        return before
    known = set(names())
    _run(path, source)
    new = tuple(name for name in names() if name not in known)
    if not new:
        raise ValueError(f'{path} registers no variant; decorate a class with @register("some_name")')
    _loaded[path.resolve()] = VariantFile(path, new, digest)
    return _loaded[path.resolve()]


def file_of(name: str) -> Path | None:
    """The file that registered a variant; None for the package's own."""
    return next((one.path for one in _loaded.values() if name in one.names), None)


def _run(path: Path, source: bytes) -> None:
    """Runs exactly these bytes as the module of that file; no bytecode is left beside it."""
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:10]  # two files may have one name
    spec = importlib.util.spec_from_file_location(f"variant_file_{path.stem}_{place}", path)
    if spec is None:
        raise ValueError(f"{path} is no Python file; its name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:  # another's code may raise anything; its author wants the place, in a line
        del sys.modules[spec.name]
        raise ValueError(located(error, path)) from error


def located(error: BaseException, path: Path) -> str:
    """ "my_variant.py:7: TypeError: ...", the line being the last of that file that ran, or that does not parse."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines.append(error.lineno)
    words = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
    where = f"{path}:{lines[-1]}" if lines else str(path)
    return f"{where}: {type(error).__name__}: {words}"
