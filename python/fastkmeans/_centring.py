# SPDX-License-Identifier: Apache-2.0
"""float64 rows less a centre, as float32: an offset that all rows share costs no digits.

A centre is the median of a few rows spread over all of them. Any vector among the rows would do; this one is the same
bits for every layout and device, and outliers do not move it.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _device_input, _input

Centre = npt.NDArray[np.float64]  # (d,)

_ROWS = 1024  # of which the median is taken: milliseconds even for rows of 1,000 columns


def is_tensor(data: Any) -> bool:
    """Whether `data` is an array of torch or cupy, which the core reads where it lies."""
    torch, cupy = sys.modules.get("torch"), sys.modules.get("cupy")
    return (torch is not None and isinstance(data, torch.Tensor)) or (
        cupy is not None and isinstance(data, cupy.ndarray)
    )


def as_tensor(data: Any) -> Any:
    """An array of another library on a CUDA device as one of torch or cupy, in place; anything else as it is."""
    adopted = None if is_tensor(data) else _device_input.adopted(data)
    return data if adopted is None else adopted


def centre_of(data: Any) -> Centre:
    """The centre of float64 rows (n, d), n >= 1: numpy, torch or cupy."""
    rows = data[:: -(-data.shape[0] // _ROWS)]
    centre: Centre = np.median(_input.read(rows, rows.shape[1]).array, axis=0)
    return centre


def less(data: Any, centre: Centre | None) -> Any:
    """`data` (n, d), of any real dtype, less `centre`, taken in float64 and rounded to float32; the same kind of array.

    No centre: `data` itself.
    """
    if centre is None:
        return data
    torch, cupy = sys.modules.get("torch"), sys.modules.get("cupy")
    if torch is not None and isinstance(data, torch.Tensor):
        out = torch.empty(data.shape, dtype=torch.float32, device=data.device)
        return torch.sub(data.detach(), torch.from_numpy(centre).to(data.device), out=out)
    if cupy is not None and isinstance(data, cupy.ndarray):
        with data.device:
            out = cupy.empty(data.shape, dtype=cupy.float32)
            return cupy.subtract(data, cupy.asarray(centre), out=out, casting="same_kind")
    return np.subtract(data, centre, out=np.empty(data.shape, np.float32), casting="same_kind")
