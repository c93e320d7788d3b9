# SPDX-License-Identifier: Apache-2.0
"""What users have: every kind of array, dtype and layout, read in place where it can be."""

from __future__ import annotations

import array
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import ISAS, forced
from fastkmeans import FastKMeans, _input

DTYPES = ["float32", "float64", "float16", *(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64))]


@pytest.fixture
def whole(rng: np.random.Generator) -> np.ndarray:
    """Whole numbers of 0 to 100, exact in every dtype."""
    return rng.integers(0, 101, size=(300, 6))


def outcome(data: Any) -> tuple[bytes, bytes]:
    kmeans = FastKMeans(6, 9, niter=4)
    labels = np.asarray(kmeans.fit_predict(data))
    assert labels.tobytes() == np.asarray(kmeans.predict(data)).tobytes()
    return kmeans.centroids.tobytes(), labels.tobytes()


def layouts(x: np.ndarray) -> dict[str, np.ndarray]:
    wide = np.zeros((len(x), 2 * x.shape[1]), x.dtype)
    wide[:, ::2] = x
    unaligned = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape)
    read_only = x.copy()
    read_only.flags.writeable = False
    return {
        "C": np.ascontiguousarray(x),
        "Fortran": np.asfortranarray(x),
        "every other column": wide[:, ::2],
        "every other row": np.repeat(x, 2, axis=0)[::2],
        "negative strides": x[::-1, ::-1].copy()[::-1, ::-1],
        "unaligned": unaligned,
        "read-only": read_only,
    }


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_and_layout_gives_the_same_bits(dtype: str, whole: np.ndarray) -> None:
    expected = outcome(whole.astype(np.float32))
    for name, x in layouts(whole.astype(dtype)).items():
        before = x.tobytes()
        assert outcome(x) == expected, name
        assert x.tobytes() == before, name


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_copy_is_made(dtype: str, whole: np.ndarray) -> None:
    for name, x in layouts(whole.astype(dtype)).items():
        rows = _input.read(x, 6)
        assert np.shares_memory(rows.array, x), name
        assert (rows.dtype, rows.home) == (dtype, None)


def test_rows_with_stride_zero(whole: np.ndarray) -> None:
    x = np.broadcast_to(whole[:1].astype(np.float32), (50, 6))
    kmeans = FastKMeans(6, 1).fit(x)
    assert kmeans.centroids.tolist() == [whole[0].tolist()]
    assert kmeans.inertia_ == 0


