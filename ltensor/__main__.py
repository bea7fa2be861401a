"""``python -m ltensor`` is the command ``ltensor``."""

import sys

from ltensor.cli import main

sys.exit(main())
