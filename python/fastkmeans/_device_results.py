# SPDX-License-Identifier: Apache-2.0
"""Results in the memory of a CUDA device: room for the core to fill, and arrays that stay until they are wanted."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _core
from ._device_input import DeviceMatrix, number_of

_SMALL = 16 << 20  # bytes that no device is short of


class Room(NamedTuple):
    """Arrays of torch or cupy for the results of a call, not initialised, and their addresses for the core."""

    centroids: Any = None  # None: results come to the host
    labels: Any = None  # likewise, or there are none
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
    return Room(its_centroids, its_labels, {"device_centroids": centroids_at, "device_labels": labels_at})


def _free_memory(home: Any) -> int:
    """Bytes on its device that nobody has."""
    if isinstance(home, str):
        import cupy  # its arrays came in

        with cupy.cuda.Device(number_of(home)):
            return int(cupy.cuda.runtime.memGetInfo()[0])
    import torch  # its tensors came in

    return int(torch.cuda.mem_get_info(home)[0])


def _array(home: Any, shape: tuple[int, ...], dtype: str) -> tuple[Any, int]:
    """An array where `home` says, and its address. It belongs to the current stream there, as a DeviceMatrix does."""
    if isinstance(home, str):
        import cupy

        with cupy.cuda.Device(number_of(home)):
            array = cupy.empty(shape, dtype)
        return array, array.data.ptr
    import torch

    tensor = torch.empty(shape, dtype=getattr(torch, dtype), device=home)
    return tensor, tensor.data_ptr()


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

    def __reduce__(self) -> Any:
        return np.asarray, (self.on_host(),)


def held(there: Any, here: Any) -> Any:
    """What an object keeps of a result: an OnDevice of the array that the core filled there, or what came here."""
    return here if there is None else OnDevice(there)


def on_host(kept: Any) -> Any:
    """What is kept, on the host if it is a result that held() put on a device."""
    return kept.on_host() if isinstance(kept, OnDevice) else kept


def copied_there(kept: Any) -> Any:
    """A copy on the device of a result that is still there; None for anything else."""
    return kept.copied() if isinstance(kept, OnDevice) else None


def _is_cupy(array: Any) -> bool:
    return hasattr(array, "get")  # tensors have none
