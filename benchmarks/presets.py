# SPDX-License-Identifier: Apache-2.0
"""The cases that belong together, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from . import UsageError, data
from .data import Pieces, Sources


@dataclass(frozen=True)
class Case:
    name: str
    n: int
    d: int
    k: int
    niter: int
    data: str  # in words
    rows: Callable[[np.random.Generator], Pieces]
    check: Callable[[], object] = lambda: None  # UsageError if the data cannot be had; called before any work
    device_limit: int | None = None  # bytes of device memory beside the loaded data: a fit that takes more is ended
    problems: int = 1  # in one call; each has n rows, which follow those of the one before, and k clusters

    def shape(self, rows: int) -> tuple[int, ...]:
        """Of so many rows of each problem."""
        return (rows, self.d) if self.problems == 1 else (self.problems, rows, self.d)


@dataclass(frozen=True)
class Options:
    """What the command line may change in a preset; None leaves the preset's own number."""

    device: str = "cpu"
    max_iters: int | None = None
    n_features: int | None = None
    random_clusters: bool = False
    only_small: bool = False
    only: tuple[str, ...] = ()  # names of cases; none: all
    sources: Sources = field(default_factory=Sources)


IID = "iid normal"


def _blobs(name: str, n: int, d: int, k: int, niter: int, options: Options) -> Case:
    d = options.n_features or d
    if options.random_clusters:
        return Case(name, n, d, k, niter, IID, lambda rng: data.iid(n, d, rng))
    words = f"{k} blobs, centres 10 N(0,1), noise 5 N(0,1)"
    return Case(name, n, d, k, niter, words, lambda rng: data.blobs(n, d, k, rng))


def _iid(name: str, n: int, d: int, k: int, niter: int, options: Options) -> Case:
    d = options.n_features or d
    return Case(name, n, d, k, niter, IID, lambda rng: data.iid(n, d, rng))


def _sift(name: str, n: int, k: int, niter: int, options: Options) -> Case:
    d = options.n_features or 128
    return Case(name, n, d, k, niter, "SIFT-like integers 0 to 255", lambda rng: data.sift_like(n, d, rng))


def _tokens(name: str, n: int, d: int, k: int, options: Options, layers: int = 1) -> Case:
    sources = options.sources
    rows = lambda rng: data.tokens(n, d, sources, layers)  # noqa: E731
    words = "token embeddings" if layers == 1 else f"token embeddings, the last {layers} layers"
    return Case(name, n, d, k, 10, words, rows, lambda: data.check_tokens(n, d, sources))


def _mnist(name: str, k: int, niter: int, options: Options) -> Case:
    rows = lambda rng: data.mnist(options.sources)  # noqa: E731
    return Case(name, 10_000, 784, k, niter, "MNIST test digits", rows, lambda: next(data.mnist(options.sources)))


def colbert(options: Options) -> list[Case]:
    return [_blobs(f"colbert-{k}", 100 * k, 128, k, 10, options) for k in (8192, 16384, 32768, 65536, 131072)]


def ci(options: Options) -> list[Case]:
    d = options.n_features or 384
    n = 10_000  # all peers, their imports included, are to be done in a minute
    return [
        _blobs("ci-tiny", 3_000, 64, 10, 10, options),
        _blobs("ci-blobs", n, 128, 128, 10, options),
        Case("ci-lowrank", n, d, 128, 10, "low rank + noise, norm 1", lambda rng: data.low_rank(n, d, rng)),
        _sift("ci-sift", n, 128, 10, options),
        _iid("ci-lowdim", 10 * n, 8, 64, 10, options),
    ]


def tokens(options: Options) -> list[Case]:
    if options.device == "cpu":
        n, wide, narrow = 262_144, [1024, 4096], [2621]
    else:  # the size of an index of ten thousand documents
        n, wide, narrow = 2_621_440, [4096, 26_112], [4096, 26_112]
    cases = [_tokens(f"tok384-{k}", n, 384, k, options) for k in wide]
    cases += [_tokens(f"tok128-{k}", n, 128, k, options) for k in narrow]
    if options.device == "cpu":  # for machines of many cores
        cases.append(_tokens("tok128-10485", 1_048_576, 128, 10_485, options))
    return cases


def high_dim(options: Options) -> list[Case]:
    if options.device == "cpu":
        n, k, noisy_n, noisy_k = 262_144, 2621, 100_000, 4096
    else:
        n, k, noisy_n, noisy_k = 1_048_576, 10_485, 2_000_000, 16_384
    noisy = "low rank 96 + noise, norm 1"
    return [
        _tokens("tok768", n, 768, k, options, layers=2),
        _tokens("tok1152", n, 1152, k, options, layers=3),
        Case("lowrank1024", noisy_n, 1024, noisy_k, 10, noisy, lambda rng: data.low_rank_noise(noisy_n, 1024, rng)),
    ]


def iid(options: Options) -> list[Case]:
    n, k = (100_000, 1000) if options.device == "cpu" else (819_200, 8192)
    return [_iid("iid", n, 128, k, 10, options)]


def sift_like(options: Options) -> list[Case]:
    k = 1024 if options.device == "cpu" else 8192
    return [_sift("sift-like", 100 * k, k, 10, options)]


def small(options: Options) -> list[Case]:
    return [_iid("small", 10_000, 128, 100, 25, options)]


def batch(options: Options) -> list[Case]:
    problems, n = 1000, 500
    return [replace(_iid("batch", problems * n, 64, 16, 25, options), n=n, problems=problems)]


