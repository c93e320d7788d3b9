# SPDX-License-Identifier: Apache-2.0
"""scikit-learn's base classes and checks where it is installed, else what stands in for them."""
# ruff: noqa: F401

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._without_sklearn import *  # noqa: F403
else:
    try:
        from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.utils import check_random_state
        from sklearn.utils.validation import validate_data
    except ImportError:
        from ._without_sklearn import *  # noqa: F403
