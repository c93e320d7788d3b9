# SPDX-License-Identifier: Apache-2.0
"""Arrays of torch and cupy in the memory of a CUDA device, as what the core reads in place."""

from __future__ import annotations

import sys
import threading
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _core

_DLPACK_CUDA = 2  # kDLCUDA
_SMALL = 16 << 20  # bytes that no device is short of


class DeviceMatrix(NamedTuple):
    """A matrix in the memory of a CUDA device. The core reads it after what its stream was given until now."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in bytes
    device: int  # its number
    stream: int  # the address of a cudaStream_t: the caller's current one
    owner: Any  # whose memory it is, kept alive


def of_tensor(torch: Any, tensor: Any, wanted: str) -> DeviceMatrix | None:
    """A dense tensor in place, or its copy on the device that is wanted; None if it must go to the host."""
    if tensor.device.type != "cuda":
        return None
    number = _reading_device(tensor.device.index, wanted)
    if number is None:
        return None
    tensor = tensor.to(torch.device("cuda", number))  # itself, if it is there
    strides = tuple(stride * tensor.element_size() for stride in tensor.stride())
    stream = torch.cuda.current_stream(tensor.device).cuda_stream
    return DeviceMatrix(tensor.data_ptr(), tuple(tensor.shape), strides, number, stream, tensor)


def of_cupy(cupy: Any, array: Any, wanted: str) -> DeviceMatrix | None:
    """As of_tensor, for an array of cupy."""
    number = _reading_device(array.device.id, wanted)
    if number is None:
        return None
    with cupy.cuda.Device(number):  # the caller's current device is restored
        array = array if array.device.id == number else cupy.array(array)
        stream = cupy.cuda.get_current_stream().ptr
    return DeviceMatrix(array.data.ptr, array.shape, array.strides, number, stream, array)


class OnDevice:
    """An array that the core filled on a CUDA device, until it is wanted on the host: from then on it is there alone.

    Threads may share it. A copy or a pickle of it is an array on the host: it may be read where no such device is.
    """

    def __init__(self, array: Any) -> None:
        self._lock = threading.Lock()
        self._there: Any = array  # of torch or cupy
        self._here: npt.NDArray[Any] | None = None

    def on_host(self) -> npt.NDArray[Any]:
        """The same array each time, which its user may write to."""
        with self._lock:
            if self._here is None:
                there = self._there
                self._here = there.get() if _is_cupy(there) else there.cpu().numpy()
                self._there = None
            return self._here

    def copied(self) -> Any:
        """A copy on the device, finished; None if the array is on the host by now."""
        with self._lock:
            there = self._there
            if there is None:
                return None
            if _is_cupy(there):
                import cupy

                with there.device:  # where cupy copies to
                    copy = there.copy()
                    cupy.cuda.get_current_stream().synchronize()
                return copy
            import torch

            copy = there.clone()
            torch.cuda.current_stream(there.device).synchronize()
            return copy

    def taken(self) -> Any:
        """The array itself, of an object that nobody else has."""
        return self._there

    def __reduce__(self) -> Any:
        return np.asarray, (self.on_host(),)


def _is_cupy(array: Any) -> bool:
    return hasattr(array, "get")  # tensors have none


class Room(NamedTuple):
    """Arrays for the results of a call, not initialised, and their addresses as the core's arguments."""

    centroids: OnDevice | None = None  # None: results come to the host
    labels: OnDevice | None = None  # likewise, or there are none
    addresses: _core._DeviceResults = {}  # noqa: RUF012 - nobody changes it


def results_room(matrix: Any, home: Any, centroids: int, labels: bool) -> Room:
    """Room for so many centroids, and labels of all rows, where a matrix on a device is read.

    An empty one if they do not belong there, or would take much of the memory that is free: then results come to the
    host, and from there to `home` (see _input.Rows) when they are wanted.
    """
    if not isinstance(matrix, DeviceMatrix) or number_of(home) != matrix.device:
        return Room()
    *rows, d = matrix.shape
    n = int(np.prod(rows)) if labels else 0
    size = 4 * centroids * d + 8 * n
    try:
        if size > _SMALL and 8 * size > _free_memory(home):  # the core needs more than results do
            return Room()
        its_centroids, centroids_at = _array(home, (centroids, d), "float32")
        its_labels, labels_at = _array(home, (n,), "int64") if labels else (None, 0)
    except (RuntimeError, MemoryError):  # torch's OutOfMemoryError and cupy's
        return Room()
    addresses: _core._DeviceResults = {"device_centroids": centroids_at, "device_labels": labels_at}
    return Room(OnDevice(its_centroids), OnDevice(its_labels) if labels else None, addresses)


def _free_memory(home: Any) -> int:
    """Bytes on its device that nobody has."""
    if isinstance(home, str):
        import cupy

        with cupy.cuda.Device(int(home.removeprefix("cupy:"))):
            return int(cupy.cuda.runtime.memGetInfo()[0])
    import torch

    return int(torch.cuda.mem_get_info(home)[0])


def _array(home: Any, shape: tuple[int, ...], dtype: str) -> tuple[Any, int]:
    """An array where `home` says, and its address. It belongs to the current stream there, as a DeviceMatrix does."""
    if isinstance(home, str):
        import cupy  # its arrays came in

        with cupy.cuda.Device(int(home.removeprefix("cupy:"))):
            array = cupy.empty(shape, dtype)
        return array, array.data.ptr
    import torch  # its tensors came in

    tensor = torch.empty(shape, dtype=getattr(torch, dtype), device=home)
    return tensor, tensor.data_ptr()


def number_of(home: Any) -> int | None:
    """Of the CUDA device where arrays of this home lie; None: on the host."""
    if isinstance(home, str):
        return int(home.removeprefix("cupy:"))
    return home.index if home is not None and home.type == "cuda" else None


def adopted(data: Any) -> Any:
    """Another library's array on a CUDA device as one of torch or cupy, in place; None if neither is imported."""
    device = getattr(data, "__dlpack_device__", None)
    dlpack = device is not None and device()[0] == _DLPACK_CUDA
    if not dlpack and not hasattr(data, "__cuda_array_interface__"):
        return None
    torch, cupy = sys.modules.get("torch"), sys.modules.get("cupy")
    if torch is not None and torch.cuda.is_available():
        return torch.from_dlpack(data) if dlpack else torch.as_tensor(data, device="cuda")
    if cupy is not None:
        return cupy.from_dlpack(data) if dlpack else cupy.asarray(data)
    return None


def _reading_device(number: int, wanted: str) -> int | None:
    """Where rows on device `number` are read, if `wanted` is the core's name of a device; None: on the host."""
    if wanted == "cpu":
        return None
    if wanted.startswith("cuda:"):
        return int(wanted.removeprefix("cuda:"))
    state = _core.cuda_state()
    usable = [device["number"] for device in state["devices"] if device["usable"]]
    return number if state["status"] == "ready" and number in usable else None
