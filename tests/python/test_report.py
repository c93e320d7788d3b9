# SPDX-License-Identifier: Apache-2.0
"""What a fit says: log lines, warnings, the callback."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import pytest
from fastkmeans import EmptyClusterWarning, FastKMeans


def test_silent_by_default(x: np.ndarray, capfd: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FastKMeans(7, 5, nredo=2).fit(x)
    assert capfd.readouterr() == ("", "")


def test_verbose_prints_a_line_per_iteration(x: np.ndarray, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("fastkmeans")
    monkeypatch.setattr(logger, "propagate", False)  # pytest's own handlers would take the lines
    FastKMeans(7, 5, niter=3, tol=-1, verbose=True).train(x)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:13] for line in lines] == ["Iteration 1/3", "Iteration 2/3", "Iteration 3/3"]
    assert all("inertia" in line and "shift" in line for line in lines)


def test_verbose_counts_the_runs(x: np.ndarray, capsys: Any) -> None:
    FastKMeans(7, 5, niter=1, nredo=2, verbose=True).train(x)
    assert [line[:22] for line in capsys.readouterr().out.splitlines()] == [
        "Run 1/2, iteration 1/1",
        "Run 2/2, iteration 1/1",
    ]
    FastKMeans(7, 5, niter=1, nredo=3, init=x[:5], verbose=True).train(x)  # an init array means one run
    assert [line[:13] for line in capsys.readouterr().out.splitlines()] == ["Iteration 1/1"]


def test_verbose_goes_to_a_handler_that_takes_it(x: np.ndarray, caplog: Any, capsys: Any) -> None:
    with caplog.at_level(logging.INFO, logger="fastkmeans"):
        FastKMeans(7, 5, niter=3, tol=-1, verbose=True).train(x)
    assert [(r.name, r.levelno) for r in caplog.records] == [("fastkmeans", logging.INFO)] * 3
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("verbose", [False, True])
def test_debug_says_how(x: np.ndarray, caplog: Any, capsys: Any, verbose: bool) -> None:
    with caplog.at_level(logging.DEBUG, logger="fastkmeans"):
        kmeans = FastKMeans(7, 5, niter=3, tol=-1, verbose=verbose).fit(x)
    lines = [record.message for record in caplog.records if record.levelno == logging.DEBUG]
    assert lines == [
        f"iteration {i + 1}: {s.filter} filter, {s.scored} pairs scored, {s.refined} distances refined"
        for i, s in enumerate(kmeans.iteration_stats)
    ]
    assert len(caplog.records) == (6 if verbose else 3)
    assert {record.name for record in caplog.records} == {"fastkmeans"}
    assert capsys.readouterr().out == ""


def test_debug_lines_need_their_level(x: np.ndarray, caplog: Any) -> None:
    with caplog.at_level(logging.INFO, logger="fastkmeans"):
        FastKMeans(7, 5, niter=3, tol=-1).train(x)
    assert caplog.records == []


def test_a_handler_takes_no_lines_that_the_logger_drops(x: np.ndarray, caplog: Any, capsys: Any) -> None:
    """As after logging.basicConfig() with its default level."""
    with caplog.at_level(logging.WARNING, logger="fastkmeans"):
        FastKMeans(7, 5, niter=2, tol=-1, verbose=True).train(x)
    assert caplog.records == []
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_handler_for_warnings_only_does_not_take_it(
    x: np.ndarray, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    logger = logging.getLogger("fastkmeans")
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "level", logging.INFO)
    logger.manager._clear_cache()  # type: ignore[attr-defined]
    FastKMeans(7, 5, niter=2, tol=-1, verbose=True).train(x)
    logger.manager._clear_cache()  # type: ignore[attr-defined]
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_empty_clusters_are_a_warning() -> None:
    with pytest.warns(EmptyClusterWarning, match=r"\b3\b"):
        kmeans = FastKMeans(2, 5).fit(np.array([[0.0, 0.0]] * 4 + [[1.0, 1.0]] * 4))
    assert np.isfinite(kmeans.centroids).all()
    assert kmeans.inertia_ == 0


# Callback


def test_callback_stops(x: np.ndarray) -> None:
    seen = []

    def stop_at_two(stats: Any) -> bool:
        seen.append(stats)
        return len(seen) == 2

    kmeans = FastKMeans(7, 5, niter=50, tol=-1, nredo=3, callback=stop_at_two).fit(x)
    assert kmeans.n_iter_ == 2
    assert kmeans.converged_ is False
    assert seen == kmeans.iteration_stats
    two = FastKMeans(7, 5, niter=2, tol=-1).fit(x)
    assert kmeans.centroids.tobytes() == two.centroids.tobytes()


def test_an_exception_in_the_callback_ends_the_fit(x: np.ndarray) -> None:
    def fail(stats: Any) -> None:
        raise KeyError("mine")

    kmeans = FastKMeans(7, 5, callback=fail)
    with pytest.raises(KeyError, match="mine"):
        kmeans.fit(x)
    assert kmeans.centroids is None
    kmeans.callback = None
    kmeans.fit(x)