def test_memory_mapped_files_are_read_in_place(whole: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", whole.astype(np.float16))
    for mode in ("r", "r+", "c"):
        mapped = np.load(tmp_path / "x.npy", mmap_mode=mode)
        assert np.shares_memory(_input.read(mapped, 6).array, mapped)
        assert outcome(mapped) == outcome(whole)


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i2", ">u8", np.longdouble])
def test_dtypes_that_are_converted(dtype: Any, whole: np.ndarray) -> None:
    assert outcome(whole.astype(dtype)) == outcome(whole)


def test_bools(whole: np.ndarray) -> None:
    x = whole > 50
    assert np.shares_memory(_input.read(x, 6).array, x)
    assert outcome(x) == outcome(x.astype(np.float32))


def test_bfloat16_of_ml_dtypes(whole: np.ndarray) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = whole.astype(ml_dtypes.bfloat16)
    assert np.shares_memory(_input.read(x.T[::-1].T, 6).array, x)
    assert outcome(x) == outcome(whole)


def test_lists_buffers_and_array_likes(whole: np.ndarray) -> None:
    expected = outcome(whole)
    assert outcome(whole.tolist()) == expected
    assert outcome([tuple(row) for row in whole.tolist()]) == expected
    flat = array.array("f", whole.astype(np.float32).ravel().tolist())
    buffer = memoryview(flat).cast("B").cast("f", (300, 6))
    assert np.shares_memory(_input.read(buffer, 6).array, np.asarray(flat))
    assert outcome(buffer) == expected
    assert outcome(SimpleArray(whole)) == expected


class SimpleArray:
    """An array-like, as data frames are."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.values


class OnlyDLPack:
    """An array of some library that only speaks DLPack."""

    def __init__(self, values: np.ndarray, device: int = 1) -> None:
        self.values, self.device = values, device

    def __dlpack__(self, **options: Any) -> Any:
        if self.device != 1:
            raise BufferError("not on the host")
        return self.values.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device, 0


def test_dlpack(whole: np.ndarray) -> None:
    x = whole.astype(np.float32)
    assert np.shares_memory(_input.read(OnlyDLPack(x), 6).array, x)
    assert outcome(OnlyDLPack(x)) == outcome(x)
    with pytest.raises(TypeError, match=r"^data must be readable by numpy, given a OnlyDLPack"):
        FastKMeans(6, 2).fit(OnlyDLPack(x, device=2))


def test_bfloat16_that_only_speaks_dlpack(whole: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(whole).bfloat16().repeat_interleave(2, dim=1)[1:, ::2]
    rows = _input.read(OnlyDLPack(tensor), 6)
    assert (rows.dtype, rows.home) == ("bfloat16", None)
    assert rows.array.__array_interface__["data"][0] == tensor.data_ptr()
    address = tensor.data_ptr()
    del tensor
    other = torch.zeros(300, 12, dtype=torch.bfloat16)  # would take the memory, had it been freed
    assert rows.array.__array_interface__["data"][0] == address != other.data_ptr()
    assert (rows.array.astype(np.uint32) << 16).view(np.float32).tolist() == whole[1:].tolist()
    assert outcome(OnlyDLPack(torch.from_numpy(whole).bfloat16())) == outcome(whole)
    with pytest.raises(TypeError, match=r"^data must be readable by numpy, given a OnlyDLPack"):
        FastKMeans(6, 2).fit(OnlyDLPack(torch.zeros(9, 6, dtype=torch.float8_e4m3fn)))


def test_cupy_arrays_are_copied_to_the_host_and_labels_go_back(whole: np.ndarray, cupy: Any) -> None:
    kmeans = FastKMeans(6, 9, gpu=False, niter=4)
    with cupy.cuda.Device(3):
        data = cupy.array(whole)
    cupy.synchronized.clear()
    labels = kmeans.fit_predict(data)
    assert isinstance(labels, cupy.ndarray)
    assert cupy.synchronized == [7003]  # they are there, whatever stream reads them
    assert labels.device.id == kmeans.centroids_device.device.id == kmeans.predict(data).device.id == 3
    assert (kmeans.centroids.tobytes(), labels.values.tobytes()) == outcome(whole)
    assert isinstance(kmeans.predict(whole), np.ndarray)


@pytest.mark.parametrize(
    ("values", "given"),
    [
        (np.zeros((9, 6), np.complex64), "complex64"),
        (np.zeros((9, 6), object), "object"),
        ([["a"] * 6] * 9, "<U1"),
        (np.zeros((9, 6), "M8[s]"), "datetime64"),
        (np.zeros((9, 6), "m8[s]"), r"timedelta64\[s\]; convert it with .astype\(numpy.int64\)\.$"),
        (np.zeros((9, 6), [("a", "f4")]), "'a'.*structured_to_unstructured"),
        (np.zeros((9, 6), "S3"), r"\|S3; .*convert it with .astype\(numpy.float32\)\.$"),
        (np.array(None), "object"),
        ([[10**30] * 6] * 9, "object"),
    ],
)
def test_dtypes_that_are_no_numbers(values: Any, given: str) -> None:
    kmeans = FastKMeans(6, 2)
    kmeans.centroids = np.zeros((2, 6))
    for method in (kmeans.predict, kmeans.train, kmeans.fit):
        with pytest.raises(TypeError, match=rf"^data must have dtype float32.*given .*{given}"):
            method(values)


class LazyFrame:
    """What matters of polars'."""

    def collect(self) -> None: ...


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (None, r"None\."),
        (object(), r"a object\."),
        ("points.npy", r"a str; load the file first, for example with numpy\.load\."),
        (b"points.npy", r"a bytes; load the file first.*"),
        (Path("points.npy"), r"a PosixPath; load the file first.*"),
        ({0: [1.0] * 6, 1: [2.0] * 6}, r"a dict; pass numpy\.array\(list\(mapping\.values\(\)\)\)\."),
        ({(1.0,) * 6}, r"a set; pass numpy\.array\(list\(rows\)\)\."),
        (([1.0] * 6 for _ in range(9)), r"a generator; pass numpy\.array\(list\(rows\)\)\."),
        ({0: [1.0] * 6}.values(), r"a dict_values; pass numpy\.array\(list\(rows\)\)\."),
        (LazyFrame(), r"a LazyFrame; call \.collect\(\) first\."),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_matrix(values: Any, said: str) -> None:
    kmeans = FastKMeans(6, 2)
    kmeans.centroids = np.zeros((2, 6))
    expected = "must be a matrix, an array of numbers with rows and columns, given "
    for method in (kmeans.predict, kmeans.train, kmeans.fit):
        with pytest.raises(TypeError, match=f"^data {expected}{said}$"):
            method(values)
    if not isinstance(values, str):
        with pytest.raises(TypeError, match=f"^init {expected}{said}$"):
            FastKMeans(6, 2, init=values)


@pytest.mark.parametrize("kind", ["csr_matrix", "csr_array", "coo_array", "dok_matrix", "lil_matrix", "bsr_array"])
def test_sparse_matrices(kind: str, whole: np.ndarray) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    x = getattr(sparse, kind)(whole)
    with pytest.raises(TypeError, match=rf"^data must be a matrix.* given a {kind}; convert it with \.toarray\(\)\.$"):
        FastKMeans(6, 2).fit(x)
    assert outcome(x.toarray()) == outcome(whole)


@pytest.mark.parametrize("dtype", ["Int64", "UInt8", "Int16", "Float32", "Float64", "float32", "int64", "mixed"])
def test_data_frames(dtype: str, whole: np.ndarray) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(whole)
    mixed = dict(enumerate(["Int64", "Float32", "int16", "float64", "UInt8", "Float64"]))
    frame = frame.astype(mixed if dtype == "mixed" else dtype)
    assert outcome(frame) == outcome(whole)
    assert FastKMeans(6, 2).fit(frame).predict(frame[:0]).tolist() == []


def test_nullable_columns_beside_text() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]}).astype({"a": "Int64", "b": "string"})
    with pytest.raises(TypeError, match="given object; if its entries are numbers"):
        FastKMeans(2, 1).fit(frame)


