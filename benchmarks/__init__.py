# SPDX-License-Identifier: Apache-2.0
"""k-means side by side with every peer: `python -m benchmarks --help`."""


class UsageError(Exception):
    """What the person who typed the command can put right: one line on stderr, exit status 2."""
