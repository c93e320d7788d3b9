# SPDX-License-Identifier: Apache-2.0
"""Exact k-means for embeddings: fast, and the same bits on every machine."""

from ._version import __version__
from .kmeans import FastKMeans

__all__ = ["FastKMeans", "__version__"]
