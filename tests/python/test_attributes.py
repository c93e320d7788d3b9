# SPDX-License-Identifier: Apache-2.0
"""Attributes that are set, what the object holds after a fit or a failure, and who shares memory with whom."""

from __future__ import annotations

import copy
import pickle
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import datasets
import fake_cupy
import numpy as np
import pytest
from fastkmeans import FastKMeans, IterationStats, SubsampledWarning
from fastkmeans._device_input import DeviceMatrix
from fastkmeans._device_results import OnDevice, Room, results_room

COPIES = [copy.copy, copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))]
FOUND = ("labels_", "inertia_", "n_iter_", "converged_", "timed_out_", "n_used_", "n_zero_", "iteration_stats")
METHODS = ["train", "fit", "fit_predict"]


# The device


def test_the_device_may_be_set(x: np.ndarray) -> None:
    kmeans = FastKMeans(7, 5)
    for device in ("cpu", "cpu:0", None):
        kmeans.device = device
        assert str(kmeans.device) == "cpu" or (device is None and datasets.HAS_GPU)
        assert kmeans.fit(x).n_used_ == 400


@pytest.mark.parametrize("device", ["gpu", "cuda:99", 99, "mps", "xpu", -1, 1.5, True])
def test_a_device_that_is_set_is_checked_as_in_the_constructor(device: Any, x: np.ndarray) -> None:
    kmeans = FastKMeans(7, 5, device="cpu")
    with pytest.raises((ValueError, TypeError, RuntimeError, NotImplementedError)) as expected:
        FastKMeans(7, 5, device=device)
    with pytest.raises(expected.type) as error:
        kmeans.device = device
    assert str(error.value) == str(expected.value)
    assert str(kmeans.device) == "cpu"
    kmeans.fit(x)


def test_gpu_may_be_set(x: np.ndarray) -> None:
    kmeans = FastKMeans(7, 5, gpu=False, device="cuda")
    kmeans.device = "cuda:99"
    assert str(kmeans.device) == "cpu"
    kmeans.fit(x)
    kmeans.gpu = True
    for use in (lambda: kmeans.device, lambda: kmeans.fit(x), lambda: kmeans.predict(x)):
        with pytest.raises(RuntimeError, match=r"CUDA.*cuda:99"):
            use()
    kmeans.gpu = False
    assert kmeans.fit_predict(x).tolist() == kmeans.labels_.tolist()


def test_a_torch_device_may_be_set() -> None:
    torch = pytest.importorskip("torch")
    kmeans = FastKMeans(7, 5)
    kmeans.device = torch.device("cpu")
    assert kmeans.device == torch.device("cpu")
    with pytest.raises(RuntimeError, match="CUDA"):
        kmeans.device = torch.device("cuda", 99)


@pytest.mark.parametrize("again", COPIES)
def test_copies_keep_the_device_that_was_set(again: Any) -> None:
    kmeans = FastKMeans(7, 5, gpu=False)
    kmeans.device = "cuda:99"
    other = again(kmeans)
    assert str(other.device) == "cpu"
    other.gpu = True
    with pytest.raises(RuntimeError, match=r"cuda:99"):
        _ = other.device


# What a failure leaves


def held(kmeans: FastKMeans) -> dict[str, Any]:
    state = {name: getattr(kmeans, name) for name in FOUND}
    return copy.deepcopy({**state, "centroids": kmeans.centroids, "device": kmeans.centroids_device})


def assert_same(left: Any, right: Any) -> None:
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert type(value) is type(right[name]), name
        np.testing.assert_equal(np.asarray(value), np.asarray(right[name]), name)


def raising(error: BaseException) -> Any:
    def callback(stats: IterationStats) -> None:
        if stats.iteration == 1:
            raise error

    return callback


