"""The apparatus: everything that is held fixed while one attention is swapped for another."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness import run as run


def __getattr__(name: str) -> Any:
    """`harness.run`, brought when it is asked for, so that `import harness` alone is enough to call it."""
    if name == "run":
        from importlib import import_module

        return import_module("harness.run")
    raise AttributeError(f"module 'harness' has no attribute {name!r}")
