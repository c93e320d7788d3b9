# SPDX-License-Identifier: Apache-2.0

"""The constructor, methods, attributes and errors of `FastKMeans`."""

from __future__ import annotations

import inspect
import pickle
import warnings
from typing import Any

import datasets
import fastkmeans
import numpy as np
import pytest
from fastkmeans import FastKMeans, IterationStats, _core

POSITIONAL = {
    "d": inspect.Parameter.empty,
    "k": inspect.Parameter.empty,
    "niter": 25,
    "tol": 1e-8,
    "gpu": True,
    "seed": 0,
    "max_points_per_centroid": 256,
    "chunk_size_data": 51_200,
    "chunk_size_centroids": 10_240,
    "device": None,
    "dtype": None,
    "pin_gpu_memory": True,
    "verbose": False,
    "nredo": 1,
    "use_triton": None,
}


# Constructor


def test_signature() -> None:
    parameters = inspect.signature(FastKMeans).parameters
    positional = {p.name: p.default for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD}
    assert list(positional.items()) == list(POSITIONAL.items())
    rest = {p.name: p.default for p in parameters.values() if p.kind is not p.POSITIONAL_OR_KEYWORD}
    assert rest == {"n_threads": None, "init": "random", "callback": None, "memory_limit": None} | FAISS_OPTIONS
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in rest)