def test_nullable_integers_are_rounded_once() -> None:
    """This is just above the middle of two float32. In float64 it would be the middle, which goes to the one below."""
    pandas = pytest.importorskip("pandas")
    value = 2**55 + 2**31 + 1
    frame = pandas.DataFrame([[value, value]], dtype="Int64")
    assert FastKMeans(2, 1).fit(frame).centroids.tolist() == [[2.0**55 + 2**32] * 2]


def test_missing_values_of_a_data_frame(whole: np.ndarray) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(whole).astype("Int64")
    said = r"^data has missing values \(NA\) in {}; drop the rows with \.dropna\(\) or fill them with \.fillna\(\)\.$"
    frame.iloc[7, 3] = pandas.NA
    with pytest.raises(ValueError, match=said.format("1 row, the first is row 7")):
        FastKMeans(6, 2).fit(frame)
    frame.iloc[4, :2] = pandas.NA
    with pytest.raises(ValueError, match=said.format("2 rows, the first is row 4")):
        FastKMeans(6, 2).fit(frame)
    assert FastKMeans(6, 2).fit(frame.dropna()).n_used_ == 298
    with pytest.raises(ValueError, match=r"given 1 dimensions, shape \(300,\)"):
        FastKMeans(6, 2).fit(pandas.Series(whole[:, 0], dtype="Int64"))


