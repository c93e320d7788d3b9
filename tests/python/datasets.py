# SPDX-License-Identifier: Apache-2.0
"""Data that is hard on exact k-means, the ways it can lie in memory, and the code paths to try it with."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from fastkmeans import FastKMeans, _core

Array = npt.NDArray[Any]
Rng = np.random.Generator
f32 = np.float32

LARGEST = np.nextafter(f32(2.0**56), f32(0))  # the largest |x| allowed
ISAS = [name for name, available in _core.instruction_sets().items() if available]  # scalar first, the best last
HAS_GPU = _core.cuda_state()["status"] == "ready"
on_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not HAS_GPU, reason="NO CUDA DEVICE THAT CAN BE USED: NOTHING OF THE GPU IS TESTED"),
]
without_gpu = pytest.mark.skipif(HAS_GPU, reason="of a machine without a GPU; test_cuda_driver.py has more of these")
FILTERS = ["fp32", "low_dim", "fp32_bounds", "int8", "int8_bounds", "narrow", "narrow_bounds"]


def scaled(rng: Rng, shape: tuple[int, int], low: int, high: int, axis: int) -> Array:
    """Normal rows (axis 1) or columns (axis 0), each times its own power of two in [low, high)."""
    size = (shape[0], 1) if axis == 1 else (1, shape[1])
    return np.ldexp(rng.standard_normal(shape), rng.integers(low, high, size))


def repeated(rng: Rng, n: int, d: int) -> Array:
    return rng.standard_normal((1 + n // 8, d))[rng.integers(0, 1 + n // 8, n)]


def mixed(rng: Rng, n: int, d: int) -> Array:
    x = rng.standard_normal((n, d))
    x[rng.random(n) < 0.3] *= 2.0**-35
    x[rng.random(n) < 0.2] *= 2.0**-140
    return x


def outlier(rng: Rng, n: int, d: int) -> Array:
    x = rng.standard_normal((n, d))
    x[rng.integers(n)] *= 2.0**40
    return x


KINDS: dict[str, Callable[[Rng, int, int], Array]] = {
    "normal": lambda rng, n, d: rng.standard_normal((n, d)),
    "integers": lambda rng, n, d: rng.integers(-2, 3, (n, d)).astype(f32),
    "blobs": lambda rng, n, d: 10 * rng.standard_normal((5, d))[rng.integers(0, 5, n)] + rng.standard_normal((n, d)),
    "repeated": repeated,
    "offset": lambda rng, n, d: 1e6 + rng.standard_normal((n, d)),
    "denormal": lambda rng, n, d: scaled(rng, (n, d), -149, -126, 1),
    "about 2^-32": lambda rng, n, d: scaled(rng, (n, d), -36, -30, 1),
    "below 2^-32": lambda rng, n, d: scaled(rng, (n, d), -149, -40, 1),
    "below 2^56": lambda rng, n, d: rng.choice([-1, -1, -0.5, 1, 1, 0.5], (n, d)) * LARGEST,
    "all scales": lambda rng, n, d: scaled(rng, (n, d), -149, 53, 1),
    "columns": lambda rng, n, d: scaled(rng, (n, d), -80, 53, 0),
    "mixed": mixed,
    "outlier": outlier,
    "signed zeros": lambda rng, n, d: rng.choice([0.0, -0.0, -0.0, 1.0], (n, d)),
    "zeros": lambda rng, n, d: np.zeros((n, d)),
}
DTYPES = ["f4", "f8", "f2", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]
LAYOUTS = ["C", "F", "strided", "reversed", "unaligned", "read-only"]


def make(kind: str, dtype: str, n: int, d: int, seed: int) -> Array:
    """Rows (n, d) of this kind in this dtype, C order; what does not fit is clipped, integers are stretched."""
    rng = np.random.default_rng(seed)
    x = np.clip(KINDS[kind](rng, n, d), -LARGEST, LARGEST)
    if dtype == "f8":  # not fp32 values: the conversion must round
        return np.clip(x * (1 + 2.0**-26 * rng.random((n, d))), -LARGEST, LARGEST)
    if dtype == "f2":
        return np.clip(x, -65504, 65504).astype(dtype)
    if dtype == "f4":
        return x.astype(dtype)
    info = np.iinfo(dtype)
    low, high = max(int(info.min), -(2**55)), min(int(info.max), 2**55)
    stretch = 1 if kind in ("integers", "zeros") else high / max(float(np.abs(x).max()), 1e-300)
    noise = rng.integers(0, 2, (n, d))  # the lowest bits of 64-bit integers, beyond fp64
    return np.clip((x * stretch).astype(np.int64) + noise, low, high).astype(dtype)


def lay(x: Array, layout: str) -> Array:
    """The same values, lying otherwise in memory."""
    n, d = x.shape
    if layout == "F":
        return np.asfortranarray(x)
    if layout == "strided":
        room = np.ones((2 * n, 3 * d), x.dtype)
        room[::2, 1::3] = x
        return room[::2, 1::3]
    if layout == "reversed":
        return np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1]
    if layout == "unaligned":
        return np.frombuffer(b"?" + x.tobytes(), x.dtype, offset=1).reshape(n, d)
    if layout == "read-only":
        x = x.copy()
        x.flags.writeable = False
    return x


@contextmanager
def forced(isa: str, search: str = "") -> Iterator[None]:
    """The instruction set, and the filter that searches the nearest centroids ("": as the planner likes)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTKMEANS_ISA", isa)
        patch.setenv("FASTKMEANS_FILTER", search)
        yield


