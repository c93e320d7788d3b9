# SPDX-License-Identifier: Apache-2.0
"""What fastkmeans uses of cupy, on host memory: stands in its place as a module where there is no GPU."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

_current = [0]  # numbers of devices; the last is the current one


class Device:
    def __init__(self, number: int) -> None:
        self.id = number

    def __enter__(self) -> None:
        _current.append(self.id)

    def __exit__(self, *_: object) -> None:
        _current.pop()


class ndarray:
    """On the device that is current when it is made."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values.values if isinstance(values, ndarray) else values)
        self.dtype, self.shape, self.strides = self.values.dtype, self.values.shape, self.values.strides
        self.data = SimpleNamespace(ptr=self.values.ctypes.data)
        self.device = Device(_current[-1])

    def get(self) -> np.ndarray:
        return self.values

    def copy(self) -> ndarray:
        return ndarray(self.values.copy())


asarray = array = ndarray
synchronized: list[int] = []  # streams, as they were waited for


def _current_stream() -> SimpleNamespace:
    """That of device N is 7000 + N."""
    address = 7000 + _current[-1]
    return SimpleNamespace(ptr=address, synchronize=lambda: synchronized.append(address))


def empty(shape: tuple[int, ...], dtype: str) -> ndarray:
    return ndarray(np.empty(shape, dtype))


free = [1 << 30, 1 << 33]  # bytes of every device, and all that it has
runtime = SimpleNamespace(memGetInfo=lambda: tuple(free))
cuda = SimpleNamespace(Device=Device, get_current_stream=_current_stream, runtime=runtime)