def test_columns_that_are_no_numbers(whole: np.ndarray) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(whole).astype("Int64")
    for column in (frame[0].astype("string"), frame[0].astype(object), pandas.to_datetime(frame[0])):
        with pytest.raises(TypeError, match=r"^data must have dtype float32.*given (<U|object)"):
            FastKMeans(6, 2).fit(frame.assign(**{"0": column}).iloc[:, 1:])


def test_ragged_lists() -> None:
    with pytest.raises(ValueError, match=r"^data must be a matrix, given a list"):
        FastKMeans(2, 1).fit([[1.0, 2.0], [3.0]])


def test_masked_entries(whole: np.ndarray) -> None:
    x = np.ma.masked_greater(whole, 99)
    with pytest.raises(ValueError, match="masked"):
        FastKMeans(6, 2).fit(x)
    assert outcome(np.ma.masked_greater(whole, 1000)) == outcome(whole)


# torch


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


@pytest.mark.filterwarnings("ignore::fastkmeans.EmptyClusterWarning")  # bools have few distinct rows
@pytest.mark.parametrize("dtype", [*DTYPES, "bfloat16", "bool"])
def test_tensors_of_every_dtype_and_layout(dtype: str, torch: Any, whole: np.ndarray) -> None:
    tensor = torch.from_numpy(whole).to(getattr(torch, dtype))
    x = whole.astype(bool) if dtype == "bool" else whole
    expected = outcome(x)
    wide = tensor.repeat_interleave(2, dim=1)
    for name, t in {
        "C": tensor,
        "Fortran": tensor.T.contiguous().T,
        "every other column": wide[:, ::2],
        "offset": torch.cat([tensor[:1], tensor])[1:],
    }.items():
        rows = _input.read(t, 6)
        assert rows.array.__array_interface__["data"][0] == t.data_ptr(), name
        assert rows.home == torch.device("cpu")
        kmeans = FastKMeans(6, 9, niter=4)
        labels = kmeans.fit_predict(t)
        assert isinstance(labels, torch.Tensor)
        assert (labels.dtype, labels.device) == (torch.int64, t.device)
        assert (kmeans.centroids.tobytes(), labels.numpy().tobytes()) == expected, name


def test_tensors_come_back_as_tensors_and_arrays_as_arrays(torch: Any, whole: np.ndarray) -> None:
    tensor = torch.from_numpy(whole).float()
    kmeans = FastKMeans(6, 9).fit(tensor)
    assert isinstance(kmeans.centroids, np.ndarray)
    assert isinstance(kmeans.labels_, np.ndarray)
    assert isinstance(kmeans.predict(tensor), torch.Tensor)
    assert isinstance(kmeans.predict(whole), np.ndarray)
    assert kmeans.centroids_device.data_ptr() == kmeans.centroids.ctypes.data
    assert kmeans.centroids_device.dtype == torch.float32
    kmeans.fit(whole)
    assert kmeans.centroids_device is kmeans.centroids
    assert isinstance(kmeans.fit_predict(whole), np.ndarray)


def test_tensors_with_gradients_and_inference_tensors(torch: Any, whole: np.ndarray) -> None:
    expected = outcome(whole)
    wanting = torch.from_numpy(whole).float().requires_grad_()
    assert outcome(wanting) == expected
    assert outcome((wanting * 1).bfloat16()) == expected
    assert wanting.grad is None
    with torch.inference_mode():
        inference = torch.from_numpy(whole).float() * 1
        assert outcome(inference) == expected
    assert outcome(inference) == expected
    assert outcome(inference.bfloat16()) == expected
    assert outcome(torch.nn.Parameter(wanting.detach())) == expected


def test_tensors_whose_sign_torch_has_yet_to_turn(torch: Any, whole: np.ndarray) -> None:
    values = torch.from_numpy(whole).float()
    lazy = torch.complex(torch.zeros_like(values), -values).conj().imag
    assert lazy.is_neg()
    assert outcome(lazy) == outcome(values)


