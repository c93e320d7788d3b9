# SPDX-License-Identifier: Apache-2.0
"""Every option of `FastKMeans`: on the command line, in a batch if it makes sense, and what is said of bad values."""

from __future__ import annotations

import argparse
import inspect
from typing import Any

import numpy as np
import pytest
from cli_tools import refused, train
from fastkmeans import FastKMeans, KMeans, _cli, fit_batch

PARAMETERS = inspect.signature(FastKMeans).parameters
HINTS = {"dtype", "pin_gpu_memory", "use_triton"}  # kept for programs that set them; they never change anything
# The columns are those of the file; --device cpu is gpu=False; there are no functions on a command line.
NOT_ON_THE_COMMAND_LINE = {"d", "gpu", "callback"} | HINTS
# The data has d; problems run side by side.
NOT_IN_A_BATCH = {"d", "gpu", "callback", "verbose", "chunk_size_data", "chunk_size_centroids"} | HINTS

# What the command line is given, and what `FastKMeans` then has.
GIVEN: dict[str, tuple[str, Any]] = {
    "k": ("-k 4", 4),
    "niter": ("--niter 3", 3),
    "tol": ("--tol -1", -1.0),
    "seed": ("--seed 5", 5),
    "max_points_per_centroid": ("--max-points-per-centroid 90", 90),
    "chunk_size_data": ("--chunk-size-data 100", 100),
    "chunk_size_centroids": ("--chunk-size-centroids 2", 2),
    "device": ("--device cpu", "cpu"),
    "verbose": ("--verbose", True),
    "nredo": ("--nredo 2", 2),
    "n_threads": ("--n-threads 1", 1),
    "init": ("--init k-means++", "k-means++"),
    "memory_limit": ("--memory-limit 0.5", 0.5),
    "metric": ("--metric cosine", "cosine"),
    "spherical": ("--spherical", True),
    "frozen_centroids": ("--frozen-centroids", True),
    "int_centroids": ("--int-centroids", True),
    "min_points_per_centroid": ("--min-points-per-centroid 2", 2),
    "empty_clusters": ("--empty-clusters random", "random"),
    "inertia_tol": ("--inertia-tol 0.25", 0.25),
    "changed_tol": ("--changed-tol 0.125", 0.125),
    "max_runtime_secs": ("--max-runtime-secs 1e6", 1e6),
}

# Values that are refused, and what is said to be allowed.
BAD: list[tuple[str, Any, str]] = [
    ("k", 0, "at least 1"),
    ("niter", 0, "at least 1"),
    ("tol", float("nan"), "a number"),
    ("seed", -1, "at least 0"),
    ("max_points_per_centroid", 0, "at least 1"),
    ("chunk_size_data", 0, "at least 1"),
    ("chunk_size_centroids", 0, "at least 1"),
    ("device", "tpu", "'cpu', 'cuda', 'cuda:N', 'mps' or 'xpu'"),
    ("nredo", 0, "at least 1"),
    ("n_threads", 0, "at least 1"),
    ("init", "best", "'random', 'k-means++', 'k-means||', 'afk-mc2'"),
    ("memory_limit", -0.5, "bytes, at least 1, or a share in (0, 1]"),
    ("metric", "dot", "'euclidean', 'cosine' or 'inner_product'"),
    ("spherical", 1, "True or False"),
    ("frozen_centroids", 1, "True or False"),
    ("int_centroids", "no", "True or False"),
    ("min_points_per_centroid", 0, "at least 1"),
    ("empty_clusters", "drop", "'farthest', 'split' or 'random'"),
    ("inertia_tol", -0.25, "between 0 and 1"),
    ("inertia_tol", 1.5, "between 0 and 1"),
    ("inertia_tol", "all", "a real number"),
    ("changed_tol", 2.0, "between 0 and 1"),
    ("changed_tol", float("nan"), "a number"),
    ("max_runtime_secs", 0.0, "above 0, or None"),
    ("max_runtime_secs", -1.5, "above 0, or None"),
    ("max_runtime_secs", float("nan"), "a number"),
]


def test_the_tables_are_whole() -> None:
    assert set(GIVEN) == set(PARAMETERS) - NOT_ON_THE_COMMAND_LINE
    assert {name for name, *_ in BAD} == set(GIVEN) - {"verbose"}
    in_a_batch = inspect.signature(fit_batch).parameters
    assert set(PARAMETERS) - NOT_IN_A_BATCH <= set(in_a_batch)
    assert set(in_a_batch) - set(PARAMETERS) == {"data", "offsets", "weights", "labels"}


@pytest.mark.parametrize("name", sorted(set(inspect.signature(fit_batch).parameters) & set(PARAMETERS) - {"k"}))
def test_a_batch_has_the_same_defaults(name: str) -> None:
    assert inspect.signature(fit_batch).parameters[name].default == PARAMETERS[name].default


@pytest.mark.usefixtures("folder")
def test_every_option_is_on_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[FastKMeans] = []

    class Recorder(FastKMeans):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            made.append(self)

    monkeypatch.setattr(_cli, "FastKMeans", Recorder)
    assert train() == 0
    for name in set(GIVEN) - {"k", "device"}:
        assert getattr(made[0], name) == PARAMETERS[name].default, name
    assert train(*" ".join(text for text, _ in GIVEN.values()).split()) == 0
    for name, (_, value) in GIVEN.items():
        assert str(getattr(made[1], name)) == str(value), name


def test_every_argument_of_train_is_on_the_command_line() -> None:
    commands = next(found for found in _cli._parser()._actions if isinstance(found, argparse._SubParsersAction))
    known = {action.dest for action in commands.choices["train"]._actions}
    assert set(inspect.signature(FastKMeans.train).parameters) - {"self", "data"} <= known


@pytest.mark.parametrize(("name", "value", "allowed"), BAD)
def test_a_bad_value_is_named(name: str, value: Any, allowed: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"^{name} must be ") as error:
        FastKMeans(**{"d": 3, "k": 2, name: value})
    assert allowed in str(error.value)
    assert f"given {value!r}" in str(error.value)
    if name in NOT_IN_A_BATCH:
        return
    with pytest.raises(error.type, match=f"^{name} must be ") as of_batch:
        fit_batch(**{"data": np.zeros((2, 3, 3), np.float32), "k": 2, name: value})
    assert name == "init" or str(of_batch.value) == str(error.value)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("name", "value", "allowed"), BAD)
def test_a_bad_value_on_the_command_line(name: str, value: Any, allowed: str, capsys: Any) -> None:
    option = GIVEN[name][0].split()
    if len(option) == 1:  # there or not
        return
    said = refused(capsys, "train", "x.npy", "-k", "5", "-o", "out.npy", f"{option[0]}={value}")
    assert name in said.replace("-", "_")
    assert str(value) in said
    if not isinstance(value, str) or name == "device":  # argparse has words of its own for text
        assert allowed in said


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"init": "k-means"}, ValueError, r"init must be 'random', .*'k-means\|\|', 'afk-mc2', an array .*'k-means'\."),
        ({"n_init": 0}, ValueError, "n_init must be at least 1, given 0"),
        ({"memory_limit": -0.5}, ValueError, "memory_limit must be bytes, .* given -0.5"),
        ({"n_threads": 0}, ValueError, "n_threads must be at least 1, given 0"),
        ({"device": "tpu"}, ValueError, "device must be 'cpu', .* given 'tpu'"),
    ],
)
def test_a_bad_value_of_the_estimator(options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=f"^{said}"):
        KMeans(2, **options).fit(np.eye(3))
