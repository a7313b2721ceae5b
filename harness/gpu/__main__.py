"""python -m harness.gpu"""

import sys

from harness.gpu.program import main

sys.exit(main())
