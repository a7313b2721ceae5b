"""python -m harness.binarize"""

import sys

from harness.binarize.program import main

sys.exit(main())
