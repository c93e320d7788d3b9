# SPDX-License-Identifier: Apache-2.0
"""What users have, as what the core reads: a two-dimensional numpy view and the name of its dtype.

Nothing is copied where the memory can be read in place. These are: rows on a GPU that the CPU or another GPU is to
read, long double (becomes float64), foreign byte order, and lists. torch and cupy are recognised, never imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from . import _core, _device_input

# The core's name of each dtype; numpy finds aliases (longlong, intp) and refuses foreign byte orders here.
_NAMES = {
    np.dtype(name): name
    for name in (
        *("float32", "float64", "float16", "int8", "uint8", "int16", "uint16"),
        *("int32", "uint32", "int64", "uint64"),
    )
}
_ALLOWED = "float32, float64, float16, bfloat16, an integer type or bool"
# What makes numbers of numpy's other kinds of dtype.
_CONVERSIONS = {
    **dict.fromkeys("OSU", "; if its entries are numbers, convert it with .astype(numpy.float32)"),
    **dict.fromkeys("mM", "; convert it with .astype(numpy.int64)"),
    "V": "; numpy.lib.recfunctions.structured_to_unstructured makes a matrix of fields",
}


class Rows(NamedTuple):
    """A matrix that the core can read, and where labels for it belong."""

    array: Any  # (n, d): a numpy array, with bfloat16 as uint16, or a _device_input.DeviceMatrix
    dtype: str
    home: Any = None  # None: numpy; else the torch.device, or "cupy:N" of CUDA device N


def as_init(rows: Rows | None) -> _core._Initial:
    """The core's arguments about initial centroids; None: it finds all of them."""
    return {"init": None, "init_dtype": "float32"} if rows is None else {"init": rows.array, "init_dtype": rows.dtype}


def read(data: Any, d: int, what: str = "data", least: int = 1, device: str = "cpu") -> Rows:
    """The rows of `data`, an (n, d) matrix, n >= least.

    device : the core's name of where they will be read ("": it chooses). Rows on a GPU stay there, or go to the GPU
        that it names, unless that is "cpu".

    Raises TypeError for what is no array, or has a dtype that is no real number, ValueError for another shape; all say
    expected and given.
    """
    rows = read_array(data, what, device)
    shape = rows.array.shape
    if len(shape) != 2:
        raise ValueError(f"{what} must be a matrix of shape (n, {d}), given {len(shape)} dimensions, shape {shape}.")
    if shape[1] != d:
        raise ValueError(f"{what} must have d = {d} columns, given {shape[1]} (shape {shape}).")
    if shape[0] < least:
        raise ValueError(f"{what} is empty: expected at least one row of {d} columns, given shape {shape}.")
    return rows


def read_array(data: Any, what: str = "data", device: str = "cpu") -> Rows:
    """`data` of any shape; device, dtypes and errors as of `read`."""
    usual = _NAMES.get(data.dtype) if type(data) is np.ndarray else None
    return _convert(data, what, device) if usual is None else Rows(data, usual)


def read_weights(weights: Any, *shape: int, what: str = "weights") -> np.ndarray[Any, Any]:
    """One number for each row, float64 of this shape, (n,) for n rows, on the CPU; copied where it is anything else.

    Raises TypeError and ValueError as `read` does.
    """
    given = _convert(weights, what, "cpu")
    if given.array.shape != shape:
        raise ValueError(f"{what} must have shape {shape}, one for each row, given shape {given.array.shape}.")
    return np.ascontiguousarray(numbers(given), dtype=np.float64)


def copied(rows: Rows) -> np.ndarray[Any, Any]:
    """The same numbers in memory of their own; bfloat16, which numpy lacks, as float32."""
    copy: np.ndarray[Any, Any] = numbers(rows).copy()
    return copy


def numbers(rows: Rows) -> np.ndarray[Any, Any]:
    """Rows on the CPU in a dtype that numpy has: bfloat16 as float32."""
    array: np.ndarray[Any, Any] = rows.array
    return (array.astype(np.uint32) << 16).view(np.float32) if rows.dtype == "bfloat16" else array


def give_back(array: np.ndarray[Any, Any], home: Any) -> Any:
    """`array` as the kind of array that came in: numpy, a torch tensor on its device, or cupy."""
    if home is None:
        return array
    if isinstance(home, str):
        import cupy  # its arrays came in

        with cupy.cuda.Device(int(home.removeprefix("cupy:"))):
            copy = cupy.asarray(array)
            cupy.cuda.get_current_stream().synchronize()  # as finished as the call, whatever stream it is read in
            return copy
    import torch  # its tensors came in

    return torch.from_numpy(array).to(home)


def _convert(data: Any, what: str, device: str) -> Rows:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(data, torch.Tensor):
        return _from_torch(torch, data, what, device)
    cupy = sys.modules.get("cupy")
    if cupy is not None and isinstance(data, cupy.ndarray):
        return _from_cupy(cupy, data, what, device)
    other = _device_input.adopted(data)
    if other is not None:
        return _convert(other, what, device)._replace(home=None)
    if isinstance(data, np.ma.MaskedArray) and np.ma.is_masked(data):
        raise ValueError(f"{what} has masked entries: expected a number in every place.")
    if hasattr(data, "__dlpack__") and not hasattr(data, "__array__"):
        return Rows(*_from_dlpack(data, what))
    try:
        array = np.asarray(data)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{what} must be {_kind(what)}, given a {type(data).__name__}: {error}") from None
    except (TypeError, RuntimeError) as error:  # numpy and torch about a list of tensors that are no arrays
        raise TypeError(
            f"{what} must be {_kind(what)}, given a {type(data).__name__} whose entries are no arrays for numpy "
            f"({error}); pass torch.stack(rows) for tensors"
        ) from None
    if array.ndim == 0 and array.dtype.kind in "OSU" and not isinstance(data, np.ndarray):
        given = "None" if data is None else f"a {type(data).__name__}"
        long = "" if "weight" in what else ", an array of numbers with rows and columns"
        raise TypeError(f"{what} must be {_kind(what)}{long}, given {given}{_advice(data)}.")
    if array.dtype == object and hasattr(data, "isna"):
        array = _from_nullable(data, array, what)
    return Rows(*_from_numpy(array, what))


