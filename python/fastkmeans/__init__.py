# SPDX-License-Identifier: Apache-2.0
"""Exact k-means for embeddings: fast, and the same bits on every machine."""

from ._report import (
    EmptyClusterWarning,
    FewPointsWarning,
    IterationStats,
    NotFittedError,
    PrecisionWarning,
    SubsampledWarning,
)
from ._version import __version__
from .kmeans import FastKMeans

__all__ = [
    "EmptyClusterWarning",
    "FastKMeans",
    "FewPointsWarning",
    "IterationStats",
    "NotFittedError",
    "PrecisionWarning",
    "SubsampledWarning",
    "__version__",
]

# Messages and pickles name them by where users import them.
for _public in (
    EmptyClusterWarning,
    FewPointsWarning,
    IterationStats,
    NotFittedError,
    PrecisionWarning,
    SubsampledWarning,
):
    _public.__module__ = __name__
