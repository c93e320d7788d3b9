# SPDX-License-Identifier: Apache-2.0
"""Replaced methods are called as the original calls them: fit calls train; fit_predict calls fit, then predict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fastkmeans import FastKMeans, _core

WAYS = ["subclass", "class", "instance"]


def replaced(way: str, monkeypatch: pytest.MonkeyPatch, **methods: Any) -> FastKMeans:
    """A FastKMeans(7, 5) some of whose methods are others: functions of the object and the data."""
    if way == "subclass":
        return type("Mine", (FastKMeans,), methods)(7, 5)
    kmeans = FastKMeans(7, 5)
    for name, method in methods.items():
        if way == "class":
            monkeypatch.setattr(FastKMeans, name, method)
        else:
            setattr(kmeans, name, lambda data, method=method: method(kmeans, data))
    return kmeans


def first_rows(self: FastKMeans, data: np.ndarray) -> None:
    self.centroids = np.array(data[: self.k])


def fit_first_rows(self: FastKMeans, data: np.ndarray) -> FastKMeans:
    first_rows(self, data)
    return self


def all_seven(self: FastKMeans, data: np.ndarray) -> np.ndarray:
    return np.full(len(data), 7)


@pytest.mark.parametrize("way", WAYS)
def test_a_train_of_one_s_own(way: str, x: np.ndarray, nearest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kmeans = replaced(way, monkeypatch, train=first_rows)
    assert kmeans.fit(x) is kmeans
    np.testing.assert_array_equal(kmeans.centroids, x[:5])
    np.testing.assert_array_equal(kmeans.fit_predict(x[::-1]), nearest(x[::-1], x[:-6:-1]))


@pytest.mark.parametrize("way", WAYS)
def test_a_fit_of_one_s_own(way: str, x: np.ndarray, nearest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kmeans = replaced(way, monkeypatch, fit=fit_first_rows)
    np.testing.assert_array_equal(kmeans.fit_predict(x), nearest(x, x[:5]))


@pytest.mark.parametrize("way", WAYS)
def test_a_predict_of_one_s_own(way: str, x: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    kmeans = replaced(way, monkeypatch, predict=all_seven)
    assert kmeans.fit_predict(x).tolist() == [7] * 400
    assert kmeans.labels_.max() < 5


@pytest.mark.parametrize("changed", [{"train": first_rows}, {"fit": fit_first_rows}])
def test_nothing_of_an_earlier_fit_is_handed_out(changed: Any, x: np.ndarray, nearest: Any) -> None:
    kmeans = FastKMeans(7, 5).fit(x[:100])
    kmeans.__class__ = type("Mine", (FastKMeans,), changed)
    labels = kmeans.fit_predict(x)
    np.testing.assert_array_equal(labels, nearest(x, x[:5]))
    found = ("labels_", "inertia_", "n_iter_", "converged_", "timed_out_", "n_used_", "n_zero_", "iteration_stats")
    assert [getattr(kmeans, name) for name in found] == [None] * len(found)


def test_a_fit_that_only_adds_to_ours_is_not_given_the_labels_of_other_rows(x: np.ndarray, nearest: Any) -> None:
    class EveryOther(FastKMeans):
        def fit(self, data: Any) -> FastKMeans:
            return super().fit(data[::2])

    kmeans = EveryOther(7, 5)
    labels = kmeans.fit_predict(x)
    np.testing.assert_array_equal(labels, nearest(x, kmeans.centroids))
    assert len(kmeans.labels_) == 200


def test_a_train_that_adds_to_ours_keeps_what_ours_found(x: np.ndarray) -> None:
    class Twice(FastKMeans):
        def train(self, data: Any) -> None:
            super().train(data)
            super().train(data)

    kmeans = Twice(7, 5)
    plain = FastKMeans(7, 5)
    assert kmeans.fit_predict(x).tolist() == plain.fit_predict(x).tolist()
    assert kmeans.n_iter_ == plain.n_iter_
    assert kmeans.labels_ is None


def test_centroids_changed_in_place_leave_nothing_of_an_earlier_fit(x: np.ndarray, nearest: Any) -> None:
    kmeans = FastKMeans(7, 5).fit(x[:100])

    def train(data: np.ndarray) -> None:
        kmeans.centroids[...] = data[:5]

    kmeans.train = train  # type: ignore[method-assign]
    assert kmeans.fit(x).labels_ is None
    assert kmeans.inertia_ is None
    np.testing.assert_array_equal(kmeans.fit_predict(x), nearest(x, x[:5]))


def test_labels_come_from_the_fit_and_not_from_what_another_thread_left(x: np.ndarray) -> None:
    class Shared(FastKMeans):
        def _hold(self, *args: Any, **found: Any) -> None:
            super()._hold(*args, **found)
            vars(self)["labels_"] = None  # as another thread would, at the worst moment

    assert Shared(7, 5).fit_predict(x).tolist() == FastKMeans(7, 5).fit_predict(x).tolist()


def test_another_object_s_method_is_not_ours(x: np.ndarray) -> None:
    """Bound methods are told apart by their object too."""
    kmeans, other = FastKMeans(7, 5), FastKMeans(7, 5)
    kmeans.train = other.train  # type: ignore[method-assign]
    kmeans.fit(x)
    assert kmeans.centroids is None
    assert other.centroids is not None


def test_nothing_is_computed_twice_where_nothing_is_replaced(x: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain(FastKMeans):
        """Adds a method, replaces none."""

        def more(self) -> None: ...

    calls = []
    fit, predict = _core.fit, _core.predict
    monkeypatch.setattr(_core, "fit", lambda *args, **options: calls.append("fit") or fit(*args, **options))
    monkeypatch.setattr(_core, "predict", lambda *args, **options: calls.append("predict") or predict(*args, **options))
    for kind in (FastKMeans, Plain):
        calls.clear()
        kind(7, 5).fit_predict(x)
        assert calls == ["fit"]
        kind(7, 5).fit(x)
        assert calls == ["fit"] * 2
