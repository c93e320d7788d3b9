# SPDX-License-Identifier: Apache-2.0
"""What users have, as what the core reads: a two-dimensional numpy view and the name of its dtype.

Nothing is copied where the memory can be read in place. These are: rows on a GPU (there is no GPU backend yet),
long double (becomes float64), foreign byte order, and lists. torch and cupy are recognised, never imported.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np

from . import _core

# The core's name of each dtype; numpy finds aliases (longlong, intp) and refuses foreign byte orders here.
_NAMES = {
    np.dtype(name): name
    for name in (
        *("float32", "float64", "float16", "int8", "uint8", "int16", "uint16"),
        *("int32", "uint32", "int64", "uint64"),
    )
}
_ALLOWED = "float32, float64, float16, bfloat16, an integer type or bool"


class Rows(NamedTuple):
    """A matrix that the core can read, and where labels for it belong."""

    array: np.ndarray[Any, Any]  # (n, d); bfloat16 as uint16
    dtype: str
    home: Any = None  # None: numpy; else the torch.device, or "cupy"


def read(data: Any, d: int, what: str = "data") -> Rows:
    """The rows of `data`, an (n, d) matrix, n >= 1.

    Raises TypeError for a dtype that is no real number, ValueError for another shape; both say expected and given.
    """
    usual = _NAMES.get(data.dtype) if type(data) is np.ndarray else None
    rows = _convert(data, what) if usual is None else Rows(data, usual)
    shape = rows.array.shape
    if len(shape) != 2:
        raise ValueError(f"{what} must be a matrix of shape (n, {d}), given {len(shape)} dimensions, shape {shape}.")
    if shape[1] != d:
        raise ValueError(f"{what} must have d = {d} columns, given {shape[1]} (shape {shape}).")
    if shape[0] == 0:
        raise ValueError(f"{what} is empty: expected at least one row of {d} columns, given shape {shape}.")
    return rows


def give_back(array: np.ndarray[Any, Any], home: Any) -> Any:
    """`array` as the kind of array that came in: numpy, a torch tensor on its device, or cupy."""
    if home is None:
        return array
    if home == "cupy":
        return sys.modules["cupy"].asarray(array)
    import torch  # its tensors came in

    return torch.from_numpy(array).to(home)


def _convert(data: Any, what: str) -> Rows:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(data, torch.Tensor):
        return _from_torch(torch, data, what)
    cupy = sys.modules.get("cupy")
    if cupy is not None and isinstance(data, cupy.ndarray):
        return Rows(*_from_numpy(data.get(), what), "cupy")
    if isinstance(data, np.ma.MaskedArray) and np.ma.is_masked(data):
        raise ValueError(f"{what} has masked entries: expected a number in every place.")
    if hasattr(data, "__dlpack__") and not hasattr(data, "__array__"):
        return Rows(*_from_dlpack(data, what))
    try:
        array = np.asarray(data)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{what} must be a matrix, given a {type(data).__name__}: {error}") from None
    return Rows(*_from_numpy(array, what))


def _from_numpy(array: np.ndarray[Any, Any], what: str) -> tuple[np.ndarray[Any, Any], str]:
    dtype = array.dtype
    if dtype in _NAMES:
        return array, _NAMES[dtype]
    if dtype.kind == "b":
        return array.view(np.uint8), "uint8"
    if dtype.name == "bfloat16":  # ml_dtypes, which jax and others register with numpy
        return array.view(np.uint16), "bfloat16"
    if dtype.kind == "f" and dtype.itemsize > 8:
        return array.astype(np.float64), "float64"
    if dtype.kind in "fiu" and not dtype.isnative:
        return _from_numpy(array.astype(dtype.newbyteorder("=")), what)
    raise _wrong_dtype(what, dtype)


def _from_torch(torch: Any, tensor: Any, what: str) -> Rows:
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise TypeError(f"{what} must be a dense tensor, given {_kind_of(tensor)}.")
    if tensor.device.type == "meta":
        raise ValueError(f"{what} is a tensor on the device 'meta', which holds no numbers.")
    bfloat16 = tensor.dtype == torch.bfloat16
    if not bfloat16 and str(tensor.dtype).removeprefix("torch.") not in {*_NAMES.values(), "bool"}:
        raise _wrong_dtype(what, tensor.dtype)
    home = tensor.device
    tensor = tensor.detach().cpu()  # no copy on the CPU
    if bfloat16:  # numpy has no such type, so its bits
        return Rows(tensor.view(torch.int16).numpy().view(np.uint16), "bfloat16", home)
    return Rows(*_from_numpy(tensor.resolve_neg().numpy(), what), home)


def _from_dlpack(data: Any, what: str) -> tuple[np.ndarray[Any, Any], str]:
    try:
        return _from_numpy(np.from_dlpack(data), what)
    except (BufferError, RuntimeError) as error:  # on another device, or a dtype numpy lacks
        bits = _core.bfloat16_bits(data)
        if bits is not None:
            return bits, "bfloat16"
        raise TypeError(f"{what} must be readable by numpy, given a {type(data).__name__}: {error}") from None


def _kind_of(tensor: Any) -> str:
    return "a quantized one" if tensor.is_quantized else f"layout {tensor.layout}"


def _wrong_dtype(what: str, dtype: Any) -> TypeError:
    return TypeError(f"{what} must have dtype {_ALLOWED}, given {dtype}.")