@pytest.mark.parametrize("former", ["untrained", "trained", "fitted", "assigned"])
@pytest.mark.parametrize("method", METHODS)
def test_a_fit_that_fails_leaves_what_was_held(method: str, former: str, x: np.ndarray) -> None:
    other = x[::-1] * 2
    kmeans = FastKMeans(7, 5, niter=3, tol=-1)
    if former == "assigned":
        kmeans.centroids = x[:5]
    elif former != "untrained":
        getattr(kmeans, {"trained": "train", "fitted": "fit"}[former])(x)
    before = held(kmeans)
    spoiled = other.copy()
    spoiled[3] = np.nan

    failures: list[tuple[type[BaseException], Any, dict[str, Any]]] = [
        (ValueError, other[:2], {}),
        (ValueError, other[:, :6], {}),
        (ValueError, other[:0], {}),
        (ValueError, spoiled, {}),
        (TypeError, None, {}),
        (TypeError, other.astype(complex), {}),
        (ValueError, other, {"k": 0}),
        (TypeError, other, {"niter": "3"}),
        (ValueError, other, {"init": other[:4]}),
        (ZeroDivisionError, other, {"callback": raising(ZeroDivisionError())}),
        (KeyboardInterrupt, other, {"callback": raising(KeyboardInterrupt())}),
        (SubsampledWarning, other, {"max_points_per_centroid": 20}),
    ]
    for error, data, changes in failures:
        given = {name: getattr(kmeans, name) for name in changes}
        vars(kmeans).update(changes)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(error):
                getattr(kmeans, method)(data)
        vars(kmeans).update(given)
        assert_same(held(kmeans), before)
    if former == "untrained":
        with pytest.raises(RuntimeError, match="before predict"):
            kmeans.predict(x)
    else:
        kmeans.predict(x)


