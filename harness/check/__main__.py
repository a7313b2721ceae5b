"""python -m harness.check"""

import sys

from harness.check.program import main

sys.exit(main())
