# SPDX-License-Identifier: Apache-2.0
# The compiled core (python/bindings.cpp). `data`, `init` and `centroids` are two-dimensional buffers, read in place in
# any layout; their dtypes are names: float32, float64, float16, bfloat16 (a buffer of 2-byte items), int8 to int64,
# uint8 to uint64. `data` of `predict` may have no rows, and that of both may be a _device_input.DeviceMatrix.
# `device` is "cpu", "cuda", "cuda:N" or "" (the core chooses), `memory_limit` in bytes of the device, 0 for none.
from collections.abc import Callable
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
from typing_extensions import NotRequired, Unpack

class IterationStats:
    @property
    def redo(self) -> int: ...
    @property
    def iteration(self) -> int: ...
    @property
    def inertia(self) -> float: ...
    @property
    def shift(self) -> float: ...
    @property
    def changed(self) -> int: ...
    @property
    def empty(self) -> int: ...
    @property
    def relocated(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def filter(self) -> str: ...
    @property
    def scored(self) -> int: ...
    @property
    def refined(self) -> int: ...
    @property
    def isa(self) -> str: ...

class _FitResult(TypedDict):
    centroids: Any  # float32 (k, d); None if they are on the device, which few callers ask for
    labels: npt.NDArray[np.int64] | None  # (n,); likewise
    inertia: float
    n_iter: int
    converged: bool
    timed_out: bool
    n_used: int
    n_zero: int
    iterations: list[IterationStats]
    warnings: list[tuple[str, str]]  # kind (see _report._CATEGORIES), message

class _BatchResult(TypedDict):
    centroids: npt.NDArray[np.float32] | None  # (sum of k times d,); None if they are on the device
    labels: npt.NDArray[np.int64] | None  # of all rows; likewise
    inertia: npt.NDArray[np.float64]  # (B,), and so on
    n_iter: npt.NDArray[np.int64]
    converged: npt.NDArray[np.uint8]
    timed_out: npt.NDArray[np.uint8]
    n_used: npt.NDArray[np.int64]
    n_zero: npt.NDArray[np.int64]
    n_empty: npt.NDArray[np.int64]
    warnings: list[tuple[int, str, str]]  # problem, kind, message

class _CudaDevice(TypedDict):
    number: int
    name: str
    major: int  # compute capability
    minor: int
    memory: int  # bytes in all
    usable: bool

class _CudaState(TypedDict):
    # ready, not_built, no_driver, old_driver, no_device, unsupported_device, after_fork, failed
    status: str
    problem: str  # one line with "CUDA" in it, unless ready
    driver: int  # the CUDA version it knows, 1000 major + 10 minor; 0: no driver
    devices: list[_CudaDevice]

class _Prediction(TypedDict):
    labels: npt.NDArray[np.int64]  # (n,)
    distances: npt.NDArray[np.float64] | None  # (n,)

# How to compute; `predict` has defaults.
class _Execution(TypedDict):
    device: str
    memory_limit: int
    n_threads: int
    chunk_size_data: int
    chunk_size_centroids: int

# The first initial centroids.
class _Initial(TypedDict):
    init: object | None  # of fit_batch: three-dimensional, or a matrix with init_offsets
    init_dtype: str

# What to compute; `fit` alone has defaults for those that are not required.
class _Training(TypedDict):
    niter: int
    tol: float
    inertia_tol: NotRequired[float]
    changed_tol: NotRequired[float]
    max_runtime_secs: NotRequired[float]  # 0: any time
    seed: int
    max_points_per_centroid: int | None
    nredo: int
    metric: NotRequired[str]
    frozen_centroids: NotRequired[bool]
    int_centroids: NotRequired[bool]
    min_points_per_centroid: NotRequired[int | None]
    empty_clusters: NotRequired[str]  # farthest, split, random
    init_method: NotRequired[str]  # random, k-means++, k-means||, afk-mc2: what init leaves over

# Addresses of room for results on the device of data; 0: arrays come back.
class _DeviceResults(TypedDict):
    device_centroids: NotRequired[int]
    device_labels: NotRequired[int]

class _Options(_Training, _Initial, _Execution, _DeviceResults):
    weights: npt.NDArray[np.float64] | None  # of all rows, C order
    labels: bool

def fit(
    data: object,
    dtype: str,
    *,
    k: int,
    callback: Callable[[IterationStats], object] | None,
    **options: Unpack[_Options],
) -> _FitResult: ...
def fit_batch(
    data: object,  # three-dimensional, or a matrix with offsets
    dtype: str,
    *,
    offsets: npt.NDArray[np.int64] | None,  # (B + 1,), C order, ascending from 0 to the rows of data
    k: npt.NDArray[np.int64],  # (B,)
    init_offsets: npt.NDArray[np.int64] | None,  # as offsets
    **options: Unpack[_Options],
) -> _BatchResult: ...
def predict(
    data: object,
    dtype: str,
    centroids: object,
    centroids_dtype: str,
    *,
    distances: bool = False,
    metric: str = "euclidean",
    device: str = "cpu",
    memory_limit: int = 0,
    n_threads: int = 0,
    chunk_size_data: int = ...,
    chunk_size_centroids: int = ...,
) -> _Prediction: ...
def bfloat16_bits(data: object) -> npt.NDArray[np.uint16] | None: ...
def instruction_sets() -> dict[str, bool]: ...
def chosen_isa() -> str: ...
def default_threads() -> int: ...
def build_info() -> str: ...
def cuda_state() -> _CudaState: ...
def chosen_device(device: str = "") -> str: ...
def cuda_kernels() -> list[str]: ...