def test_every_parameter_is_kept_as_an_attribute() -> None:
    given = (3, 2, 7, 0.5, False, 11, 99, 1000, 500, "cpu", "float16", False, True, 4, True)
    kmeans = FastKMeans(*given, n_threads=2, init="random", callback=print)
    for name, value in zip(POSITIONAL, given, strict=True):
        assert str(getattr(kmeans, name)) == str(value), name
    assert (kmeans.n_threads, kmeans.init, kmeans.callback) == (2, "random", print)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("d", 0, "at least 1"),
        ("k", 0, "at least 1"),
        ("k", -3, "at least 1"),
        ("niter", 0, "at least 1"),
        ("niter", 2**31, "at most 2147483647"),
        ("nredo", 0, "at least 1"),
        ("seed", -1, "at least 0"),
        ("seed", 2**64, "at most 18446744073709551615"),
        ("tol", float("nan"), "a number"),
        ("chunk_size_data", 0, "at least 1"),
        ("chunk_size_centroids", -1, "at least 1"),
        ("max_points_per_centroid", 0, "at least 1"),
        ("n_threads", 0, "at least 1"),
        ("init", "kmeans+", "'random', 'k-means++', 'k-means||', 'afk-mc2', an array of shape (k, d) or a callable"),
        ("memory_limit", 0, "at least 1"),
        ("memory_limit", -5, "at least 1"),
        ("memory_limit", 0.0, "(0, 1]"),
        ("memory_limit", -0.5, "(0, 1]"),
        ("memory_limit", float("nan"), "a number"),
        ("device", "gpu", "'cpu', 'cuda', 'cuda:N', 'mps' or 'xpu'"),
        ("device", -1, "at least 0"),
    ],
)
def test_a_value_out_of_range_is_a_value_error(name: str, value: Any, allowed: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be ") as error:
        FastKMeans(**({"d": 2, "k": 2} | {name: value}))
    assert allowed in str(error.value)
    assert str(value) in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("d", 0),
        ("k", -1),
        ("niter", 2**40),
        ("nredo", 0),
        ("tol", float("nan")),
        ("seed", 2**64),
        ("max_points_per_centroid", "all"),
        ("chunk_size_data", 2**63),
        ("chunk_size_centroids", 0.5),
        ("n_threads", 2**31),
        ("callback", 3),
        ("memory_limit", 0),
    ],
)
def test_an_attribute_changed_to_nonsense_is_the_constructor_s_error(name: str, value: Any, x: np.ndarray) -> None:
    with pytest.raises((ValueError, TypeError)) as expected:
        FastKMeans(**({"d": 7, "k": 5} | {name: value}))
    methods = ["train", "fit", "fit_predict"] + ["predict"] * (name in ("d", "n_threads", "chunk_size_centroids"))
    for method in methods:
        kmeans = FastKMeans(7, 5)
        kmeans.centroids = x[:5]
        setattr(kmeans, name, value)
        with pytest.raises(expected.type) as error:
            getattr(kmeans, method)(x)
        assert str(error.value) == str(expected.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, 2.5) for name in ("d", "k", "niter", "nredo", "seed", "chunk_size_data", "chunk_size_centroids")],
        *[(name, "2") for name in ("d", "k", "niter", "nredo", "seed", "tol", "max_points_per_centroid", "n_threads")],
        *[(name, None) for name in ("d", "k", "niter", "tol", "seed")],
        *[(name, True) for name in ("d", "k", "tol", "device")],
        ("callback", 3),
        ("memory_limit", True),
        ("memory_limit", "1 GB"),
        ("memory_limit", 1.5),
        ("device", 1.5),
        ("device", 1.0),
    ],
)
def test_a_wrong_type_is_a_type_error(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be ") as error:
        FastKMeans(**({"d": 2, "k": 2} | {name: value}))
    assert repr(value) in str(error.value)
    assert type(value).__name__ in str(error.value)


def test_numpy_numbers_are_numbers(x: np.ndarray) -> None:
    kmeans = FastKMeans(np.int64(7), np.uint8(3), niter=np.int32(4), tol=np.float32(0), seed=np.uint64(2**64 - 1))
    assert kmeans.fit(x).centroids.shape == (3, 7)


# Whole numbers


@pytest.mark.parametrize("kind", [float, np.float32, np.float64, np.float16, np.longdouble])
def test_whole_floats_are_integers(kind: Any, x: np.ndarray) -> None:
    names = ("d", "k", "niter", "seed", "max_points_per_centroid", "chunk_size_data", "chunk_size_centroids", "nredo")
    values = {**dict.fromkeys((*names, "n_threads"), kind(2)), "d": kind(7), "max_points_per_centroid": kind(1000)}
    kmeans = FastKMeans(**values)
    for name, value in values.items():
        assert type(getattr(kmeans, name)) is int, name
        assert getattr(kmeans, name) == int(value), name
    kmeans.k = kind(5)
    assert kmeans.fit(x).centroids.shape == (5, 7)
    assert type(kmeans.k) is int


def test_numbers_as_people_write_them(x: np.ndarray) -> None:
    kmeans = FastKMeans(7, 1e1, niter=10.0, max_points_per_centroid=1e9, seed=2e18)
    assert (kmeans.k, kmeans.niter, kmeans.max_points_per_centroid, kmeans.seed) == (10, 10, 10**9, 2 * 10**18)
    assert kmeans.fit(x).n_used_ == 400


@pytest.mark.parametrize("kind", [float, np.float32, np.float64, np.float16, np.longdouble])
@pytest.mark.parametrize("value", ["10.5", "nan", "inf", "-inf"])
def test_floats_that_are_not_whole(kind: Any, value: str) -> None:
    for name in ("d", "k", "niter", "seed", "max_points_per_centroid", "n_threads"):
        with pytest.raises(TypeError, match=rf"^{name} must be an integer, given .*{value}.*\({kind.__name__}\)\.$"):
            FastKMeans(**({"d": 2, "k": 2} | {name: kind(value)}))


@pytest.mark.parametrize("value", [np.True_, False, np.array(True), "3", b"3", 3j, [3], np.array([3.0])])
def test_what_is_no_number(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^k must be an integer, given"):
        FastKMeans(2, value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("tol", 10**400, r"^tol must fit a float64, given an integer of 1329 bits\.$"),
        ("tol", -(10**5000), r"^tol must fit a float64, given an integer of 16610 bits\.$"),
        ("k", 10**5000, r"^k must be at most 9223372036854775807, given an integer of 16610 bits\.$"),
        ("k", 1e300, r"^k must be at most 9223372036854775807, given 1e\+300\.$"),
        ("niter", -1e3, r"^niter must be at least 1, given -1000\.0\.$"),
        ("seed", 2.0**64, r"^seed must be at most 18446744073709551615, given 1\.8446744073709552e\+19\.$"),
    ],
    ids=["tol", "-tol", "k", "float k", "float niter", "float seed"],  # pytest cannot print 5000 digits
)
def test_numbers_too_large(name: str, value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FastKMeans(**({"d": 2, "k": 2} | {name: value}))


# Devices


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1", 0, "mps", "xpu"])
def test_gpu_false_is_the_cpu_whatever_device_says(device: Any) -> None:
    assert str(FastKMeans(2, 2, gpu=False, device=device).device) == "cpu"


@pytest.mark.parametrize("limit", [1, 10**9, 1e9, 0.25, 1.0, np.float32(0.5), np.int64(5)])
def test_a_limit_of_device_memory(limit: Any, x: np.ndarray) -> None:
    kmeans = FastKMeans(7, 5, gpu=False, memory_limit=limit).fit(x)
    assert kmeans.memory_limit == limit
    assert type(kmeans.memory_limit) is (int if limit > 1 or isinstance(limit, int) else float)


@datasets.without_gpu
@pytest.mark.parametrize("device", [None, "cpu"])
def test_gpu_true_is_the_cpu_in_silence(device: Any, capfd: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert str(FastKMeans(2, 2, gpu=True, device=device).device) == "cpu"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("device", ["cuda:99", 99] if datasets.HAS_GPU else ["cuda", "cuda:1", 0])
def test_cuda_by_name_says_cuda(device: Any) -> None:
    with pytest.raises(RuntimeError, match="CUDA"):
        FastKMeans(2, 2, device=device)


@pytest.mark.parametrize("device", ["mps", "xpu", "xpu:0"])
def test_devices_without_a_backend_are_not_implemented(device: str) -> None:
    with pytest.raises(NotImplementedError, match=device):
        FastKMeans(2, 2, device=device)


def test_torch_devices() -> None:
    torch = pytest.importorskip("torch")
    kmeans = FastKMeans(2, 2, device=torch.device("cpu"))
    assert kmeans.device == torch.device("cpu")
    with pytest.raises(RuntimeError, match="CUDA"):
        FastKMeans(2, 2, device=torch.device("cuda", 99))
    with pytest.raises(ValueError, match=r"^device must be"):
        FastKMeans(2, 2, device=torch.device("meta"))


@pytest.mark.parametrize("use_triton", [None, True, False])
def test_use_triton_never_fails(use_triton: Any, x: np.ndarray) -> None:
    kmeans = FastKMeans(7, 3, use_triton=use_triton)
    assert kmeans.use_triton is (datasets.HAS_GPU if use_triton is None else use_triton)
    kmeans.train(x)


def test_hints_never_change_the_result(x: np.ndarray) -> None:
    plain = FastKMeans(7, 5).fit(x)
    hinted = FastKMeans(
        7, 5, chunk_size_data=13, chunk_size_centroids=2, dtype="float16", pin_gpu_memory=False, use_triton=True
    ).fit(x)
    assert plain.centroids.tobytes() == hinted.centroids.tobytes()
    assert plain.labels_.tobytes() == hinted.labels_.tobytes()


# Import


def test_import_is_cheap(in_new_process: Any) -> None:
    loaded = in_new_process(
        "import sys, fastkmeans, fastkmeans.kmeans, fastkmeans.triton_kernels\n"
        "km = fastkmeans.FastKMeans(2, 2)\n"
        "assert isinstance(km.device, str)\n"
        "km.fit_predict([[0., 0.], [1., 1.]])\n"
        "print(*sys.modules)"
    )
    assert "fastkmeans._core" in loaded.split()
    assert not {"torch", "sklearn", "scipy", "cupy", "rich", "triton"} & set(loaded.split())


def test_version() -> None:
    assert isinstance(fastkmeans.__version__, str)
    assert fastkmeans.__version__[0].isdigit()


FAISS_OPTIONS = {
    "metric": None,
    "spherical": False,
    "frozen_centroids": False,
    "int_centroids": False,
    "min_points_per_centroid": None,
    "empty_clusters": "farthest",
    "inertia_tol": 0.0,
    "changed_tol": 0.0,
    "max_runtime_secs": None,
}
PUBLIC = [
    "EmptyClusterWarning",
    "FewPointsWarning",
    "IterationStats",
    "NotFittedError",
    "PrecisionWarning",
    "SubsampledWarning",
    "ZeroRowsWarning",
]


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names(name: str) -> None:
    kind = getattr(fastkmeans, name)
    assert name in fastkmeans.__all__
    assert (kind.__module__, kind.__qualname__) == ("fastkmeans", name)
    assert kind.__doc__
    assert pickle.loads(pickle.dumps(kind)) is kind


def test_statistics_pickle_by_their_public_name(x: np.ndarray) -> None:
    stats = FastKMeans(7, 5).fit(x).iteration_stats
    assert all(type(s) is IterationStats for s in stats)
    assert pickle.loads(pickle.dumps(stats)) == stats
    assert b"_report" not in pickle.dumps(stats)
    assert all(f"\n    {field} : " in IterationStats.__doc__ for field in IterationStats._fields)


def test_statistics_have_the_fields_of_the_core() -> None:
    fields = {name for name in dir(_core.IterationStats) if not name.startswith("_")}
    assert set(IterationStats._fields) == fields


def test_the_error_of_an_untrained_object_is_public(x: np.ndarray) -> None:
    pytest.importorskip("sklearn.exceptions")
    with pytest.raises(fastkmeans.NotFittedError) as error:
        FastKMeans(7, 5).predict(x)
    assert error.type.__module__ == "fastkmeans"
