# SPDX-License-Identifier: Apache-2.0
"""Arrays of torch and cupy in the memory of a CUDA device, as what the core reads in place."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

from . import _core

_DLPACK_CUDA = 2  # kDLCUDA


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
