# SPDX-License-Identifier: Apache-2.0
"""Rows that lie on a CUDA device: tensors and arrays of cupy, read in place, in the caller's stream."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
from fastkmeans import FastKMeans, _device_input, _device_results, _input, fit_batch
from test_cuda import check, on_cpu, on_gpu

pytestmark = [*datasets.on_gpu, pytest.mark.filterwarnings("ignore::UserWarning")]

FLOATS = ["float32", "float64", "float16", "bfloat16"]
OTHERS = ["int8", "uint8", "int16", "int32", "int64", "bool"]


@pytest.fixture
def real_cupy() -> Any:
    return pytest.importorskip("cupy")


def rows(n: int = 3_001, d: int = 40) -> np.ndarray:
    return datasets.make("blobs", "f4", n, d, 2)


def strided(t: Any, empty: Callable[..., Any]) -> Any:
    """The same values with gaps between rows and between columns, not at the beginning of the memory."""
    n, d = t.shape
    room = empty((2 * n + 1, 3 * d + 1))
    view = room[1::2, 1::3]
    view[...] = t
    return view


def tensor_layouts(torch: Any, t: Any) -> dict[str, Any]:
    empty = lambda shape: torch.full(shape, 9, dtype=t.dtype, device=t.device)  # noqa: E731
    return {
        "C": t,
        "Fortran": t.T.contiguous().T,
        "strided": strided(t, empty),
        "offset": torch.cat([t[:1], t])[1:],
        "narrow": torch.cat([t, t], dim=1)[:, : t.shape[1]],
        "expanded": t[:1].expand(5, -1),
    }


# torch


@pytest.mark.parametrize("options", [{}, {"init": "k-means++"}, {"spherical": True, "int_centroids": True}])
@pytest.mark.parametrize("most", [None, 20])
def test_weights_and_options(most: int | None, options: Any, torch: Any) -> None:
    x = rows()
    weights = np.random.default_rng(0).random(len(x)) * (np.arange(len(x)) % 5 > 0)
    options = {"niter": 4, "max_points_per_centroid": most, **options}
    expected = FastKMeans(40, 50, gpu=False, **options).fit(x, weights=weights)
    t = torch.from_numpy(x).to("cuda")
    for given in (weights, torch.from_numpy(weights).to("cuda")):
        found = FastKMeans(40, 50, device="cuda", **options).fit(t, weights=given)
        assert found.iteration_stats[0].isa.startswith("cuda")
        assert np.array_equal(found.centroids, expected.centroids)
        assert np.array_equal(found.labels_, expected.labels_)
        assert found.inertia_ == expected.inertia_
        distances, labels = found.assign(t)
        assert distances.device == labels.device == t.device
        assert np.array_equal(labels.cpu().numpy(), expected.labels_)


@pytest.mark.parametrize("dtype", [*FLOATS, *OTHERS])
def test_tensors_of_every_dtype_and_layout(dtype: str, torch: Any) -> None:
    t = torch.from_numpy(rows()).to("cuda", getattr(torch, dtype))
    for name, tensor in tensor_layouts(torch, t).items():
        read = _input.read(tensor, 40, device="cuda").array
        assert isinstance(read, _device_input.DeviceMatrix)
        assert read.address == tensor.data_ptr(), name
        k = min(len(tensor), 50)
        before = tensor.clone()
        found, truth = on_gpu(tensor, k, niter=4), on_cpu(tensor.cpu(), k, niter=4)
        assert found == truth, name
        assert torch.equal(tensor, before)


@pytest.mark.parametrize("search", ["none", "low_dim", "int8"])
@pytest.mark.parametrize("d", [1, 5, 33, 128, 300])
@pytest.mark.parametrize("dtype", FLOATS)
def test_filters_on_tensors(dtype: str, d: int, search: str, torch: Any) -> None:
    tensor = torch.from_numpy(rows(5_003, d)).to("cuda", getattr(torch, dtype))
    assert on_gpu(tensor, 129, search, niter=4) == on_cpu(tensor.cpu(), 129, niter=4)


def test_kinds_of_arrays_that_come_back(torch: Any) -> None:
    x = rows()
    tensor = torch.from_numpy(x).cuda()
    for device in (None, "cuda", tensor.device, 0):
        km = FastKMeans(40, 50, niter=4, device=device)
        labels = km.fit_predict(tensor)
        assert (labels.device, labels.dtype, tuple(labels.shape)) == (tensor.device, torch.int64, (len(x),))
        assert labels.tolist() == km.labels_.tolist() == km.predict(tensor).tolist() == km.predict(x).tolist()
        assert isinstance(km.labels_, np.ndarray)
        assert isinstance(km.centroids, np.ndarray)
        assert km.predict(tensor).device == tensor.device
        assert isinstance(km.predict(x), np.ndarray)
        assert km.predict(torch.from_numpy(x)).device.type == "cpu"
        assert km.centroids_device.device == tensor.device
        assert km.centroids_device.cpu().numpy().tobytes() == km.centroids.tobytes()
        assert km.predict(tensor[:0]).shape == (0,)
        for other in (copy.deepcopy(km), pickle.loads(pickle.dumps(km))):
            assert other.centroids_device.device == tensor.device


def test_results_stay_on_the_device_until_they_are_asked_for(torch: Any) -> None:
    x = rows()
    tensor = torch.from_numpy(x).cuda()
    expected = FastKMeans(40, 50, niter=4, gpu=False).fit(x)
    km = FastKMeans(40, 50, niter=4)
    labels, there = km.fit_predict(tensor), km.centroids_device
    assert (there.device, there.dtype, tuple(there.shape)) == (tensor.device, torch.float32, (50, 40))
    assert there.cpu().numpy().tobytes() == expected.centroids.tobytes()
    assert all(vars(km)[name]._here is None for name in ("_centroids", "_labels"))
    labels[:] = there[:] = 99  # the caller's own
    assert km.labels_.tobytes() == expected.labels_.tobytes()
    assert km.centroids.tobytes() == expected.centroids.tobytes()
    assert all(vars(km)[name]._there is None for name in ("_centroids", "_labels"))
    km.centroids[0] = 5  # on the host from now on
    assert km.centroids_device[0].tolist() == [5] * 40
    for again in (copy.copy, copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))):
        assert datasets.result(again(km.fit(tensor))) == datasets.result(expected)
    with torch.inference_mode():
        km.fit(tensor)
    assert not km.centroids_device.is_inference()


def test_results_come_to_the_host_where_the_device_has_no_memory_for_them(
    torch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensor = torch.from_numpy(rows()).cuda()
    expected = on_cpu(rows(), 50, niter=4)
    limited = FastKMeans(40, 50, niter=4, memory_limit=1 << 30)
    limited.fit(tensor)
    assert isinstance(vars(limited)["_centroids"], np.ndarray)
    assert datasets.result(limited) == expected

    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    for name in ("_free_memory", "_array"):
        with monkeypatch.context() as patch:
            patch.setattr(_device_results, name, full)
            patch.setattr(_device_results, "_SMALL", 0)
            km = FastKMeans(40, 50, niter=4)
            assert km.fit_predict(tensor).device == tensor.device
            assert isinstance(vars(km)["_centroids"], np.ndarray)
            assert datasets.result(km) == expected
    monkeypatch.setattr(_device_results, "_array", full)
    assert fit_batch(tensor[None], 5, niter=4).centroids.device == tensor.device


@pytest.mark.parametrize("place", [{"gpu": False}, {"device": "cpu"}])
def test_tensors_on_a_device_for_the_cpu(place: dict[str, Any], torch: Any) -> None:
    tensor = torch.from_numpy(rows()).cuda()
    km = FastKMeans(40, 50, niter=4, **place)
    assert km.fit_predict(tensor).device == tensor.device
    assert not any(stats.isa.startswith("cuda") for stats in km.iteration_stats)
    assert datasets.result(km) == on_cpu(rows(), 50, niter=4)


def test_tensors_that_torch_treats_apart(torch: Any) -> None:
    x = rows()
    truth = on_cpu(x, 50, niter=4)
    wanting = torch.from_numpy(x).cuda().requires_grad_()
    assert on_gpu(wanting, 50, niter=4) == truth
    assert on_gpu(torch.nn.Parameter(wanting.detach()), 50, niter=4) == truth
    with torch.inference_mode():
        inference = torch.from_numpy(x).cuda() * 1
        assert on_gpu(inference, 50, niter=4) == truth
    assert on_gpu(inference, 50, niter=4) == truth
    lazy = torch.complex(torch.zeros_like(inference), -inference.clone()).conj().imag
    assert lazy.is_neg()
    assert on_gpu(lazy, 50, niter=4) == truth


def test_centroids_and_initial_centroids_as_tensors(torch: Any) -> None:
    x = rows()
    tensor = torch.from_numpy(x).cuda()
    init = tensor[:50] * 2
    assert on_gpu(tensor, 50, init=init, niter=4) == on_cpu(x, 50, init=x[:50] * 2, niter=4)
    km = FastKMeans(40, 50, device="cuda")
    for dtype in FLOATS:
        km.centroids = init.to(getattr(torch, dtype))
        cpu = FastKMeans(40, 50, gpu=False)
        cpu.centroids = km.centroids.cpu()
        assert km.predict(tensor).tolist() == km.predict(x).tolist() == cpu.predict(x).tolist()


def test_data_are_read_after_what_the_current_stream_was_given(torch: Any) -> None:
    """The rows are written late, by a stream that is not the default one."""
    x = rows(20_003)
    truth = on_cpu(x, 50, niter=4)
    source = torch.from_numpy(x).cuda()
    for _ in range(3):
        tensor = torch.full_like(source, torch.nan)
        torch.cuda.synchronize()
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            torch.cuda._sleep(100_000_000)  # 50 ms or so
            tensor.copy_(source)
            assert on_gpu(tensor, 50, niter=4) == truth
            assert torch.cuda.current_stream() == stream


def test_fits_in_several_streams_at_once(torch: Any) -> None:
    x = rows(20_003)
    truth, failures = on_cpu(x, 50, niter=4), []
    source = torch.from_numpy(x).cuda()

    def fit() -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            for _ in range(4):
                tensor = torch.full_like(source, torch.nan)
                torch.cuda._sleep(10_000_000)
                tensor.copy_(source)
                if on_gpu(tensor, 50, niter=4) != truth:
                    failures.append(threading.current_thread().name)

    torch.cuda.synchronize()
    threads = [threading.Thread(target=fit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_rows_that_nobody_else_holds_are_kept_while_they_are_read(torch: Any) -> None:
    x = rows(50_003)
    truth = on_cpu(x, 50, niter=4)
    for _ in range(3):
        assert on_gpu(torch.from_numpy(x).cuda().double(), 50, niter=4) == truth


@pytest.mark.parametrize("limit", [2 << 20, 64 << 20, 0.5])
def test_limits_of_memory_with_rows_on_the_device(limit: Any, torch: Any) -> None:
    x = rows(60_011)
    truth = on_cpu(x, 50, niter=4, max_points_per_centroid=None)
    tensor = torch.from_numpy(x).cuda()
    params: dict[str, Any] = {"niter": 4, "max_points_per_centroid": None, "memory_limit": limit}
    assert on_gpu(tensor, 50, **params) == on_gpu(x, 50, **params) == truth


def test_subsamples_and_runs_of_tensors(torch: Any) -> None:
    x = rows(20_003)
    params: dict[str, Any] = {"niter": 4, "nredo": 3, "max_points_per_centroid": 64}
    assert on_gpu(torch.from_numpy(x).cuda(), 50, **params) == on_cpu(x, 50, **params)
    assert on_gpu(torch.from_numpy(x).cuda().T.contiguous().T, 50, **params) == on_cpu(x, 50, **params)


def test_the_current_device_is_the_caller_s(torch: Any) -> None:
    last = torch.cuda.device_count() - 1
    x = rows()
    truth = on_cpu(x, 50, niter=4)
    for current in {0, last}:
        with torch.cuda.device(current):
            for number in {0, last}:
                name = f"cuda:{number}"
                assert on_gpu(x, 50, device=name, niter=4) == truth
                assert on_gpu(torch.from_numpy(x).to(name), 50, device="cuda", niter=4) == truth
                assert on_gpu(torch.from_numpy(x).to(name), 50, device=f"cuda:{last - number}", niter=4) == truth
                km = FastKMeans(40, 50, niter=4).fit(torch.from_numpy(x).to(name))
                assert km.predict(torch.from_numpy(x).to(name)).device == torch.device(name)
                assert datasets.result(km) == truth
                assert torch.cuda.current_device() == current
    with pytest.raises(RuntimeError, match="CUDA"):
        FastKMeans(40, 50, device=torch.device("cuda", last + 1))


@pytest.mark.parametrize("method", ["train", "fit", "predict"])
def test_bad_tensors_are_the_errors_of_the_cpu(method: str, torch: Any) -> None:
    good = torch.from_numpy(rows())
    bad: dict[str, Any] = {}
    for name, value in {"nan": torch.nan, "inf": torch.inf, "-inf": -torch.inf, "2^56": 2.0**56}.items():
        bad[name] = good.clone()
        bad[name][[7, 2000], [39, 0]] = value
    bad["half"] = bad["inf"].half()
    bad |= {"d": good[:, :39], "1-d": good[0], "3-d": good[None], "complex": good.cfloat()}
    if method != "predict":
        bad |= {"empty": good[:0], "few": good[:2]}
    for name, tensor in bad.items():
        texts = []
        for km, data in ((FastKMeans(40, 50, gpu=False), tensor), (FastKMeans(40, 50, device="cuda"), tensor.cuda())):
            km.centroids = good[:50]
            with pytest.raises((ValueError, TypeError)) as error:
                getattr(km, method)(data)
            texts.append((error.type, str(error.value)))
        assert texts[0] == texts[1], name
    assert on_gpu(good.cuda(), 50, niter=2) == on_cpu(good, 50, niter=2)


def test_triton_kmeans_wants_one_device(torch: Any) -> None:
    from fastkmeans.triton_kernels import triton_kmeans

    x, c, ids = torch.zeros(9, 6).cuda(), torch.zeros(3, 6).cuda(), torch.zeros(9, dtype=torch.int64).cuda()
    for wrong in ((x, c.cpu(), ids), (x, c, ids.cpu()), (x.cpu(), c, ids)):
        with pytest.raises(RuntimeError, match=r"^(centroids|best_ids) is on '(cpu|cuda:0)'.*CUDA"):
            triton_kmeans(wrong[0], None, wrong[1], None, wrong[2])
    with pytest.raises(ValueError, match=r"^best_ids must have shape \(9,\), given \(8,\)"):
        triton_kmeans(x, None, c, None, ids[:8])
    every_other = torch.full((18,), 5, dtype=torch.int64).cuda()
    triton_kmeans(x, None, c, None, every_other[::2])
    assert every_other.tolist() == [0, 5] * 9


@pytest.mark.parametrize("interface", ["dlpack", "cuda_array"])
def test_arrays_of_other_libraries(interface: str, torch: Any) -> None:
    tensor = torch.from_numpy(rows()).cuda()
    if interface == "dlpack":
        other: Any = type("Other", (), {"__dlpack__": lambda self, **kw: tensor.__dlpack__(**kw),
                                   "__dlpack_device__": lambda self: tensor.__dlpack_device__()})()  # fmt: skip
    else:
        other = SimpleNamespace(__cuda_array_interface__=tensor.__cuda_array_interface__, shape=tensor.shape)
    assert _input.read(other, 40, device="cuda").array.address == tensor.data_ptr()
    km = FastKMeans(40, 50, device="cuda", niter=4)
    assert isinstance(km.fit_predict(other), np.ndarray)
    assert datasets.result(km) == on_cpu(rows(), 50, niter=4)


# cupy


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i1", "u1", "i4", "i8", "?"])
def test_cupy_arrays_of_every_dtype_and_layout(dtype: str, real_cupy: Any) -> None:
    a = real_cupy.asarray(rows().astype(dtype))
    reverse = real_cupy.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1]
    room = strided(a, lambda shape: real_cupy.full(shape, 9, a.dtype))
    for array in (a, real_cupy.asfortranarray(a), reverse, room, real_cupy.concatenate([a, a], axis=1)[:, 3:43]):
        read = _input.read(array, 40, device="cuda").array
        assert (read.address, read.strides) == (array.data.ptr, array.strides)
        assert on_gpu(array, 50, niter=4) == on_cpu(array.get(), 50, niter=4)


def test_cupy_arrays_come_back(real_cupy: Any) -> None:
    x = rows()
    array = real_cupy.asarray(x)
    with real_cupy.cuda.Stream(non_blocking=True):
        late = real_cupy.zeros_like(array)
        late[...] = array
        km = FastKMeans(40, 50, device="cuda", niter=4)
        labels = km.fit_predict(late)
    assert isinstance(labels, real_cupy.ndarray)
    assert labels.get().tolist() == km.labels_.tolist() == km.predict(x).tolist()
    assert isinstance(km.predict(array), real_cupy.ndarray)
    assert isinstance(km.centroids_device, real_cupy.ndarray)
    assert datasets.result(km) == on_cpu(x, 50, niter=4)
    assert FastKMeans(40, 50, gpu=False, niter=4).fit_predict(array).get().tolist() == labels.get().tolist()


def test_cupy_bfloat16(real_cupy: Any) -> None:
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    x = rows().astype(bfloat16)
    try:
        array = real_cupy.asarray(x)
    except (TypeError, ValueError) as error:
        pytest.skip(f"this cupy has no bfloat16: {error}")
    assert on_gpu(array, 50, niter=4) == on_cpu(x, 50, niter=4)


def test_cupy_bad_values(real_cupy: Any) -> None:
    x = rows()
    x[5, 3] = np.nan
    with pytest.raises(ValueError, match="row 5") as expected:
        FastKMeans(40, 50, gpu=False).fit(x)
    with pytest.raises(ValueError, match="row 5") as error:
        FastKMeans(40, 50, device="cuda").fit(real_cupy.asarray(x))
    assert str(error.value) == str(expected.value)
    check(rows(), 50, niter=2)
