# SPDX-License-Identifier: Apache-2.0
"""Exact k-means for embeddings: fast, and the same bits on every machine."""

from typing import TYPE_CHECKING, Any

from ._report import (
    EmptyClusterWarning,
    FewPointsWarning,
    IterationStats,
    NotFittedError,
    PrecisionWarning,
    SubsampledWarning,
    ZeroRowsWarning,
)
from ._version import __version__
from .batch import BatchResult, fit_batch
from .kmeans import FastKMeans

if TYPE_CHECKING:
    from .estimator import KMeans

__all__ = [
    "BatchResult",
    "EmptyClusterWarning",
    "FastKMeans",
    "FewPointsWarning",
    "IterationStats",
    "KMeans",
    "NotFittedError",
    "PrecisionWarning",
    "SubsampledWarning",
    "ZeroRowsWarning",
    "__version__",
    "fit_batch",
]

# Messages and pickles name them by where users import them.
for _public in (
    BatchResult,
    EmptyClusterWarning,
    FewPointsWarning,
    IterationStats,
    NotFittedError,
    PrecisionWarning,
    SubsampledWarning,
    ZeroRowsWarning,
):
    _public.__module__ = __name__


def __getattr__(name: str) -> Any:
    """`KMeans`, when it is first asked for: it imports scikit-learn, which takes a second."""
    if name == "KMeans":
        from .estimator import KMeans

        return KMeans
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
