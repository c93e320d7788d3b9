# SPDX-License-Identifier: Apache-2.0
"""metric="inner_product": a GPU gives the bits of the CPU, which test_inner_product.py compares with the oracle."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import oracle
import pytest
from datasets import DTYPES, KINDS, LAYOUTS
from fastkmeans import FastKMeans, _core, fit_batch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cuda import SEEDS, check, on_cpu, on_gpu, shapes
from test_inner_product import commands_give_the_fit_of_the_cpu

pytestmark = [*datasets.on_gpu, pytest.mark.filterwarnings("ignore::UserWarning")]

PRODUCTS: dict[str, Any] = {"metric": "inner_product", "tol": -1}
FILTERS = ["", "none", "int8"]


def rows(n: int = 3_001, d: int = 40, magnitudes: int = 1, seed: int = 0) -> Any:
    """Rows in a common direction, of lengths that differ by orders of magnitude, two of them zero, two equal."""
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((n, d)) + 0.5) * np.exp(magnitudes * rng.standard_normal((n, 1)))
    x[[0, n // 2]] = 0
    x[-1] = x[1]
    return x.astype(np.float32)


@settings(max_examples=150, deadline=None)
@given(shapes(), st.sampled_from(sorted(KINDS)), st.sampled_from(DTYPES), st.sampled_from(LAYOUTS), SEEDS,
       st.integers(1, 5), st.sampled_from(FILTERS))  # fmt: skip
def test_drawn_fits(
    shape: tuple[int, int, int], kind: str, dtype: str, layout: str, seed: int, niter: int, search: str
) -> None:
    n, k, d = shape
    check(datasets.make(kind, dtype, n, d, seed), k, layout, search, niter=niter, seed=seed, metric="inner_product")


@pytest.mark.parametrize("search", FILTERS)
@pytest.mark.parametrize("magnitudes", [0, 1, 4, 10])
@pytest.mark.parametrize(("n", "k", "d"), [(700, 23, 7), (3_001, 130, 65), (20_003, 1_025, 128), (1_009, 300, 385)])
def test_lengths_that_differ(n: int, k: int, d: int, magnitudes: int, search: str) -> None:
    check(rows(n, d, magnitudes), k, search=search, niter=4, **PRODUCTS)


def test_the_oracle_itself() -> None:
    x = rows(900)
    truth, found = oracle.fit(x, 30, niter=5, products=True), on_gpu(x, 30, niter=5, metric="inner_product")
    assert (found["centroids"], found["labels"]) == (truth.centroids.tobytes(), truth.labels.tolist())
    assert found["inertia"] == truth.inertia.hex()


@pytest.mark.parametrize("search", FILTERS)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_oracle_verifies_assignments(kind: str, search: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTKMEANS_VERIFY", "1")
    check(datasets.make(kind, "f4", 3_007, 40, 2), 90, search=search, niter=3, **PRODUCTS)


@pytest.mark.parametrize("d", [3, 100])
@pytest.mark.parametrize(("search", "runs"), [("", "int8"), ("none", "none"), ("int8", "int8"), ("low_dim", "int8"),
                                              ("int8_lists", "int8"), ("narrow", "int8")])  # fmt: skip
def test_the_filter_that_runs(search: str, runs: str, d: int) -> None:
    """Neither low_dim nor lists of neighbours serve products."""
    with datasets.forced("", search):
        km = FastKMeans(d, 70, device="cuda", niter=4, **PRODUCTS).fit(rows(20_003, d))
    assert {(stats.isa, stats.filter) for stats in km.iteration_stats} == {("cuda", runs)}


def test_large_work_goes_to_the_device() -> None:
    n, d, k = 50_000, 128, 1_000
    x = rows(n, d)
    km = FastKMeans(d, k, niter=3, max_points_per_centroid=None, **PRODUCTS).fit(x)
    assert {(stats.isa, stats.filter) for stats in km.iteration_stats} == {("cuda", "int8")}
    assert km.iteration_stats[2].refined < n * k / 2  # lengths of centroids differ much by then
    assert datasets.result(km) == on_cpu(x, k, niter=3, max_points_per_centroid=None, **PRODUCTS)


@pytest.mark.parametrize("kernel", _core.cuda_kernels())
@pytest.mark.parametrize("d", [7, 64, 130])
def test_every_kernel(kernel: str, d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = rows(5_003, d)
    truth = on_cpu(x, 130, niter=4, **PRODUCTS)
    monkeypatch.setenv("FASTKMEANS_CUDA_KERNEL", kernel)
    try:
        found = on_gpu(x, 130, "int8", niter=4, **PRODUCTS)
    except RuntimeError as error:
        assert kernel in str(error)  # noqa: PT017 (any other error is one)
        pytest.skip(str(error))
    assert found == truth


# The rows take 11.5 MB: streamed in many parts, in few, all at once.
@pytest.mark.parametrize("search", FILTERS)
@pytest.mark.parametrize("limit", [4 << 20, 8 << 20, 64 << 20])
def test_streamed_is_resident(limit: int, search: str) -> None:
    x, params = rows(120_011, 24), {"niter": 4, "max_points_per_centroid": None, **PRODUCTS}
    assert on_gpu(x, 100, search, memory_limit=limit, **params) == on_cpu(x, 100, **params)


@pytest.mark.parametrize("search", FILTERS)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_assign(kind: str, search: str) -> None:
    """Any rows with any centroids, and no rows at all; the products are those of the CPU, and never -0."""
    cpu = FastKMeans(40, 77, gpu=False, metric="inner_product")
    gpu = FastKMeans(40, 77, device="cuda", metric="inner_product")
    cpu.centroids = gpu.centroids = datasets.make(kind, "f4", 77, 40, 3)
    for other in KINDS:
        x = datasets.make(other, "f4", 500, 40, 4)
        products, labels = cpu.assign(x)
        with datasets.forced("", search):
            found, places = gpu.assign(x)
            assert gpu.predict(x[:0]).shape == (0,)
        assert places.tolist() == labels.tolist(), other
        assert found.tobytes() == products.tobytes(), other
        assert not np.signbit(found[found == 0]).any()


@pytest.mark.parametrize("search", FILTERS)
def test_ties_go_to_the_lowest_index(search: str) -> None:
    x = datasets.make("integers", "f4", 5_000, 4, 1)
    km = FastKMeans(4, 200, device="cuda", metric="inner_product")
    km.centroids = np.repeat(x[:50], 4, axis=0)
    with datasets.forced("", search):
        labels = km.predict(x)
    assert labels.tolist() == (x.astype(np.float64) @ km.centroids.astype(np.float64).T).argmax(axis=1).tolist()


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int8", "int32"])
def test_tensors_in_place(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    t = torch.from_numpy(rows() * 8).to("cuda", getattr(torch, dtype))
    for tensor in (t, t.T.contiguous().T, torch.cat([t, t], dim=1)[:, : t.shape[1]]):
        before = tensor.clone()
        for search in FILTERS:
            for device in (None, "cuda"):
                found = on_gpu(tensor, 50, search, device, niter=4, **PRODUCTS)
                assert found == on_cpu(tensor.cpu(), 50, niter=4, **PRODUCTS)
        assert torch.equal(tensor, before)
    km = FastKMeans(40, 50, niter=4, **PRODUCTS).fit(t)
    assert {stats.isa for stats in km.iteration_stats} == {"cuda"}
    products, labels = km.assign(t)
    assert products.device == labels.device == t.device
    expected = FastKMeans(40, 50, niter=4, gpu=False, **PRODUCTS).fit(t.cpu())
    truth, places = expected.assign(t.cpu())
    assert torch.equal(labels.cpu(), places)
    assert torch.equal(products.cpu(), truth)


def test_a_batch() -> None:
    torch = pytest.importorskip("torch")
    data = np.stack([rows(500, seed=seed) for seed in range(3)])
    expected = fit_batch(data, 11, niter=4, device="cpu", metric="inner_product")
    for given_data, device in ((data, "cuda"), (torch.from_numpy(data).cuda(), None)):
        found = fit_batch(given_data, 11, niter=4, device=device, metric="inner_product")
        for name in ("centroids", "labels", "inertia"):
            assert np.array_equal(np.asarray(torch.as_tensor(getattr(found, name)).cpu()), getattr(expected, name)), (
                name
            )


@pytest.mark.usefixtures("folder")
def test_the_command_line() -> None:
    commands_give_the_fit_of_the_cpu("--device", "cuda")
