"""``python -m manyview``: the command line."""

import sys

from manyview.cli import main

sys.exit(main())
