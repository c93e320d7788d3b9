# SPDX-License-Identifier: Apache-2.0
"""What ends a fit beside `tol`: inertia_tol, changed_tol and max_runtime_secs."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import pytest
from fastkmeans import FastKMeans
from hypothesis import given, settings
from hypothesis import strategies as st
from test_exact import SEEDS, check

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 200),
    st.integers(1, 9),
    st.sampled_from(sorted(datasets.KINDS)),
    st.sampled_from([-1, 1e-8, 1]),
    st.sampled_from([0, 1e-9, 0.03, 1]),
    st.sampled_from([0, 1e-9, 0.1, 1]),
    SEEDS,
)
def test_equals_the_oracle(n: int, k: int, kind: str, tol: float, inertia: float, changed: float, seed: int) -> None:
    options = {"tol": tol, "inertia_tol": inertia, "changed_tol": changed, "niter": 12, "seed": seed}
    check(datasets.make(kind, "f4", n, 3, seed), min(n, k), **options)


def blobs() -> Any:
    return datasets.make("blobs", "f4", 2000, 4, 0)


def test_tolerances_end_fits_early() -> None:
    data = blobs()
    longest = FastKMeans(4, 50, niter=100, gpu=False).fit(data)
    for options in ({"inertia_tol": 0.01}, {"changed_tol": 0.05}):
        km = FastKMeans(4, 50, niter=100, gpu=False, **options).fit(data)
        assert km.n_iter_ < longest.n_iter_
        assert km.converged_
        assert not km.timed_out_
        assert km.iteration_stats[-1]._replace(seconds=0) == longest.iteration_stats[km.n_iter_ - 1]._replace(seconds=0)
    last, before = km.iteration_stats[-1], km.iteration_stats[-2]
    assert last.changed < 0.05 * km.n_used_ <= before.changed


def test_time_is_over() -> None:
    data = blobs()
    km = FastKMeans(4, 50, nredo=5, max_runtime_secs=1e-9, gpu=False)
    assert km.timed_out_ is None
    km.fit(data)
    assert (km.timed_out_, km.converged_, km.n_iter_) == (True, False, 1)
    assert np.array_equal(km.labels_, km.predict(data))
    km.max_runtime_secs = 1000
    assert km.fit(data).timed_out_ is False


@pytest.mark.parametrize("name", ["inertia_tol", "changed_tol"])
def test_wrong_shares(name: str) -> None:
    for value in (-0.1, 1.5, float("inf")):
        with pytest.raises(ValueError, match=rf"^{name} must be between 0 and 1, given {value}\.$"):
            FastKMeans(4, 5, **{name: value})
    with pytest.raises(ValueError, match=rf"^{name} must be a number, given nan\.$"):
        FastKMeans(4, 5, **{name: float("nan")})
    with pytest.raises(TypeError, match=rf"^{name} must be a real number, given None"):
        FastKMeans(4, 5, **{name: None})


def test_wrong_times() -> None:
    for value in (0, -1.0):
        with pytest.raises(ValueError, match=r"^max_runtime_secs must be above 0, or None, given (0|-1)\.0\.$"):
            FastKMeans(4, 5, max_runtime_secs=value)
    with pytest.raises(TypeError, match=r"^max_runtime_secs must be a real number, given '1'"):
        FastKMeans(4, 5, max_runtime_secs="1")  # type: ignore[arg-type]
