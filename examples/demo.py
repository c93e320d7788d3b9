# SPDX-License-Identifier: Apache-2.0
"""Clusters embeddings, and two real data sets that ship inside scikit-learn, and draws what it found in these.

    python examples/demo.py --output build/demo --tokens tokens.npy

Embeddings: 100,000 rows of 128, k = 1,000; made up in the shape of embeddings, or the first rows of the file given, of
its own dimensions. The digits: 1,797 images of 8 x 8 pixels, k = 10. The photograph china.jpg: 273,280 pixels, k = 64
colours. scikit-learn's KMeans does the same work in the same process: the same float32 rows, initial centroids and most
iterations, no tolerance, and labels for every row at the end. Both may use all CPUs; ours is timed on the CPU alone
as well where it would take a GPU for the embeddings.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import numpy.typing as npt
from fastkmeans import FastKMeans
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, load_sample_image
from sklearn.metrics import normalized_mutual_info_score

matplotlib.use("Agg")  # files only: no display is needed
from matplotlib import pyplot as plt

Array = npt.NDArray[Any]


class Outcome(NamedTuple):
    """One finished clustering, whoever made it."""

    centroids: Array  # (k, d)
    labels: Array  # (n,)
    iterations: int
    ran_on: str = "the CPU"


Cluster = Callable[[Array, Array, int], Outcome]


def ours(x: Array, initial: Array, niter: int, gpu: bool = True) -> Outcome:
    """FastKMeans on x (n, d) from the centroids `initial` (k, d)."""
    k, d = initial.shape
    kmeans = FastKMeans(d, k, niter=niter, gpu=gpu, init=initial, max_points_per_centroid=None).fit(x)
    assert kmeans.labels_ is not None
    assert kmeans.n_iter_ is not None
    assert kmeans.iteration_stats is not None
    isa = kmeans.iteration_stats[-1].isa  # small work stays on the CPU where there is a GPU
    ran_on = kmeans.device if isa.startswith("cuda") else "the CPU"
    return Outcome(kmeans.centroids, kmeans.labels_, kmeans.n_iter_, f"{ran_on} ({isa})")


def ours_on_the_cpu(x: Array, initial: Array, niter: int) -> Outcome:
    return ours(x, initial, niter, gpu=False)


def theirs(x: Array, initial: Array, niter: int) -> Outcome:
    """The same with scikit-learn. tol=0 stops when no label changes, as FastKMeans does."""
    kmeans = KMeans(len(initial), init=initial, n_init=1, max_iter=niter, tol=0, algorithm="lloyd").fit(x)
    return Outcome(kmeans.cluster_centers_, kmeans.labels_, int(kmeans.n_iter_))


def inertia(x: Array, found: Outcome) -> float:
    """Sum of squared distances in float64, so that both are judged alike (scikit-learn adds up in float32)."""
    return float(((x - found.centroids[found.labels].astype(np.float64)) ** 2).sum())


class Measured(NamedTuple):
    """The best of some runs, and the median time that all of them took together."""

    best: Outcome
    inertia: float  # of the best
    iterations: int  # of all runs
    seconds: float


def measure(
    x: Array, initials: Sequence[Array], niter: int, repetitions: int, contestants: Sequence[Cluster] = (ours, theirs)
) -> list[Measured]:
    """Each contestant, one run from each of `initials`; they take turns, so that all meet the same machine."""
    outcomes: list[list[Outcome]] = [[] for _ in contestants]
    seconds: list[list[float]] = [[] for _ in contestants]
    for repetition in range(-1, repetitions):  # the first is not counted: threads start, code is loaded
        for i, cluster in enumerate(contestants):
            start = time.perf_counter()
            outcomes[i] = [cluster(x, initial, niter) for initial in initials]
            if repetition >= 0:
                seconds[i].append(time.perf_counter() - start)
    measured = []
    for runs, times in zip(outcomes, seconds, strict=True):
        inertias = [inertia(x, run) for run in runs]
        best = int(np.argmin(inertias))
        iterations = sum(run.iterations for run in runs)
        measured.append(Measured(runs[best], inertias[best], iterations, statistics.median(times)))
    return measured


def show(title: str, x: Array, mine: Measured, other: Measured, *more: tuple[str, float, float]) -> None:
    """One block of the table. `more`: further lines, each a name and the two values."""
    rows = [
        ("seconds (median)", f"{mine.seconds:.3f}", f"{other.seconds:.3f}"),
        ("iterations", str(mine.iterations), str(other.iterations)),
        ("inertia per row", f"{mine.inertia / len(x):.4f}", f"{other.inertia / len(x):.4f}"),
        *((name, f"{a:.4f}", f"{b:.4f}") for name, a, b in more),
    ]
    print(f"\n{title}")
    print(f"  {'':<18}{'fastkmeans':>14}{'scikit-learn':>14}")
    for name, a, b in rows:
        print(f"  {name:<18}{a:>14}{b:>14}")
    print(f"  fastkmeans ran on {mine.best.ran_on}, scikit-learn on {other.best.ran_on}.")
    print(f"  scikit-learn takes {other.seconds / mine.seconds:.1f} times as long.")


def draw_digits(path: Path, x: Array, found: Outcome, digits: Array) -> None:
    """Each centroid, and under it the five images nearest to it; columns in order of the digit most common there."""
    k, examples = len(found.centroids), 5
    common = [int(np.bincount(digits[found.labels == c], minlength=10).argmax()) for c in range(k)]
    figure, axes = plt.subplots(1 + examples, k, figsize=(1.25 * k, 8.8), layout="constrained")
    for column, c in enumerate(sorted(range(k), key=lambda c: common[c])):
        members = np.flatnonzero(found.labels == c)
        share = np.mean(digits[members] == common[c])
        nearest = members[((x[members] - found.centroids[c]) ** 2).sum(axis=1).argsort()[:examples]]
        images = [found.centroids[c], *x[nearest]]
        for row in range(1 + examples):
            ax = axes[row, column]
            ax.set_xticks([])
            ax.set_yticks([])
            if row < len(images):  # a cluster may have fewer members
                ax.imshow(images[row].reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
            for side in ax.spines.values():
                side.set(color="tab:orange" if row == 0 else "lightgray", linewidth=2.5 if row == 0 else 1)
        axes[0, column].set_title(f"{share:.0%} are {common[c]}\n{len(members)} images", fontsize=11)
    axes[0, 0].set_ylabel("centroid", fontsize=12)
    axes[1 + examples // 2, 0].set_ylabel("the images nearest to it", fontsize=12)
    figure.suptitle("Ten clusters of handwritten digits, found without their labels", fontsize=15)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_photograph(path: Path, photograph: Array, found: Outcome) -> None:
    """The original and the same pixels in the colours of their centroids, above the palette."""
    palette = found.centroids.clip(0, 255).round().astype(np.uint8)
    colours = len(np.unique(photograph.reshape(-1, 3), axis=0))
    figure = plt.figure(figsize=(14, 6), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=[10, 1])
    panels = [
        (grid[0, 0], photograph, f"original: {colours:,} colours"),
        (grid[0, 1], palette[found.labels].reshape(photograph.shape), f"every pixel in one of {len(palette)} colours"),
    ]
    # Most used first, in two lines.
    order = np.bincount(found.labels, minlength=len(palette)).argsort()[::-1]
    panels.append((grid[1, :], palette[order].reshape(2, -1, 3), f"the {len(palette)} centroids, most used first"))
    for place, image, title in panels:
        ax = figure.add_subplot(place)
        ax.imshow(image, aspect="auto" if place is panels[-1][0] else "equal", interpolation="nearest")
        ax.set_title(title, fontsize=12)
        ax.axis("off")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def embeddings(tokens: Path | None, n: int = 100_000, d: int = 128) -> Array:
    """The first n rows of the file as float32; without one, n of length 1 that vary along few directions, and noise."""
    if tokens is not None:
        return np.asarray(np.load(tokens, mmap_mode="r")[:n], dtype=np.float32)
    rng = np.random.default_rng(0)
    topics = rng.standard_normal((500, 32))[rng.integers(500, size=n)] + 0.5 * rng.standard_normal((n, 32))
    x = topics @ rng.standard_normal((32, d)) / 32**0.5 + 0.2 * rng.standard_normal((n, d))
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), dtype=np.float32)


def cluster_embeddings(x: Array, k: int, what: str) -> None:
    initial = x[np.random.default_rng(1).choice(len(x), k, replace=False)]
    on_gpu = FastKMeans(x.shape[1], k).device != "cpu"
    measured = measure(x, [initial], 10, 3, [*([ours] if on_gpu else []), ours_on_the_cpu, theirs])
    for mine in measured[:-1]:
        show(f"{len(x):,} {what} of {x.shape[1]} dimensions, k = {k:,}, 10 iterations", x, mine, measured[-1])


def cluster_digits(folder: Path) -> Path:
    x, digits = load_digits(return_X_y=True)
    x = x.astype(np.float32)
    rng = np.random.default_rng(0)
    initials = [x[rng.choice(len(x), 10, replace=False)] for _ in range(10)]
    mine, other = measure(x, initials, niter=100, repetitions=3)
    agreement = [float(normalized_mutual_info_score(digits, result.best.labels)) for result in (mine, other)]
    title = f"Digits: {len(x):,} images of {x.shape[1]} pixels, k = 10, the best of {len(initials)} runs"
    show(title, x, mine, other, ("NMI with the digit", agreement[0], agreement[1]))
    path = folder / "digits.png"
    draw_digits(path, x, mine.best, digits)
    return path


def cluster_photograph(folder: Path) -> Path:
    photograph: Array = load_sample_image("china.jpg")
    x = photograph.reshape(-1, 3).astype(np.float32)
    colours = np.unique(x, axis=0)
    initial = colours[np.random.default_rng(0).choice(len(colours), 64, replace=False)]
    mine, other = measure(x, [initial], niter=25, repetitions=3)
    show(f"Photograph: {len(x):,} pixels of 3 colours, k = 64, at most 25 iterations", x, mine, other)
    path = folder / "china.png"
    draw_photograph(path, photograph, mine.best)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description="Cluster embeddings, digits and a photograph, beside scikit-learn.")
    parser.add_argument("--output", type=Path, default=Path("build/demo"), help="folder for the pictures (%(default)s)")
    parser.add_argument("--tokens", type=Path, metavar="FILE.npy", help="embeddings, (n, d) (made-up ones)")
    options = parser.parse_args()
    folder: Path = options.output
    folder.mkdir(parents=True, exist_ok=True)
    what = "token embeddings" if options.tokens else "made-up embeddings"
    cluster_embeddings(embeddings(options.tokens), 1_000, what)
    paths = [cluster_digits(folder), cluster_photograph(folder)]
    print("\nPictures:")
    for path in paths:
        print(f"  {path}")


if __name__ == "__main__":
    main()
