# SPDX-License-Identifier: Apache-2.0
"""The calls that real programs make, one test for each row of the contract's table of clients."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
from fastkmeans import FastKMeans


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


@pytest.fixture
def tokens(rng: np.random.Generator) -> np.ndarray:
    """Unit vectors in clumps, as token embeddings are: (1500, 48) float32."""
    clumps = rng.normal(size=(40, 48))
    x = clumps[rng.integers(0, 40, size=1500)] + 0.3 * rng.normal(size=(1500, 48))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("use_triton", [None, True, False])
def test_pylate(use_triton: Any, tokens: np.ndarray, torch: Any, capsys: Any) -> None:
    dim, num_partitions = 48, int(2 ** math.floor(math.log2(16 * math.sqrt(16))))
    kmeans = FastKMeans(
        dim,
        num_partitions,
        niter=4,
        gpu=torch.cuda.is_available(),
        verbose=True,
        seed=42,
        max_points_per_centroid=256,
        use_triton=use_triton,
    )
    sample = torch.from_numpy(tokens).float().numpy()
    kmeans.train(sample)
    centroids = torch.from_numpy(kmeans.centroids)
    centroids = torch.nn.functional.normalize(centroids, dim=-1).half()
    assert centroids.shape == (64, 48)
    assert torch.isfinite(centroids).all()


def make_fast_plaid_class(torch: Any) -> type[FastKMeans]:
    from fastkmeans.triton_kernels import triton_kmeans

    class FastPlaidKMeans(FastKMeans):
        """A subclass with its own loop, which reads the base's attributes and may call its kernel."""

        @torch.inference_mode()
        def train(self, data: Any) -> Any:
            torch.manual_seed(self.seed)
            assert isinstance(self.device, torch.device)
            dtype = torch.float32 if self.dtype is None else self.dtype
            if self.device.type == "cuda" and self.pin_gpu_memory:
                data = data.pin_memory()
            assert not self.verbose
            if self.max_points_per_centroid is not None and len(data) > self.k * self.max_points_per_centroid:
                data = data[torch.randperm(len(data))[: self.k * self.max_points_per_centroid]]
            centroids = data[torch.randperm(len(data))[: self.k]].to(self.device, dtype)
            for _ in range(self.niter):
                sums = torch.zeros((self.k, self.d), device=self.device)
                counts = torch.zeros(self.k, device=self.device)
                for start in range(0, len(data), self.chunk_size_data):
                    chunk = data[start : start + self.chunk_size_data].to(self.device, dtype)
                    best_ids = torch.zeros(len(chunk), dtype=torch.int64, device=self.device)
                    if self.use_triton:
                        triton_kmeans(
                            data_chunk=chunk,
                            data_chunk_norms=(chunk**2).sum(dim=1),
                            centroids=centroids,
                            centroids_sqnorm=(centroids**2).sum(dim=1),
                            best_ids=best_ids,
                        )
                    else:
                        assert self.chunk_size_centroids >= self.k
                        best_ids = torch.cdist(chunk.double(), centroids.double()).argmin(dim=1)
                    sums.index_add_(0, best_ids, chunk.float())
                    counts.index_add_(0, best_ids, torch.ones(len(chunk), device=self.device))
                moved = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp(min=1), centroids.float())
                shift = torch.norm(moved - centroids, dim=1).sum().item()
                centroids = moved.to(dtype)
                if shift < self.tol:
                    break
            self.centroids = centroids.to("cpu", torch.float32)
            return self.centroids

    return FastPlaidKMeans


@pytest.mark.parametrize("gpu", [False, pytest.param(True, marks=datasets.on_gpu)])
def test_fast_plaid(gpu: bool, tokens: np.ndarray, torch: Any, nearest: Any) -> None:
    if gpu and not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    samples = torch.from_numpy(tokens).to(torch.float16)
    found = {}
    for use_triton in (False, True) if not gpu else (False, True, None):
        kmeans = make_fast_plaid_class(torch)(
            d=48,
            k=33,
            niter=4,
            gpu=gpu,
            verbose=False,
            seed=42,
            max_points_per_centroid=256,
            use_triton=use_triton,
        )
        assert kmeans.device.type == ("cuda" if gpu else "cpu")
        assert bool(kmeans.use_triton) is (gpu or use_triton is True)
        centroids = kmeans.train(data=samples).to(device="cpu", dtype=torch.float32)
        assert isinstance(centroids, torch.Tensor)
        assert (centroids.shape, centroids.dtype) == ((33, 48), torch.float32)
        labels = kmeans.predict(samples)
        np.testing.assert_array_equal(labels.numpy(), nearest(samples, centroids))
        again = kmeans.fit_predict(samples)  # trains by the subclass, as the original's does
        assert torch.equal(again, kmeans.predict(samples))
        if not gpu:  # there torch adds in any order
            assert torch.equal(again, labels)
        found[use_triton] = centroids
    assert torch.equal(found[False], found[True]) or gpu


