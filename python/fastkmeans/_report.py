# SPDX-License-Identifier: Apache-2.0
"""What a fit tells: iteration statistics, log lines, warnings, and the error of an untrained object."""

from __future__ import annotations

import inspect
import logging
import operator
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from . import _core

logger = logging.getLogger("fastkmeans")


class IterationStats(NamedTuple):
    """One iteration, as the callback sees it and `FastKMeans.iteration_stats` keeps it.

    redo : which run, from 0 (see nredo).
    iteration : from 0.
    inertia : sum of weight times squared distance, of the rows used to the centroids that the iteration began with.
    shift : sum over centroids of the Euclidean distance each moved.
    changed : rows whose label differs from the iteration before (all rows in the first).
    empty : clusters without a row after assignment.
    relocated : of these, how many were given a row.
    seconds : wall time.

    The rest is about speed:

    filter : how nearest centroids were found: "fp32", "low_dim", "int8" or "narrow", on a GPU "int8_lists" too;
        "narrow+int8", "narrow+fp32", "int8+fp32" or "low_dim+fp32": the first was begun, turned out dearer than
        expected, and the second finished; "none": every distance was computed.
    scored : pairs of row and centroid that were scored; bounds from earlier iterations excluded the others.
    refined : pairs whose distance was computed, since the score could not exclude them.
    isa : what ran: an instruction set of the CPU, as `fastkmeans info` lists them, or a name that begins with "cuda".
    """

    redo: int
    iteration: int
    inertia: float
    shift: float
    changed: int
    empty: int
    relocated: int
    seconds: float
    filter: str
    scored: int
    refined: int
    isa: str


_fields_of = operator.attrgetter(*IterationStats._fields)


def iteration_stats(found: _core.IterationStats) -> IterationStats:
    """The core's, whose fields have the same names."""
    return IterationStats._make(_fields_of(found))


class SubsampledWarning(UserWarning):
    """More rows were given than max_points_per_centroid lets a fit use."""


class FewPointsWarning(UserWarning):
    """Fewer rows were trained on than min_points_per_centroid asks for."""


class EmptyClusterWarning(UserWarning):
    """Clusters ended without a row."""


class ZeroRowsWarning(UserWarning):
    """With metric="cosine": rows trained on are zero, and have no direction."""


class PrecisionWarning(UserWarning):
    """The rows' spread is so small beside their mean that float32 loses much of it."""


_CATEGORIES = {
    "subsampled": SubsampledWarning,
    "few_points": FewPointsWarning,
    "empty_clusters": EmptyClusterWarning,
    "precision": PrecisionWarning,
    "zero_rows": ZeroRowsWarning,
}


def warn(found: Iterable[tuple[str, str]]) -> None:
    """Issue the core's warnings, pairs of kind and message."""
    for kind, message in found:
        issue(message, _CATEGORIES.get(kind, UserWarning))


def issue(message: str, category: type[Warning]) -> None:
    """Warn at the line that called into this package."""
    stacklevel, frame = 1, sys._getframe()
    while frame.f_globals.get("__package__") == __package__ and frame.f_back is not None:
        stacklevel, frame = stacklevel + 1, frame.f_back
    warnings.warn(message, category, stacklevel=stacklevel)


def as_call(maker: type, name: str, values: Mapping[str, Any]) -> str:
    """A call of `maker` with those values that are not its defaults, arrays by their shapes; `name` stands for it."""
    parameters = inspect.signature(maker).parameters
    shown = {key: _in_one_line(value) for key, value in values.items()}
    given = [f"{key}={text}" for key, text in shown.items() if text != repr(parameters[key].default)]
    return f"{name}({', '.join(given)})"


def _in_one_line(value: Any) -> str:
    return f"<array of shape {tuple(value.shape)}>" if hasattr(value, "shape") else repr(value)


def iteration_report(
    niter: int, nredo: int, verbose: int, callback: Callable[[IterationStats], object] | None = None
) -> Callable[[_core.IterationStats], object] | None:
    """What the core is to call after each iteration of a fit; None if nobody wants to know. True stops it."""
    if not verbose and callback is None and not logger.isEnabledFor(logging.DEBUG):
        return None

    def report(found: _core.IterationStats) -> object:
        stats = iteration_stats(found)
        if verbose:
            _log_iteration(stats, niter, nredo)
        _log_filter(stats)
        return callback(stats) if callback is not None else False

    return report


def _log_iteration(stats: IterationStats, niter: int, nredo: int) -> None:
    """One line on the logger `fastkmeans` at INFO, or on stdout if no handler would take it."""
    run = f"Run {stats.redo + 1}/{nredo}, iteration" if nredo > 1 else "Iteration"
    line = (
        f"{run} {stats.iteration + 1}/{niter}: inertia {stats.inertia:.9g}, shift {stats.shift:.6g}, "
        f"{stats.changed} labels changed, {stats.empty} empty clusters, {stats.seconds:.4f} s"
    )
    if _taken(logging.INFO):
        logger.info(line)
    else:
        print(line, flush=True)


def _log_filter(stats: IterationStats) -> None:
    """How the iteration was computed, on the logger `fastkmeans` at DEBUG."""
    logger.debug(
        "iteration %d: %s filter, %d pairs scored, %d distances refined",
        stats.iteration + 1,
        stats.filter,
        stats.scored,
        stats.refined,
    )


def _taken(level: int) -> bool:
    if not logger.isEnabledFor(level):
        return False
    at: logging.Logger | None = logger
    while at is not None:
        if any(handler.level <= level for handler in at.handlers):
            return True
        at = at.parent if at.propagate else None
    return False


class NotFittedError(RuntimeError):
    """`predict` before training. With scikit-learn imported it is also scikit-learn's NotFittedError."""

    def __reduce__(self) -> tuple[Any, ...]:
        return not_fitted, self.args  # the class may have been made on the spot, and pickle could not find it


def not_fitted(message: str) -> NotFittedError:
    """The error to raise: scikit-learn is never imported, but known when the caller has it."""
    exceptions = sys.modules.get("sklearn.exceptions")
    if exceptions is None:
        return NotFittedError(message)
    both: type[NotFittedError] = type(
        "NotFittedError",
        (NotFittedError, exceptions.NotFittedError),
        {"__module__": NotFittedError.__module__, "__doc__": NotFittedError.__doc__},
    )
    return both(message)
