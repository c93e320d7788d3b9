# SPDX-License-Identifier: Apache-2.0
"""How each library is called. Used inside a child process only; a library is imported when its adapter is made.

All run the same number of iterations over all rows: tolerances that would stop them early are switched off. `load`
puts the data where the mode wants it, outside the clock; `fit` is what the clock sees, host centroids out in mode
"host", centroids on the device in mode "device". So is `fit_many`, of rows (B, n, d): B problems of one shape.
"""

from __future__ import annotations

import inspect
import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass
class Job:
    k: int
    niter: int
    seed: int
    init: np.ndarray | None  # (k, d) float32, of many problems (B, k, d); None: the library draws its own
    max_points: int | None  # rows per centroid to train on; None: all
    method: str = "random"  # how the library draws its own


@dataclass
class Fit:
    centroids: Any
    iterations: float | None  # of many problems the mean. None: not passes over all pairs, so no 2nkd to speak of


class Adapter:
    takes_init = True
    methods: tuple[str, ...] = ("random",)  # in which it draws its own
    subsamples = False  # whether max_points is the library's own business

    def __init__(self, device: str, mode: str, threads: int) -> None:
        self.device, self.mode, self.threads = device, mode, threads

    def load(self, x: np.ndarray) -> None:
        self.x: Any = x

    def fit(self, job: Job) -> Fit:
        raise NotImplementedError

    def fit_many(self, job: Job) -> Fit:
        raise NotImplementedError("no many problems")

    def sync(self) -> None:
        """Wait for the device."""

    def to_host(self, centroids: Any) -> np.ndarray:
        return np.asarray(centroids, np.float32)


def one_by_one(train: Callable[[Any, Job], Fit], x: Any, job: Job, stack: Callable[[list[Any]], Any] = np.stack) -> Fit:
    """Many problems, each by a call of its own."""
    starts: Any = [None] * len(x) if job.init is None else job.init
    fits = [train(rows, replace(job, init=init)) for rows, init in zip(x, starts, strict=True)]
    iterations: list[Any] = [fit.iterations for fit in fits]
    return Fit(stack([fit.centroids for fit in fits]), statistics.fmean(iterations))


def every_row(job: Job) -> int:
    """max_points_per_centroid for libraries that take no None."""
    return job.max_points or 1_000_000_000


class Ours(Adapter):
    methods = ("random", "k-means++", "k-means||", "afk-mc2")
    subsamples = True

    def __init__(
        self, device: str, mode: str, threads: int, memory_limit: int | None = None, isa: str | None = None
    ) -> None:
        super().__init__(device, mode, threads)
        if isa is not None:  # the process is this contestant's own
            os.environ["FASTKMEANS_ISA"] = isa
        import fastkmeans
        import fastkmeans._core  # the original has none: never measure it under our name

        self.make: Any = fastkmeans.FastKMeans
        # Another commit (see check.py) may lack what changes no fit. The environment too says how many threads.
        known = inspect.signature(self.make).parameters
        where: dict[str, Any] = {"device": device, "n_threads": threads}
        self.where = {name: value for name, value in where.items() if name in known}
        if memory_limit is not None:  # a commit that lacks it must fail, not run without a limit
            self.where["memory_limit"] = memory_limit
        if mode == "device":
            import torch

            self.torch = torch

    def load(self, x: np.ndarray) -> None:
        self.x = self.torch.from_numpy(x).to(self.device) if self.mode == "device" else x

    def options(self, job: Job) -> dict[str, Any]:
        return {
            "niter": job.niter,
            "tol": -1,
            "seed": job.seed,
            "max_points_per_centroid": job.max_points,
            "init": job.method,
            **self.where,
        }

    def fit(self, job: Job) -> Fit:
        return self.train(self.x, job)

    def train(self, x: Any, job: Job) -> Fit:
        km = self.make(x.shape[1], job.k, **self.options(job))
        if job.init is None:
            km.train(x)
        else:  # read where they are; the constructor would copy them
            km.train(x, init_centroids=job.init)
        return Fit(km.centroids_device if self.mode == "device" else km.centroids, km.n_iter_)

    def fit_many(self, job: Job) -> Fit:
        import fastkmeans

        options = self.options(job) if job.init is None else {**self.options(job), "init": job.init}
        found = fastkmeans.fit_batch(self.x, job.k, labels=False, **options)  # train makes none either
        return Fit(found.centroids, float(found.n_iter.mean()))

    def sync(self) -> None:
        if self.mode == "device":
            self.torch.cuda.synchronize()

    def to_host(self, centroids: Any) -> np.ndarray:
        return centroids if isinstance(centroids, np.ndarray) else np.asarray(centroids.cpu().numpy())


