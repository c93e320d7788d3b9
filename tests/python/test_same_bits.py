# SPDX-License-Identifier: Apache-2.0
"""Ten fits give the bits they gave at commit 42f0c6b, on every path: no later change may touch one.

The other tests compare paths with an oracle of today, and would not see both change.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from datasets import PATHS, Array, forced
from fastkmeans import FastKMeans

u64 = np.uint64


# The rows come from integers and powers of two alone: the same bits on every machine and with every numpy.
def splitmix64(seed: int, n: int, d: int) -> Array:
    """(n, d) uniform integers of 64 bits."""
    z = (np.arange(1, n * d + 1, dtype=u64) + u64(seed << 40)) * u64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> u64(30))) * u64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> u64(27))) * u64(0x94D049BB133111EB)
    return (z ^ (z >> u64(31))).reshape(n, d)


def below(bound: int, seed: int, n: int, d: int = 1) -> Array:
    return (splitmix64(seed, n, d) >> u64(32)).astype(np.int64) % bound


def bell(seed: int, n: int, d: int) -> Array:
    """Sums of four integers of 16 bits, about 0, of standard deviation 2^15.2: like normal values, times 2^-15."""
    z = splitmix64(seed, n, d)
    return sum(((z >> u64(shift)) & u64(0xFFFF)).astype(np.int64) - 2**15 for shift in (0, 16, 32, 48))


def blobs(seed: int, n: int, d: int, centres: int) -> Array:
    """Integers below 2^20, in clusters that overlap."""
    return 4 * bell(seed, centres, d)[below(centres, seed + 1, n)[:, 0]] + bell(seed + 2, n, d)


def scaled(x: Array, exponent: Any, dtype: Any = np.float32) -> Array:
    return np.ldexp(x.astype(np.float64), exponent).astype(dtype)


def as_float16() -> tuple[Array, dict[str, Any]]:
    return scaled(blobs(1, 1_000, 1000, 12) >> 8, -8, np.float16), {"k": 12, "niter": 6}


def as_float64() -> tuple[Array, dict[str, Any]]:
    x = scaled(blobs(2, 3_000, 33, 40), -15, np.float64) + scaled(bell(3, 3_000, 33), -55, np.float64)
    return x, {"k": 37, "nredo": 2, "niter": 12, "seed": 2**63}


def as_int8() -> tuple[Array, dict[str, Any]]:
    x = (blobs(4, 4_000, 128, 60) >> 13).clip(-128, 127).astype(np.int8)
    return x, {"k": 50, "init": x[7:4_000:79][:50].astype(np.float32), "tol": 0, "niter": 20}


def as_uint8() -> tuple[Array, dict[str, Any]]:
    return (abs(blobs(5, 6_000, 128, 300)) >> 11).clip(0, 255).astype(np.uint8), {"k": 100, "niter": 5}


def embeddings() -> tuple[Array, dict[str, Any]]:
    """Near a space of 16 dimensions."""
    x = (bell(6, 5_000, 16) >> 6) @ (bell(7, 16, 384) >> 6) + (bell(8, 5_000, 384) << 3)
    return scaled(x, -24), {"k": 128, "niter": 4}


def plane() -> tuple[Array, dict[str, Any]]:
    return scaled(blobs(9, 20_000, 2, 50), -15), {"k": 64, "tol": 0, "niter": 10}  # 16,384 rows are used


def many_clusters() -> tuple[Array, dict[str, Any]]:
    return scaled(blobs(10, 20_000, 8, 500), -15), {"k": 500, "max_points_per_centroid": 20, "niter": 8}


def duplicates() -> tuple[Array, dict[str, Any]]:
    """From centroids of which most are equal, and data with few distinct rows: clusters are empty, then given rows."""
    x = scaled(bell(11, 90, 8)[below(90, 12, 2_000)[:, 0]], -15)
    return x, {"k": 60, "init": x[[0, 1, 2] * 20], "niter": 8, "tol": -1}


def tiny() -> tuple[Array, dict[str, Any]]:
    return scaled(blobs(13, 2_000, 33, 3), -15 - 70), {"k": 3, "niter": 12, "tol": -1}


def large_and_skewed() -> tuple[Array, dict[str, Any]]:
    """Up to 2^50, with rows 2^-40 as long beside them: sums need both limbs."""
    x = scaled(blobs(14, 2_000, 33, 20), 31 - below(40, 15, 2_000))
    return x, {"k": 30, "niter": 10}


FITS: dict[Callable[[], tuple[Array, dict[str, Any]]], str] = {
    as_float16: "1eaf5b0cb0c0cc17656fca1d7dca8d6996b6b9677e179153f5fe2d302c800ec6",
    as_float64: "56c697204829e556a90e7c544a99046b8eae2566074da30fdab6e1a0ff81c43d",
    as_int8: "cb83e8096c287bab52e23dadd2f043370c08cc9bf54c604329411c9f557bb9ea",
    as_uint8: "0d266213d2e0a7e640173f7fac16fe6f6f4ff217852fd529bec02346c266a24f",
    embeddings: "e4f85444dde44ce76c2b34d632146cdac1d39b425af78707cfd23de1530f293d",
    plane: "2f017c37daafe0d8904f657a6b2c458a2690f5a04aac6f32bd1ed67a199d0d50",
    many_clusters: "1fbc9edcf02133b8950d01a33ae24e96a6e34c76f79329db0d98905cfec10dca",
    duplicates: "a4d2892857fac27bcbc9775a3843ed65154824c5780ac16856c9f690cf1fb7ed",
    tiny: "970de596cd47a38392a823a562fc06b99bf17b408ed91d7f953e188311386417",
    large_and_skewed: "aa0a9fbadc59a6bc17769907bef91b32d46087840a894db3bb682d159ec36bce",
}


def bits(km: FastKMeans) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(km.centroids, "<f4").tobytes())
    digest.update(np.ascontiguousarray(km.labels_, "<i8").tobytes())
    digest.update(f"{km.inertia_.hex()} {km.n_iter_}".encode())
    return digest.hexdigest()


@pytest.mark.parametrize("make", FITS, ids=lambda make: make.__name__)
def test_bits_are_those_of_42f0c6b(make: Callable[[], tuple[Array, dict[str, Any]]]) -> None:
    x, params = make()
    for isa, search in PATHS:
        with forced(isa, search), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # subsamples, empty clusters, precision
            assert bits(FastKMeans(x.shape[1], gpu=False, **params).fit(x)) == FITS[make], (isa, search)
