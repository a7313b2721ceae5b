"""The main program: `python -m harness.run` trains, measures, records and renders a comparison.

From Python, the package itself is called: `harness.run(variants="sp_sa,psa,rpe")`; see harness/run/call.py.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


class Run(ModuleType):
    """A package that is called as the program is."""

    def __call__(self, **settings: Any) -> "pd.DataFrame":
        """See `harness.run.call.study`."""
        from harness.run.call import study

        return study(**settings)


sys.modules[__name__].__class__ = Run
