# SPDX-License-Identifier: Apache-2.0
"""What is wrong with the data is said: expected, given, and where."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from fastkmeans import FastKMeans


@pytest.mark.parametrize("method", ["train", "fit", "fit_predict"])
def test_fewer_rows_than_clusters(method: str, x: np.ndarray) -> None:
    text = r"^Number of training points \(4\) is less than k \(1000000\)\.$"  # plain digits, no separators
    with pytest.raises(ValueError, match=text):
        getattr(FastKMeans(7, 1_000_000), method)(x[:4])


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((400, 6), "6"),
        ((400,), r"1 dimensions.*\(400,\)"),
        ((20, 20, 7), r"3 dimensions"),
        ((), "0 d"),
    ],
)
@pytest.mark.parametrize("method", ["train", "fit", "predict", "fit_predict"])
def test_a_wrong_shape_says_expected_and_given(method: str, shape: tuple[int, ...], said: str, x: np.ndarray) -> None:
    kmeans = FastKMeans(7, 5)
    kmeans.centroids = x[:5]
    with pytest.raises(ValueError, match=f"^data .*7.*{said}|^data .*{said}.*7"):
        getattr(kmeans, method)(np.zeros(shape, np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 2.0**56, -(2.0**60)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", ["train", "fit", "predict"])
def test_rows_that_cannot_be_used_are_counted(method: str, dtype: Any, bad: float, x: np.ndarray) -> None:
    kmeans = FastKMeans(7, 5)
    kmeans.centroids = x[:5]
    spoiled = x.astype(dtype)
    spoiled[[317, 123, 399], [0, 6, 3]] = bad
    with pytest.raises(ValueError, match=r"\b3\b.*\b123\b"):
        getattr(kmeans, method)(spoiled)


def test_values_that_overflow_float32(x: np.ndarray) -> None:
    spoiled = x.astype(np.float64)
    spoiled[17, 2] = 1e300
    with pytest.raises(ValueError, match=r"\b1\b.*\b17\b"):
        FastKMeans(7, 5).train(spoiled)


def test_a_subsample_does_not_read_the_rest(x: np.ndarray) -> None:
    """The rows that are used are checked; a bad row elsewhere shows when it is labelled."""
    rows = np.repeat(x, 50, axis=0)
    kmeans = FastKMeans(7, 2, max_points_per_centroid=5, niter=1)
    drawn = []
    for bad in range(0, len(rows), 1000):
        spoiled = rows.copy()
        spoiled[bad] = np.nan
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                kmeans.train(spoiled)
            except ValueError:
                drawn.append(bad)
            else:
                with pytest.raises(ValueError, match=rf"\b{bad}\b"):
                    kmeans.fit(spoiled)
    assert len(drawn) < 5


def test_predict_before_training_without_scikit_learn(in_new_process: Any) -> None:
    said = in_new_process(
        "import sys, fastkmeans, numpy as np\n"
        "try: fastkmeans.FastKMeans(2, 2).predict(np.zeros((3, 2)))\n"
        "except RuntimeError as e: print(type(e).__name__, e, 'sklearn' in sys.modules)"
    )
    assert said == "NotFittedError Must call train() or fit() before predict(). False\n"


def test_predict_before_training_with_scikit_learn(x: np.ndarray) -> None:
    exceptions = pytest.importorskip("sklearn.exceptions")
    with pytest.raises(exceptions.NotFittedError) as error:
        FastKMeans(7, 5).predict(x)
    assert isinstance(error.value, RuntimeError)
    again = pickle.loads(pickle.dumps(error.value))  # as when it crosses from a worker process
    assert isinstance(again, exceptions.NotFittedError)
    assert again.args == error.value.args