def test_a_failed_fit_leaves_the_kind_of_array_of_the_former(x: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    kmeans = FastKMeans(7, 5).fit(torch.from_numpy(x))
    with pytest.raises(ValueError, match="less than k"):
        kmeans.fit(x[:2])
    assert isinstance(kmeans.centroids_device, torch.Tensor)


def test_during_a_fit_the_former_centroids_are_there(x: np.ndarray) -> None:
    seen = []
    kmeans = FastKMeans(7, 5, callback=lambda stats: seen.append(kmeans.centroids))
    kmeans.centroids = former = x[:5]
    kmeans.fit(x)
    assert seen
    assert all(centroids is former for centroids in seen)


def test_assigned_centroids_end_what_was_found(x: np.ndarray) -> None:
    kmeans = FastKMeans(7, 5).fit(x)
    kmeans.centroids /= 2
    assert [getattr(kmeans, name) for name in FOUND] == [None] * len(FOUND)
    assert kmeans.centroids_device is kmeans.centroids


# Results on a device


@pytest.fixture
def on_device_3(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What puts an array on device 3 of a cupy in host memory."""
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy)

    def put(values: np.ndarray) -> OnDevice:
        with fake_cupy.cuda.Device(3):
            return OnDevice(fake_cupy.ndarray(values))

    return put


def test_results_on_a_device_come_to_the_host_when_they_are_asked_for(x: np.ndarray, on_device_3: Any) -> None:
    kmeans = FastKMeans(7, 5).fit(x)
    expected, centroids, labels = held(kmeans), kmeans.centroids, kmeans.labels_
    for again in COPIES:
        vars(kmeans).update(_centroids=on_device_3(centroids), _labels=on_device_3(labels))
        assert_same(held(again(kmeans)), expected)
    vars(kmeans).update(_centroids=on_device_3(centroids), _labels=on_device_3(labels), _home="cupy:3")
    fake_cupy.synchronized.clear()
    for _ in range(2):  # a copy each time
        there = kmeans.centroids_device
        assert (there.device.id, there.values.tobytes()) == (3, centroids.tobytes())
        there.values[:] = 99
    assert fake_cupy.synchronized == [7003, 7003]
    assert kmeans.predict(x).tolist() == labels.tolist()
    assert kmeans.centroids is kmeans.centroids
    kmeans.centroids[0] = 5
    assert kmeans.centroids_device.values[0].tolist() == [5] * 7
    assert kmeans.labels_ is kmeans.labels_
    assert kmeans.labels_.tobytes() == labels.tobytes()
    kmeans.labels_ = None
    assert kmeans.labels_ is None


@pytest.mark.parametrize("labels", [True, False])
def test_room_for_results_is_a_small_part_of_what_is_free(labels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy)
    matrix = DeviceMatrix(8, (1 << 22, 16), (64, 4), 3, 0, None)
    wanted = 8 * (4 * 1000 * 16 + 8 * (1 << 22) * labels)
    for short in (0, 1):
        monkeypatch.setattr(fake_cupy, "free", [wanted - short, 1 << 40])
        room = results_room(matrix, "cupy:3", 1000, labels)
        assert (room == Room()) == bool(short and labels)  # what is small in any case has room
        if room != Room():
            assert (room.centroids.device.id, room.centroids.shape, room.centroids.dtype) == (3, (1000, 16), np.float32)
            assert room.addresses["device_centroids"] == room.centroids.data.ptr
            assert room.addresses["device_labels"] == (room.labels.data.ptr if labels else 0)
    for home, its in ((None, matrix), ("cupy:2", matrix), ("cupy:3", np.zeros((3, 4)))):
        assert results_room(its, home, 2, labels) == Room()


@pytest.mark.parametrize("name", ["centroids", "labels_"])
def test_a_copy_to_the_host_does_not_outlive_a_new_fit(name: str, x: np.ndarray, on_device_3: Any) -> None:
    kmeans = FastKMeans(7, 5).fit(x)
    former = on_device_3(getattr(kmeans, name))
    begun, go_on = threading.Event(), threading.Event()

    class Slow:
        def get(self) -> np.ndarray:
            begun.set()
            assert go_on.wait(60)
            return np.zeros(1)

    former._there = Slow()
    vars(kmeans)[{"centroids": "_centroids", "labels_": "_labels"}[name]] = former
    reader = threading.Thread(target=lambda: getattr(kmeans, name))
    reader.start()
    assert begun.wait(60)
    kmeans.fit(x[:100] + 10)
    go_on.set()
    reader.join()
    others = {"iteration_stats": None}  # which have times
    assert_same(held(kmeans) | others, held(FastKMeans(7, 5).fit(x[:100] + 10)) | others)


def test_subclasses_with_slots_or_properties_of_their_own_are_copied(x: np.ndarray, on_device_3: Any) -> None:
    for again in COPIES:
        kmeans = Doubled(7, 5).fit(x)
        kmeans.extra = 8
        vars(kmeans)["_centroids"] = on_device_3(FastKMeans(7, 5).fit(x).centroids)
        other = again(kmeans)
        assert other.extra == 8
        assert other.centroids.tobytes() == (2 * FastKMeans(7, 5).fit(x).centroids).tobytes()


class Doubled(FastKMeans):
    __slots__ = ("extra",)

    @property
    def centroids(self) -> Any:
        return 2 * super().centroids


# init


def test_init_is_copied(x: np.ndarray) -> None:
    expected = FastKMeans(7, 5, niter=1, init=x[:5]).fit(x).centroids.tobytes()
    start = x[:5].copy()
    kmeans = FastKMeans(7, 5, niter=1, init=start)
    start[:] = 0
    for again in (lambda o: o, *COPIES):
        assert again(kmeans).fit(x).centroids.tobytes() == expected


def kinds_of_init(rows: np.ndarray) -> Iterator[Any]:
    frozen = rows.copy()
    frozen.flags.writeable = False
    yield from (frozen, np.asfortranarray(rows), rows.tolist(), memoryview(rows), rows.astype(">f4"))
    yield from (rows.astype(np.float64), rows.astype(np.int16), np.repeat(rows, 2, axis=1)[:, ::2])
    if ml_dtypes := sys.modules.get("ml_dtypes"):
        yield rows.astype(ml_dtypes.bfloat16)
    if torch := sys.modules.get("torch"):
        tensor = torch.from_numpy(rows.copy())
        with torch.inference_mode():
            inference = tensor * 1
        yield from (tensor, tensor.bfloat16(), tensor.half(), tensor.clone().requires_grad_() * 1, inference)


def test_every_kind_of_init_is_copied(x: np.ndarray) -> None:
    for optional in ("ml_dtypes", "torch"):
        try:
            __import__(optional)
        except ImportError:
            continue
    rows = np.round(x[:5])  # exact in every dtype
    expected = FastKMeans(7, 5, niter=1, init=rows).fit(x).centroids.tobytes()
    for init in kinds_of_init(rows):
        kmeans = FastKMeans(7, 5, niter=1, init=init)
        assert isinstance(kmeans.init, np.ndarray)
        assert kmeans.init.tolist() == rows.tolist()
        for again in (lambda o: o, *COPIES):
            assert again(kmeans).fit(x).centroids.tobytes() == expected


def test_init_may_be_set_later(x: np.ndarray) -> None:
    kmeans = FastKMeans(7, 5, niter=1)
    kmeans.init = x[:5]
    assert kmeans.fit(x).centroids.tobytes() == FastKMeans(7, 5, niter=1, init=x[:5]).fit(x).centroids.tobytes()
    kmeans.init = "random"
    assert kmeans.fit(x).centroids.tobytes() == FastKMeans(7, 5, niter=1).fit(x).centroids.tobytes()
    kmeans.init = x[:4]
    with pytest.raises(ValueError, match="init must have k = 5 rows, given 4"):
        kmeans.fit(x)


# Memory of one's own


def test_labels_handed_out_are_not_those_kept(x: np.ndarray) -> None:
    kmeans = FastKMeans(7, 5)
    labels = kmeans.fit_predict(x)
    labels[:] = 99
    assert kmeans.labels_.tolist() == FastKMeans(7, 5).fit(x).labels_.tolist()


def test_tensors_of_labels_handed_out_are_not_those_kept(x: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    kmeans = FastKMeans(7, 5)
    labels = kmeans.fit_predict(torch.from_numpy(x))
    labels.fill_(99)
    assert kmeans.labels_.tolist() == FastKMeans(7, 5).fit(x).labels_.tolist()


# No rows


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int8", "bool"])
def test_no_rows_have_no_labels(dtype: str, x: np.ndarray) -> None:
    kmeans = FastKMeans(7, 5).fit(x)
    labels = kmeans.predict(np.empty((0, 7), dtype))
    assert (type(labels), labels.dtype, labels.shape) == (np.ndarray, np.int64, (0,))
    assert kmeans.predict(x[:0, ::-1]).shape == (0,)
    with pytest.raises(ValueError, match=r"^data must have d = 7 columns, given 6"):
        kmeans.predict(np.empty((0, 6), dtype))
    for method in METHODS:
        with pytest.raises(ValueError, match=r"^data is empty"):
            getattr(kmeans, method)(np.empty((0, 7), dtype))


def test_no_rows_of_a_tensor(x: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    from fastkmeans.triton_kernels import triton_kmeans

    kmeans = FastKMeans(7, 5).fit(x)
    for dtype in (torch.float32, torch.bfloat16, torch.int64):
        labels = kmeans.predict(torch.empty(0, 7, dtype=dtype))
        assert (type(labels), labels.dtype, labels.shape) == (torch.Tensor, torch.int64, (0,))
    with pytest.raises(ValueError, match=r"^data must have d = 7 columns, given 6"):
        kmeans.predict(torch.empty(0, 6))
    triton_kmeans(torch.empty(0, 7), None, torch.from_numpy(x[:5]), None, torch.empty(0, dtype=torch.int64))


def test_no_rows_of_cupy(x: np.ndarray, cupy: Any) -> None:
    kmeans = FastKMeans(7, 5, gpu=False).fit(x)
    labels = kmeans.predict(cupy.array(x[:0]))
    assert isinstance(labels, cupy.ndarray)
    assert (labels.values.dtype, labels.values.shape) == (np.int64, (0,))


def test_repr_is_a_call_with_what_is_not_default() -> None:
    assert repr(FastKMeans(8, 3)) == "FastKMeans(d=8, k=3)"
    km = FastKMeans(8, 3, niter=5, device="cpu", init=np.zeros((3, 8)), use_triton=True)
    assert repr(km) == "FastKMeans(d=8, k=3, niter=5, device='cpu', init=<array of shape (3, 8)>)"

    class Mine(FastKMeans):
        def __init__(self, k: int) -> None:
            super().__init__(4, k)

    assert repr(Mine(2)) == "Mine(d=4, k=2)"