def _kind(what: str) -> str:
    """What an argument must be."""
    return "an array of one number for each row" if "weight" in what else "a matrix"


def _advice(data: Any) -> str:
    """How to make a matrix of what numpy sees as one object."""
    if hasattr(data, "toarray"):  # scipy's sparse matrices and arrays
        return "; convert it with .toarray()"
    if hasattr(data, "collect"):  # polars' LazyFrame
        return "; call .collect() first"
    if isinstance(data, (str, bytes, os.PathLike)):
        return "; load the file first, for example with numpy.load"
    if isinstance(data, Mapping):
        return "; pass numpy.array(list(mapping.values()))"
    if isinstance(data, Iterable):
        return "; pass numpy.array(list(rows))"
    return ""


def _from_nullable(frame: Any, array: np.ndarray[Any, Any], what: str) -> np.ndarray[Any, Any]:
    """pandas' nullable columns (Int64, Float32, boolean) come as objects: numbers, where no value is missing."""
    missing = np.asarray(frame.isna())
    if missing.any():
        rows = np.flatnonzero(missing.reshape(len(missing), -1).any(axis=1))
        count = f"{len(rows)} row" + "s" * (len(rows) != 1)
        raise ValueError(
            f"{what} has missing values (NA) in {count}, the first is row {rows[0]}; drop the rows with .dropna() or "
            "fill them with .fillna()."
        )
    dtypes = [getattr(dtype, "numpy_dtype", dtype) for dtype in np.ravel(frame.dtypes)]
    if not all(isinstance(dtype, np.dtype) and dtype.kind in "biuf" for dtype in dtypes):
        return array
    return array.astype(np.result_type(*dtypes))


def _from_numpy(array: np.ndarray[Any, Any], what: str) -> tuple[np.ndarray[Any, Any], str]:
    dtype = array.dtype
    name = _name(dtype)
    if name is not None:
        return (array if dtype in _NAMES else array.view(f"u{dtype.itemsize}")), name
    if dtype.kind == "f" and dtype.itemsize > 8:
        return array.astype(np.float64), "float64"
    if dtype.kind in "fiu" and not dtype.isnative:
        return _from_numpy(array.astype(dtype.newbyteorder("=")), what)
    raise _wrong_dtype(what, dtype)


def _name(dtype: np.dtype[Any]) -> str | None:
    """The core's name of a dtype whose bits it reads as they are."""
    if dtype.kind == "b":
        return "uint8"
    if dtype.name == "bfloat16":  # ml_dtypes, which jax and others register with numpy
        return "bfloat16"
    return _NAMES.get(dtype)


def _from_cupy(cupy: Any, array: Any, what: str, device: str) -> Rows:
    home, name = f"cupy:{array.device.id}", _name(array.dtype)
    matrix = None if name is None else _device_input.of_cupy(cupy, array, device)
    if matrix is None or name is None:
        return Rows(*_from_numpy(array.get(), what), home)
    return Rows(matrix, name, home)


def _from_torch(torch: Any, tensor: Any, what: str, device: str) -> Rows:
    if tensor.is_nested:  # before its layout, which may be that of a dense one
        raise TypeError(f"{what} must be a dense tensor, given a nested one; torch.cat(tensor.unbind()) has its rows.")
    if tensor.is_quantized:
        raise TypeError(f"{what} must be a dense tensor, given a quantized one; convert it with .dequantize().")
    if tensor.layout != torch.strided:
        raise TypeError(f"{what} must be a dense tensor, given layout {tensor.layout}; convert it with .to_dense().")
    if tensor.device.type == "meta":
        raise ValueError(f"{what} is a tensor on the device 'meta', which holds no numbers.")
    name = str(tensor.dtype).removeprefix("torch.")
    if name not in {*_NAMES.values(), "bool", "bfloat16"}:
        raise _wrong_dtype(what, tensor.dtype)
    home = tensor.device
    tensor = tensor.detach().resolve_neg()  # a copy of the imaginary part of a conjugate, else none
    matrix = _device_input.of_tensor(torch, tensor, device)
    if matrix is not None:
        return Rows(matrix, "uint8" if name == "bool" else name, home)
    tensor = tensor.cpu()  # no copy on the CPU
    if name == "bfloat16":  # numpy has no such type, so its bits
        return Rows(tensor.view(torch.int16).numpy().view(np.uint16), name, home)
    return Rows(*_from_numpy(tensor.numpy(), what), home)


def _from_dlpack(data: Any, what: str) -> tuple[np.ndarray[Any, Any], str]:
    try:
        return _from_numpy(np.from_dlpack(data), what)
    except (BufferError, RuntimeError) as error:  # on another device, or a dtype numpy lacks
        bits = _core.bfloat16_bits(data)
        if bits is not None:
            return bits, "bfloat16"
        raise TypeError(f"{what} must be readable by numpy, given a {type(data).__name__}: {error}") from None


def _wrong_dtype(what: str, dtype: Any) -> TypeError:
    advice = _CONVERSIONS.get(getattr(dtype, "kind", ""), "")
    return TypeError(f"{what} must have dtype {_ALLOWED}, given {dtype}{advice}.")
