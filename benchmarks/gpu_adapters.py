# SPDX-License-Identifier: Apache-2.0
"""The libraries on torch or cupy, most of them for a GPU: as adapters.py, in a child process only."""

from __future__ import annotations

from typing import Any

import numpy as np

from .adapters import Adapter, Fit, Job, every_row


class TorchAdapter(Adapter):
    def __init__(self, device: str, mode: str, threads: int) -> None:
        super().__init__(device, mode, threads)
        import torch

        self.torch = torch
        torch.set_num_threads(threads)

    def load(self, x: np.ndarray) -> None:
        self.x = self.torch.from_numpy(x)
        if self.mode == "device":
            self.x = self.x.to(self.device)

    def sync(self) -> None:
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    def to_host(self, centroids: Any) -> np.ndarray:
        if isinstance(centroids, np.ndarray):
            return centroids
        return np.asarray(centroids.float().cpu().numpy())

    def out(self, centroids: Any) -> Any:
        return self.to_host(centroids) if self.mode == "host" else centroids


class FastKMeans(TorchAdapter):
    takes_init = False
    subsamples = True

    def __init__(self, device: str, mode: str, threads: int, use_triton: bool) -> None:
        super().__init__(device, mode, threads)
        self.use_triton = use_triton

    def load(self, x: np.ndarray) -> None:
        self.x = x  # it takes numpy arrays only

    def fit(self, job: Job) -> Fit:
        from fastkmeans import FastKMeans

        km = FastKMeans(
            self.x.shape[1],
            job.k,
            niter=job.niter,
            tol=-1,
            gpu=self.device == "cuda",
            seed=job.seed,
            max_points_per_centroid=every_row(job),
            device=self.device,
            use_triton=self.use_triton,
        )
        km.train(self.x)
        return Fit(km.centroids, job.niter)


class Flash(TorchAdapter):
    """Its class takes no initial centroids: these are the two functions it calls, chosen by its own rule."""

    rows_on_device = 1 << 20  # FlashKMeans.chunk_size_data_cpu: more host rows than this are streamed

    def __init__(self, device: str, mode: str, threads: int, dtype: str) -> None:
        super().__init__(device, mode, threads)
        self.dtype = getattr(self.torch, dtype)
        # Its float32 is what Triton's tl.dot makes of it, TF32; torch's own products must not differ from that.
        self.torch.backends.cuda.matmul.allow_tf32 = dtype == "float32"

    def load(self, x: np.ndarray) -> None:
        super().load(x)
        if self.mode == "device":
            self.x = self.x.to(self.dtype)

    def fit(self, job: Job) -> Fit:
        import flash_kmeans

        init = self.initial(job)
        if self.mode == "host" and len(self.x) > self.rows_on_device:
            _, centroids = flash_kmeans.kmeans_largeN(
                self.x,
                job.k,
                max_iters=job.niter,
                tol=-1,
                init_centroids=init,
                device=self.torch.device("cuda:0"),
                dtype=self.dtype,
                BLOCK_N=self.rows_on_device,
            )
            return Fit(self.out(centroids), job.niter)
        found = self.batch(self.x[None], job, None if init is None else init[None])
        return Fit(found.centroids[0], found.iterations)

    def fit_many(self, job: Job) -> Fit:
        return self.batch(self.x, job, self.initial(job))

    def batch(self, x: Any, job: Job, init: Any) -> Fit:
        import flash_kmeans

        x = x.to(device="cuda", dtype=self.dtype)
        _, centroids, iterations = flash_kmeans.batch_kmeans_Euclid(
            x, job.k, max_iters=job.niter, tol=-1, init_centroids=init
        )
        return Fit(self.out(centroids), iterations)

    def initial(self, job: Job) -> Any:
        if job.init is None:
            self.torch.manual_seed(job.seed)
            return None
        return self.torch.from_numpy(job.init).to(device="cuda", dtype=self.dtype)


class FastPytorchKMeans(TorchAdapter):
    def fit(self, job: Job) -> Fit:
        from fast_pytorch_kmeans import KMeans

        self.torch.manual_seed(job.seed)
        km = KMeans(n_clusters=job.k, max_iter=job.niter, tol=-1, mode="euclidean")
        init = None if job.init is None else self.torch.from_numpy(job.init).to(self.device)
        km.fit(self.x.to(self.device), init)
        return Fit(self.out(km.centroids), job.niter)


class Cuvs(Adapter):
    def __init__(self, device: str, mode: str, threads: int) -> None:
        super().__init__(device, mode, threads)
        import cupy
        import cuvs.cluster.kmeans

        self.cupy, self.kmeans = cupy, cuvs.cluster.kmeans

    def load(self, x: np.ndarray) -> None:
        self.x = self.cupy.asarray(x) if self.mode == "device" else x

    def fit(self, job: Job) -> Fit:
        # Host data is streamed by cuVS itself; the centroids are on the device all the same, and are written in place.
        shape = (job.k, self.x.shape[1])
        centroids = self.cupy.empty(shape, np.float32) if job.init is None else self.cupy.asarray(job.init)
        params = self.kmeans.KMeansParams(
            n_clusters=job.k,
            init_method="Random" if job.init is None else "Array",
            max_iter=job.niter,
            tol=0.0,
            n_init=1,
        )
        iterations = int(self.kmeans.fit(params, self.x, centroids=centroids).n_iter)
        return Fit(self.to_host(centroids) if self.mode == "host" else centroids, iterations)

    def sync(self) -> None:
        self.cupy.cuda.runtime.deviceSynchronize()

    def to_host(self, centroids: Any) -> np.ndarray:
        return centroids if isinstance(centroids, np.ndarray) else np.asarray(self.cupy.asnumpy(centroids))