def test_assigned_tensors_as_centroids(torch: Any, whole: np.ndarray) -> None:
    kmeans = FastKMeans(6, 9)
    kmeans.centroids = whole[:9]
    expected = kmeans.predict(whole).tolist()
    for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
        kmeans.centroids = torch.from_numpy(whole[:9]).to(dtype)
        assert kmeans.predict(whole).tolist() == expected
    assert FastKMeans(6, 9, init=kmeans.centroids).fit(whole).n_used_ == 300


def test_lists_of_tensors_that_numpy_cannot_read(torch: Any) -> None:
    said = r"^data must be a matrix, given a list whose entries are no arrays for numpy .*torch\.stack"
    for row in (torch.zeros(6, requires_grad=True), torch.zeros(6, dtype=torch.bfloat16)):
        with pytest.raises(TypeError, match=said):
            FastKMeans(6, 1).fit([row, row])
    assert FastKMeans(6, 1).fit([torch.zeros(6), torch.ones(6)]).n_used_ == 2


def test_tensors_that_cannot_be_read(torch: Any) -> None:
    kmeans = FastKMeans(6, 2)
    with pytest.raises(
        TypeError, match=r"^data must be a dense tensor, given layout torch.sparse_coo; .*\.to_dense\(\)"
    ):
        kmeans.fit(torch.zeros(9, 6).to_sparse())
    for layout in (torch.strided, torch.jagged):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a prototype, torch says
            nested = torch.nested.nested_tensor([torch.zeros(2, 6), torch.zeros(7, 6)], layout=layout)
        with pytest.raises(TypeError, match=r"^data must be a dense tensor, given a nested one; torch\.cat"):
            kmeans.fit(nested)
        assert kmeans.fit(torch.cat(nested.unbind()) + torch.arange(9)[:, None]).n_used_ == 9
    with pytest.raises(TypeError, match=r"given torch.complex64"):
        kmeans.fit(torch.zeros(9, 6, dtype=torch.complex64))
    with pytest.raises(TypeError, match=r"given torch.float8_e4m3fn"):
        kmeans.fit(torch.zeros(9, 6).to(torch.float8_e4m3fn))
    with pytest.raises(ValueError, match="meta"):
        kmeans.fit(torch.zeros(9, 6, device="meta"))
    with pytest.raises(ValueError, match=r"^data must have d = 6 columns, given 5"):
        kmeans.fit(torch.zeros(9, 5))
    with pytest.raises(ValueError, match=r"given 1 dimensions, shape \(9,\)"):
        kmeans.fit(torch.zeros(9, dtype=torch.bfloat16))


def test_the_caller_s_denormal_setting_is_kept(torch: Any, whole: np.ndarray) -> None:
    tiny = torch.tensor([1e-40])
    try:
        for flush in (True, False):
            if not torch.set_flush_denormal(flush):
                pytest.skip("this CPU cannot flush denormals")
            assert outcome(whole * 1e-41) == outcome((whole * 1e-41).astype(np.float64))
            assert bool((tiny * 1).item() == 0) is flush
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize("isa", ISAS)
def test_a_callback_may_change_the_denormal_setting(isa: str, torch: Any, rng: np.random.Generator) -> None:
    """It changes no bit of the fit, and the setting is in force afterwards."""
    if not torch.set_flush_denormal(False):
        pytest.skip("this CPU cannot flush denormals")
    x = np.ldexp(rng.normal(size=(400, 4)), -73).astype(np.float32)  # squares and shifts below 2^-126
    x[0] = 2.0**-30

    def fit(callback: Any) -> tuple[bytes, bytes, float | None, list[Any]]:
        km = FastKMeans(4, 8, niter=6, tol=-1, callback=callback).fit(x)
        return (
            km.centroids.tobytes(),
            km.labels_.tobytes(),
            km.inertia_,
            [s._replace(seconds=0) for s in km.iteration_stats],
        )

    with forced(isa):
        plain = fit(lambda stats: False)
        try:
            assert fit(lambda stats: not torch.set_flush_denormal(True)) == plain
            assert (torch.tensor([1e-40]) * 1).item() == 0
        finally:
            torch.set_flush_denormal(False)