@pytest.mark.parametrize(("n", "k", "d"), [(500, 37, 100), (257, 129, 300), (64, 1, 3), (100, 100, 17)])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=datasets.on_gpu)])
def test_triton_kmeans(device: str, dtype: str, n: int, k: int, d: int, torch: Any, nearest: Any) -> None:
    """The sizes are off every block of the original's kernel, where it gives wrong labels."""
    from fastkmeans.triton_kernels import triton_kmeans

    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, d, generator=generator).to(device, getattr(torch, dtype))
    c = torch.randn(k, d, generator=generator).to(device, getattr(torch, dtype))
    best_ids = torch.full((n,), -1, dtype=torch.int64, device=device)
    address = best_ids.data_ptr()
    done = triton_kmeans(
        data_chunk=x,
        data_chunk_norms=(x**2).sum(1),
        centroids=c,
        centroids_sqnorm=(c**2).sum(1),
        best_ids=best_ids,
    )
    assert done is None
    assert best_ids.data_ptr() == address
    np.testing.assert_array_equal(best_ids.cpu().numpy(), nearest(x.float().cpu(), c.float().cpu()))
    with torch.inference_mode():
        ours = torch.zeros(n, dtype=torch.int64, device=device)
        triton_kmeans(x, None, c, None, ours)
    assert torch.equal(ours, best_ids)
    triton_kmeans(x[:1].expand(n, -1), None, c, None, ours)  # into an inference tensor, outside of inference mode
    assert torch.equal(ours, best_ids[:1].expand(n))


def test_triton_kmeans_refuses_what_does_not_fit(torch: Any) -> None:
    from fastkmeans.triton_kernels import triton_kmeans

    x, c, ids = torch.zeros(9, 6), torch.zeros(3, 6), torch.zeros(9, dtype=torch.int64)
    with pytest.raises(TypeError, match=r"^best_ids must be int64, given int32"):
        triton_kmeans(x, None, c, None, ids.int())
    with pytest.raises(ValueError, match=r"^best_ids must have shape \(9,\), given \(8,\)"):
        triton_kmeans(x, None, c, None, ids[:8])
    with pytest.raises(ValueError, match=r"^centroids must have d = 6 columns, given 5"):
        triton_kmeans(x, None, c[:, :5], None, ids)
    with pytest.raises(RuntimeError, match=r"^centroids is on 'meta'.*CUDA"):
        triton_kmeans(x, None, c.to("meta"), None, ids)
    with pytest.raises(RuntimeError, match=r"^best_ids is on 'cuda:0': all tensors must be on the CPU"):
        triton_kmeans(x, None, c, None, SimpleNamespace(device="cuda:0"))


