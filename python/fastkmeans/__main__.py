# SPDX-License-Identifier: Apache-2.0
"""``python -m fastkmeans`` is the command ``fastkmeans``."""

import sys

from ._cli import main

sys.exit(main())
