# SPDX-License-Identifier: Apache-2.0
"""What `KMeans` takes from scikit-learn, where that is not installed: the same names, and no more than is needed."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from . import _input
from ._report import EmptyClusterWarning as ConvergenceWarning
from ._report import as_call

__all__ = [
    "BaseEstimator",
    "ClassNamePrefixFeaturesOutMixin",
    "ClusterMixin",
    "ConvergenceWarning",
    "TransformerMixin",
    "check_random_state",
    "validate_data",
]


class BaseEstimator:
    """Parameters are the constructor's arguments, kept as attributes of the same names."""

    @classmethod
    def _parameters(cls) -> dict[str, inspect.Parameter]:
        return dict(inspect.signature(cls).parameters)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {name: getattr(self, name) for name in sorted(self._parameters())}

    def set_params(self, **params: Any) -> Any:
        for name, value in params.items():
            if name not in self._parameters():
                allowed = ", ".join(self._parameters())
                raise ValueError(f"{type(self).__name__} has no parameter {name!r}; it has {allowed}.")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        return as_call(type(self), type(self).__name__, {name: getattr(self, name) for name in self._parameters()})


class TransformerMixin:
    pass


class ClusterMixin:
    pass


class ClassNamePrefixFeaturesOutMixin:
    _n_features_out: int

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray[Any, Any]:
        name = type(self).__name__.lower()
        return np.asarray([f"{name}{i}" for i in range(self._n_features_out)], dtype=object)


def validate_data(estimator: Any, X: Any, *, reset: bool, dtype: Any) -> np.ndarray[Any, Any]:
    """A matrix of one of the dtypes, the first of them if it has another; `reset` notes its number of columns."""
    X = X if hasattr(X, "shape") else np.asarray(X)
    given = X.shape[-1] if len(X.shape) else 1
    d = given if reset else getattr(estimator, "n_features_in_", given)
    array = _input.numbers(_input.read(X, d, "X"))
    array = array if array.dtype in dtype else array.astype(dtype[0])
    if not np.isfinite(array).all():
        raise ValueError("X contains NaN or infinity.")
    if reset:
        estimator.n_features_in_ = array.shape[1]
    return array


def check_random_state(seed: Any) -> np.random.RandomState:
    """numpy's global generator for None, a new one for an integer, a RandomState itself."""
    if seed is None:
        return np.random.mtrand._rand
    if isinstance(seed, np.random.RandomState):
        return seed
    if isinstance(seed, (int, np.integer)):
        return np.random.RandomState(seed)
    raise ValueError(f"random_state must be None, an integer or a numpy.random.RandomState, given {seed!r}.")
