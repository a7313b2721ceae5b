"""What a figure may need of the setting that it is drawn for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.report.analysis.summary import Summary
from harness.report.figures.style.palette import Look
from harness.report.study.maps import Books, books
from harness.report.study.study import Setting


@dataclass(frozen=True)
class Context:
    """A setting, its variants' numbers and looks; a figure's name begins with `prefix`."""

    setting: Setting
    summaries: Sequence[Summary]
    look: Mapping[str, Look]
    prefix: str

    @cached_property
    def maps(self) -> list[Books]:
        """The maps of the variants that left some; several figures read these files, and they are read once."""
        return books(self.setting)