class OursLoop(Ours):
    """Many problems one after the other."""

    def fit_many(self, job: Job) -> Fit:
        return one_by_one(self.train, self.x, job, self.torch.stack if self.mode == "device" else np.stack)


class Faiss(Adapter):
    # Its k-means++ draws one candidate a centroid, ours and scikit-learn's 2 + log(k).
    methods: tuple[str, ...] = ("random", "k-means++", "afk-mc2")
    subsamples = True

    def __init__(self, device: str, mode: str, threads: int) -> None:
        super().__init__(device, mode, threads)
        import faiss

        self.faiss = faiss
        faiss.omp_set_num_threads(threads)
        if device == "cuda" and faiss.get_num_gpus() == 0:
            raise RuntimeError("this faiss sees no GPU")

    def parameters(self, job: Job) -> dict[str, Any]:
        return {
            "niter": job.niter,
            "seed": job.seed,
            "max_points_per_centroid": every_row(job),
            "min_points_per_centroid": 1,
        }

    def fit(self, job: Job) -> Fit:
        if job.method != "random":
            return self.fit_from(job)
        km = self.faiss.Kmeans(self.x.shape[1], job.k, gpu=int(self.device == "cuda"), **self.parameters(job))
        km.train(self.x, init_centroids=job.init)
        return Fit(km.centroids, len(km.obj))

    def fit_from(self, job: Job) -> Fit:
        # Not among what faiss.Kmeans passes on.
        names = {"k-means++": "KMEANS_PLUS_PLUS", "afk-mc2": "AFK_MC2"}
        parameters = self.faiss.ClusteringParameters()
        for name, value in self.parameters(job).items():
            setattr(parameters, name, value)
        parameters.init_method = getattr(self.faiss, f"ClusteringInitMethod_{names[job.method]}")
        d = self.x.shape[1]
        clustering = self.faiss.Clustering(d, job.k, parameters)
        clustering.train(self.x, self.faiss.IndexFlatL2(d))
        centroids = self.faiss.vector_to_array(clustering.centroids).reshape(job.k, d)
        return Fit(centroids, clustering.iteration_stats.size())


class FaissSuperKMeans(Faiss):
    methods = ("random",)
    takes_init = False

    def fit(self, job: Job) -> Fit:
        km = self.faiss.SuperKmeans(self.x.shape[1], job.k, **self.parameters(job))
        km.train(self.x)
        return Fit(km.centroids, len(km.obj))


class SuperKMeans(Adapter):
    takes_init = False
    subsamples = True

    def __init__(self, device: str, mode: str, threads: int, quantizer: str = "f32") -> None:
        super().__init__(device, mode, threads)
        self.quantizer = quantizer

    def make(self, job: Job, **options: Any) -> Any:
        import superkmeans

        return superkmeans.SuperKMeans(
            job.k,
            self.x.shape[1],
            quantizer=self.quantizer,
            sampling_fraction=1.0,
            max_points_per_cluster=every_row(job),
            n_threads=self.threads,
            seed=job.seed,
            early_termination=False,
            **options,
        )

    def fit(self, job: Job) -> Fit:
        km = self.make(job, hierarchical=False, iters=job.niter)
        return Fit(km.train(self.x), len(km.iteration_stats))


class SuperKMeansHierarchical(SuperKMeans):
    """With its own numbers of iterations: those of a flat run have no meaning for it."""

    def fit(self, job: Job) -> Fit:
        return Fit(self.make(job, hierarchical=True).train(self.x), None)


class Sklearn(Adapter):
    methods = ("random", "k-means++")

    def __init__(self, device: str, mode: str, threads: int, algorithm: str) -> None:
        super().__init__(device, mode, threads)
        self.algorithm = algorithm

    def fit(self, job: Job) -> Fit:
        return self.train(self.x, job)

    def fit_many(self, job: Job) -> Fit:
        return one_by_one(self.train, self.x, job)

    def train(self, x: np.ndarray, job: Job) -> Fit:
        from sklearn.cluster import KMeans

        init = job.method if job.init is None else job.init
        km = KMeans(job.k, init=init, n_init=1, max_iter=job.niter, tol=0, algorithm=self.algorithm)
        km.set_params(random_state=job.seed).fit(x)
        return Fit(km.cluster_centers_, km.n_iter_)


class SklearnMiniBatch(Adapter):
    def fit(self, job: Job) -> Fit:
        from sklearn.cluster import MiniBatchKMeans

        init = "random" if job.init is None else job.init
        km = MiniBatchKMeans(job.k, init=init, n_init=1, max_iter=job.niter, tol=0, max_no_improvement=None)
        km.set_params(random_state=job.seed, compute_labels=False).fit(self.x)
        return Fit(km.cluster_centers_, None)
