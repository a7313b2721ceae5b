"""python -m harness.run"""

import sys

from harness.run.program import main

sys.exit(main())