def has(isa: str, search: str) -> bool:
    with forced(isa, search):
        try:
            FastKMeans(1, 1, gpu=False, niter=1).train(np.zeros((1, 1), f32))
        except RuntimeError as error:
            assert "not available" in str(error)  # noqa: PT017 (any other error is one)
            return False
    return True


# Every (instruction set, filter) of this machine. The scalar oracle has no filter.
PATHS = [
    (isa, search) for isa in ISAS for search in ["", *FILTERS] if not search or (isa != "scalar" and has(isa, search))
]
# Of each instruction set the planner's choice, and the filter that keeps most from one iteration to the next.
FEW_PATHS = [(isa, "") for isa in ISAS] + [
    (isa, [search for i, search in PATHS if i == isa and search.endswith("_bounds")][-1]) for isa in ISAS[1:]
]


def result(km: FastKMeans) -> dict[str, Any]:
    """All that a fit leaves and that must not differ by a bit, as comparable values."""
    return {
        "centroids": np.asarray(km.centroids).tobytes(),
        "labels": np.asarray(km.labels_).tolist(),
        "inertia": np.float64(km.inertia_).hex(),
        "n_iter": km.n_iter_,
        "converged": km.converged_,
        "n_used": km.n_used_,
        "n_zero": km.n_zero_,
        "stats": [(s.inertia.hex(), s.shift.hex(), s.changed, s.empty, s.relocated) for s in km.iteration_stats or []],
    }


def filter_that_runs(search: str, d: int, all_tiny: bool) -> str:
    """The filter that must run where `search` is forced, as `iteration_stats` names it.

    fp32 takes over where rows are too long for a sketch or for low_dim, and where all centroids are tiny, so that rows
    are multiplied by 2^64 (docs/filter.md section 6).
    """
    scores = search.removesuffix("_bounds")
    return "fp32" if all_tiny or (scores == "int8" and d > 16384) or (scores == "low_dim" and d > 64) else scores


def expect_ran(isa: str, search: str, km: FastKMeans, x: Any) -> None:
    """Fails unless the path that was forced ran in a fit whose centroids are among the rows of x, or means of some."""
    ran = {stats.filter for stats in km.iteration_stats or []}
    assert ran, "no iteration"
    if isa == "scalar":
        assert ran == {"none"}
        return
    if not search:
        return  # the planner's choice
    tiny = (np.abs(np.asarray(x).astype(f32)) < 2.0**-32).all(axis=1)
    possible = {bool(tiny.all()), bool(tiny.any())}  # where some rows are tiny, it depends on which were taken
    if (np.abs(km.centroids) < 2.0**-30).all():  # means of rows that are not may be, now or in an iteration before
        possible.add(True)
    assert ran <= {filter_that_runs(search, km.d, all_tiny) for all_tiny in possible}, (isa, search, ran)


def outcome(x: Any, k: int, isa: str = "", search: str = "", **params: Any) -> dict[str, Any]:
    """The result of a fit with this instruction set, or with the best of this machine, and this filter, which ran."""
    isa = isa or ISAS[-1]
    with forced(isa, search):
        km = FastKMeans(x.shape[1], k, gpu=False, **params).fit(x)
    if isinstance(params.get("init"), np.ndarray):  # else a name
        expect_ran(isa, search, km, np.concatenate([x, params["init"]]))
    else:
        expect_ran(isa, search, km, x)
    return result(km)


SHARED = Path(__file__).parents[3] / "shared" / "data"


def tokens() -> Array:
    """8,192 token embeddings of 384 dimensions, float16."""
    path = SHARED / "tokens" / "tokens.npy"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    return np.load(path)


def mnist() -> Array:
    """The 10,000 test digits of MNIST, (n, 784) uint8."""
    path = SHARED / "mnist" / "t10k-images-idx3-ubyte.gz"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=16).reshape(-1, 784)


def sift_like(n: int, seed: int) -> Array:
    """128 non-negative integers a row, mean squared norm about 2.5e5 (SIFT descriptors have 512 squared)."""
    x = np.random.default_rng(seed).exponential(1, (n, 128))
    return np.rint(x * np.sqrt(2.5e5 / np.square(x).sum(axis=1).mean())).clip(0, 255).astype(np.uint8)


def true_distances(x: Array, centroids: Array) -> Array:
    """Squared distances (n, k) in fp64 from differences, which do not cancel."""
    rows, centroids = x.astype(f32).astype(np.float64), centroids.astype(np.float64)
    return np.stack([np.einsum("ij,ij->i", t, t) for t in (rows - c for c in centroids)], axis=1)