def readme(options: Options) -> list[Case]:
    return [*tokens(options), _mnist("mnist", 100, 25, options)]


def outliers(options: Options) -> list[Case]:
    clean = _tokens("outliers-clean", 262_144, 384, 1024, options)
    spoiled = replace(
        clean,
        name="outliers",
        data="token embeddings, 0.1 % of the rows scaled by 1000",
        rows=lambda rng: data.outliers(clean.rows(rng), rng),
    )
    return [clean, spoiled]


def dims(options: Options) -> list[Case]:
    """The same work, 2nkd, for each d."""
    return [_blobs(f"dims-{d}", max(8192, 2**23 // d), d, 512, 10, options) for d in (2, 8, 32, 128, 384, 768, 1536)]


def clusters(options: Options) -> list[Case]:
    ks = (16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_000_000)
    # 100 rows a cluster where that is neither too few to time nor too many for the memory of a small machine.
    return [_blobs(f"clusters-{k}", min(max(100 * k, 65_536), 2**21), 128, k, 10, options) for k in ks]


def clusters_100k(options: Options) -> list[Case]:
    return [_blobs(f"clusters-100k-{k}", 100_000, 128, k, 10, options) for k in (256, 1024, 4096, 16_384, 65_536)]


def low_dim(options: Options) -> list[Case]:
    return [_blobs(f"lowdim-{d}-{k}", 10_000_000, d, k, 10, options) for d in (3, 8, 32) for k in (64, 256)]


def memory(options: Options) -> list[Case]:
    """What is measured is memory, which two iterations show, and a card of 11 GB must do."""
    case = _blobs("memory", 26_214_400, 128, 262_144, 2, options)
    return [replace(case, data=f"{case.data}; at most 11 GB of device memory", device_limit=11_000_000_000)]


def quality(options: Options) -> list[Case]:
    sets = {"digits": (1797, 64, 10), "blobs": (5000, 16, 20), "moons": (5000, 2, 2), "circles": (5000, 2, 2)}
    cases = [
        Case(f"quality-{name}", n, d, k, 100, name, lambda rng, name=name: data.sklearn_set(name, rng))  # type: ignore[misc]
        for name, (n, d, k) in sets.items()
    ]
    return [*cases, _mnist("quality-mnist", 10, 100, options)] if options.sources.mnist else cases


def initialisations(options: Options) -> list[Case]:
    """One iteration each: what is timed is how a fit begins (--init)."""
    n, k = (100_000, 1000) if options.device == "cpu" else (1_000_000, 10_000)
    return [_iid("init-iid", n, 128, k, 1, options), _blobs("init-blobs", n, 128, k, 1, options)]


PRESETS: dict[str, tuple[str, Callable[[Options], list[Case]]]] = {
    "ci": ("under a minute on 2 cores", ci),
    "colbert": ("the original's five sizes: 8192 to 131072 clusters of 100 points, d = 128", colbert),
    "tokens": ("token embeddings of 384 and 128 dimensions (--text or --tokens)", tokens),
    "highdim": ("tokens of 768 and 1152 dimensions, low rank of 1024 (--text; or --tokens with --cases)", high_dim),
    "readme": ("tokens and mnist (--text or --tokens, and --mnist)", readme),
    "mnist": ("10,000 x 784, k = 100, 25 iterations (--mnist)", lambda o: [_mnist("mnist", 100, 25, o)]),
    "sift-like": ("integers of large norm, d = 128", sift_like),
    "dims": ("d = 2 to 1536 at the same 2nkd", dims),
    "clusters": ("k = 16 to 1,000,000", clusters),
    "clusters-100k": ("k = 256 to 65,536 of 100,000 rows", clusters_100k),
    "outliers": ("tokens with 0.1 % of the rows scaled by 1000, beside the clean ones", outliers),
    "memory": ("26,214,400 x 128 into 262,144, in at most 11 GB of a GPU (peers ours-11gb,ours-6gb)", memory),
    "iid": ("structureless, d = 128: k = 1000, on a GPU 8192", iid),
    "small": ("10,000 x 128, k = 100, 25 iterations", small),
    "batch": ("1,000 problems of 500 x 64, k = 16, in one call (name the peers, ours-loop among them)", batch),
    "blobs": ("102,400 x 128, k = 1024", lambda o: [_blobs("blobs", 102_400, 128, 1024, 10, o)]),
    "lowdim": ("n = 1e7, d = 3, 8, 32, k = 64, 256", low_dim),
    "init": ("k = 1000, on a GPU 10,000, one iteration (--init k-means++, k-means|| or afk-mc2)", initialisations),
    "quality": ("NMI and inertia on five labelled data sets (see the command quality)", quality),
}


def cases(preset: str, options: Options) -> list[Case]:
    """The preset's cases as the options want them. UsageError: no such preset (lists them), or no data for one."""
    if preset not in PRESETS:
        raise UsageError(f"unknown preset {preset}; known: {', '.join(PRESETS)}")
    chosen = PRESETS[preset][1](options)
    if options.only_small:
        chosen = chosen[: max(1, len(chosen) // 2)]
    if unknown := set(options.only) - {case.name for case in chosen}:
        known = ", ".join(case.name for case in chosen)
        raise UsageError(f"unknown case {', '.join(sorted(unknown))} of {preset}; known: {known}")
    chosen = [case for case in chosen if not options.only or case.name in options.only]
    for case in chosen:
        case.check()
    return [replace(case, niter=options.max_iters or case.niter) for case in chosen]