def assert_nearest_and_means(x: np.ndarray, centroids: np.ndarray, kmeans: FastKMeans, nearest: Any) -> None:
    """Labels are the nearest centroids; these are clusters of the rows, far better than k rows at random."""
    labels = kmeans.predict(x)
    np.testing.assert_array_equal(labels, nearest(x, centroids))
    rows = x[:: len(x) // 64][:64]
    assert np.square(x - centroids[labels]).sum() < 0.8 * np.square(x - rows[nearest(x, rows)]).sum()
    assert kmeans.n_iter_ == 4


def test_xtr_warp(tokens: np.ndarray, torch: Any, nearest: Any) -> None:
    kmeans = FastKMeans(
        d=48, k=64, niter=4, gpu=True, verbose=False, seed=42, max_points_per_centroid=256, use_triton=False
    )
    kmeans.train(data=tokens)
    centroids = torch.from_numpy(kmeans.centroids)
    assert (centroids.shape, centroids.dtype) == ((64, 48), torch.float32)
    assert_nearest_and_means(tokens, centroids.numpy(), kmeans, nearest)


def test_next_plaid(tokens: np.ndarray, nearest: Any) -> None:
    kmeans = FastKMeans(d=48, k=64, niter=4, gpu=True, verbose=False, seed=42, max_points_per_centroid=256)
    kmeans.train(data=tokens)
    centroids = np.asarray(kmeans.centroids, dtype=np.float32)
    assert (centroids.shape, centroids.dtype) == ((64, 48), np.float32)
    assert centroids is kmeans.centroids  # no copy
    assert_nearest_and_means(tokens, centroids, kmeans, nearest)


@pytest.mark.parametrize("tol", [-1, 0])
def test_flash_kmeans(tol: float, tokens: np.ndarray, torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "d": 48,
        "k": 50,
        "niter": 5,
        "tol": tol,
        "max_points_per_centroid": None,
        "chunk_size_data": 131072,
        "use_triton": False,
        "dtype": torch.float16,
    }
    x = torch.from_numpy(tokens).half()
    kmeans = FastKMeans(**given)
    kmeans.train(x)
    assert kmeans.n_iter_ == 5
    assert isinstance(kmeans.predict(x), torch.Tensor)

    # Its monkey patch: the class's own train and predict are replaced.
    def train(self: FastKMeans, data: Any) -> None:
        self.centroids = data[: self.k].float().numpy()

    def predict(self: FastKMeans, data: Any) -> Any:
        return torch.full((len(data),), 7)

    monkeypatch.setattr(FastKMeans, "train", train)
    monkeypatch.setattr(FastKMeans, "predict", predict)
    patched = FastKMeans(**given)
    assert patched.fit_predict(x).tolist() == [7] * 1500
    np.testing.assert_array_equal(patched.centroids, x[:50].float())


def test_token_pooling(rng: np.random.Generator, torch: Any) -> None:
    def cluster(x: np.ndarray, k: int, **options: Any) -> Any:
        kmeans = FastKMeans(x.shape[1], k, niter=10, seed=42, **options)
        try:
            kmeans.train(x)
            return kmeans.predict(x)
        except RuntimeError as error:
            if "CUDA" not in str(error):
                raise
            return cluster(x, k, gpu=False)

    for n in (3, 20, 180):
        x = rng.normal(size=(n, 96)).astype(np.float32)
        labels = cluster(x, max(n // 3, 1))
        assert set(labels.tolist()) == set(range(max(n // 3, 1)))
        pooled = torch.zeros(max(n // 3, 1), 96).index_add_(0, torch.from_numpy(labels), torch.from_numpy(x))
        assert pooled.sum().item() == pytest.approx(float(x.sum()), abs=1e-3)

    with pytest.raises(RuntimeError) as error:  # an explicit CUDA device that cannot be had: its retry works
        FastKMeans(96, 3, device="cuda:99")
    assert "CUDA" in str(error.value)


def test_colpali_index(tokens: np.ndarray) -> None:
    kmeans = FastKMeans(48, 20, niter=10)
    kmeans.fit(tokens)
    labels = kmeans.predict(tokens).astype(np.int32)
    radii = [np.linalg.norm(tokens[labels == c] - kmeans.centroids[c], axis=1).max() for c in range(20)]
    assert np.isfinite(radii).all()


def test_topic_model(tokens: np.ndarray) -> None:
    def fit(gpu: bool) -> np.ndarray:
        kmeans = FastKMeans(48, 30, niter=25, tol=1e-8, max_points_per_centroid=None, gpu=gpu)
        return kmeans.fit_predict(tokens).astype(np.int32, copy=False)

    assert fit(True).tobytes() == fit(False).tobytes()


def test_the_original_s_speedbench(tokens: np.ndarray, torch: Any, nearest: Any) -> None:
    from fastkmeans.kmeans import HAS_TRITON, _get_device, _is_bfloat16_supported

    device = _get_device()
    assert device == FastKMeans(2, 2).device == _get_device(0)
    cpu = torch.device("cpu")
    assert _get_device("cpu") == _get_device(cpu) == cpu
    assert _is_bfloat16_supported(cpu) is False
    for use_triton in {False, HAS_TRITON and _is_bfloat16_supported(device)}:
        kmeans = FastKMeans(d=48, k=16, niter=20, tol=1e-8, gpu=True, seed=42, use_triton=use_triton)
        kmeans.train(tokens)
        labels = kmeans.predict(tokens)
        np.testing.assert_array_equal(labels, nearest(tokens, kmeans.centroids))


def test_batcher(rng: np.random.Generator) -> None:
    n, b = 1000, 64
    points = rng.normal(size=(n, 2)).astype(np.float32)
    kmeans = FastKMeans(d=2, k=n // b, max_points_per_centroid=b, gpu=False)
    with pytest.warns(UserWarning, match="960"):  # 15 * 64 of the 1000
        labels = kmeans.fit_predict(points)
    batches: dict[int, list[int]] = {c: [] for c in range(kmeans.k)}
    for i, label in enumerate(labels):
        batches[label].append(i)
    assert sum(map(len, batches.values())) == n
    assert kmeans.k == 15
