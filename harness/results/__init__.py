"""Rows: written, read, described and judged. `harness.results.load` reads a study."""

from harness.results.store import load

__all__ = ["load"]
