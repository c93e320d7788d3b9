# SPDX-License-Identifier: Apache-2.0
"""The numeric contract of docs/algorithm.md once more, in numpy and Python integers.

Slow, literal and independent of the C++ oracle (FASTKMEANS_ISA=scalar): where the two differ, the document decides.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
f32, f64, u64 = np.float32, np.float64, np.uint64

LANES = 32
TINY = f32(2.0**-32)  # below it, rows and centroids are scaled by 2^64 before D
LIMIT = f32(2.0**56)  # at and above it, D could overflow
SAMPLE, INITIAL, PLUS_PLUS, EMPTY, PARALLEL, PROPOSAL, ACCEPTANCE = 0, 1, 4, 5, 6, 7, 8  # what a random key is for


@dataclass
class Stats:
    inertia: float
    shift: float
    changed: int
    empty: int
    relocated: int


@dataclass
class Run:
    centroids: Array
    converged: bool = False
    stats: list[Stats] = field(default_factory=list)


@dataclass
class Fit:
    centroids: Array
    labels: Array
    inertia: float
    train_inertia: float
    n_used: int
    n_zero: int
    converged: bool
    stats: list[Stats]


# 1. Rows and distances


def rows_of(data: Array) -> Array:
    x = np.ascontiguousarray(data).astype(f32)
    if not (np.abs(x) < LIMIT).all():
        raise ValueError("not finite, or beyond 2^56")
    return x


def fma(a: Array, b: Array, s: Array) -> Array:
    """fl(a b + s): the product is exact in fp64, the sum is rounded to odd there, and once more to fp32."""
    p, q = a.astype(f64) * b.astype(f64), s.astype(f64)
    total = p + q
    z = total - p
    error = (p - (total - z)) + (q - z)  # TwoSum: total + error is exact
    inward = np.where(total < 0, -error, error) < 0  # bits are a magnitude
    odd = (total.view(np.int64) - inward) | (error != 0)
    return odd.view(f64).astype(f32)


def squared_difference(x: Array, c: Array, s: Array) -> Array:
    t = x - c
    return fma(t, t, s)


def negated_product(x: Array, c: Array, s: Array) -> Array:
    return fma(-x, c, s)


def in_lanes(x: Array, centroids: Array, add: Callable[[Array, Array, Array], Array]) -> Array:
    """(n, k) fp32: lane l sums the dimensions l, l + 32, ... in order, then lanes l and l + 16, + 8, ... are added."""
    pad = ((0, 0), (0, -x.shape[1] % LANES))  # zeros leave a lane as it is
    x, centroids = np.pad(x, pad), np.pad(centroids, pad)
    s = np.zeros((len(x), len(centroids), LANES), f32)
    for j in range(0, x.shape[1], LANES):
        s = add(x[:, None, j : j + LANES], centroids[None, :, j : j + LANES], s)
    while s.shape[2] > 1:
        half = s.shape[2] // 2
        s = s[:, :, :half] + s[:, :, half:]
    return s[:, :, 0]


def lane_distances(x: Array, centroids: Array) -> Array:
    return in_lanes(x, centroids, squared_difference)


def distances(x: Array, centroids: Array) -> Array:
    """D of every row to every centroid, (n, k) in fp64."""
    small = (np.abs(x).max(axis=1) < TINY) & (np.abs(centroids).max() < TINY)
    scale, out = f32(2.0**64), np.empty((len(x), len(centroids)))
    step = max(1, 2**18 // (LANES * len(centroids)))  # rows at a time, to stay in cache
    for begin in range(0, len(x), step):
        tile = slice(begin, begin + step)
        near, tiles = small[tile], x[tile]
        out[tile][~near] = lane_distances(tiles[~near], centroids)
        if near.any():
            out[tile][near] = lane_distances(tiles[near] * scale, centroids * scale).astype(f64) * 2.0**-128
    return out


def assign(x: Array, centroids: Array, products: bool = False) -> tuple[Array, Array]:
    """The nearest centroid of each row, the lowest index on ties, and D to it; or L, the negative inner product."""
    d = in_lanes(x, centroids, negated_product) if products else distances(x, centroids)
    labels = d.argmin(axis=1)
    return labels, d[np.arange(len(x)), labels]


def predict(data: Array, centroids: Array) -> Array:
    return assign(rows_of(data), rows_of(centroids))[0]


# 2. Sums are integers


class Grain:
    """The grid on which the rows of a fit are summed: two int64 limbs, the second where the data is skewed."""

    def __init__(self, x: Array, weights: Array):
        self.b = min(50, 62 - int(weights.sum()).bit_length())
        x = x[weights > 0]
        exponent = np.frexp(np.abs(x).max(axis=0).astype(f64))[1]  # |x_j| < 2^exponent
        self.g = np.ldexp(1.0, exponent - self.b)
        largest = np.abs(x).max(axis=1).astype(f64)
        nu = largest[largest > 0].min(initial=math.inf)
        self.two = self.g > 2.0**-26 * nu

    def limbs(self, x: Array) -> tuple[Array, Array]:
        hi = np.rint(x / self.g)
        lo = np.where(self.two, np.rint((x - hi * self.g) / self.g * 2.0**self.b), 0)
        return hi.astype(np.int64), lo.astype(np.int64)

    def value(self, hi: Array, lo: Array) -> Array:
        return hi.astype(f64) * self.g + lo.astype(f64) * self.g * 2.0**-self.b


# 3. Inertia and shift


def inertia_of(d: Array, weights: Array) -> float:
    """The sum of weight times D, rounded once."""
    if (weights == 1).all():
        return math.fsum(d)
    return float(sum(Fraction(float(v)) * int(w) for v, w in zip(d, weights, strict=True)))


def total_shift(new: Array, old: Array) -> float:
    """The distances that the centroids moved, added as a tree of adjacent pairs."""
    moved = np.sqrt(distances(new, old).diagonal())
    moved = np.pad(moved, (0, 2 ** (len(moved) - 1).bit_length() - len(moved)))
    while len(moved) > 1:
        moved = moved[::2] + moved[1::2]
    return float(moved[0])


# 4. Empty clusters


def relocations(
    labels: Array, d: Array, weights: Array, k: int, frozen: int = 0, draws: Array | None = None
) -> list[tuple[int, int]]:
    """(empty cluster, row that it takes) pairs; the first `frozen` clusters take none.

    draws: the rows' random numbers, if these decide.
    """
    counts = np.bincount(labels[weights > 0], minlength=k)
    s = 63 - int(weights.sum()).bit_length() - math.frexp(d[weights > 0].max())[1]
    donors = []
    for c in np.flatnonzero(counts >= 2):
        rows = np.flatnonzero((labels == c) & (weights > 0))
        worth = d if draws is None else np.where(d > 0, draws, 0)
        farthest = rows[worth[rows].argmax()]
        if worth[farthest] > 0 and draws is not None:
            donors.append((-int(worth[farthest]), c, farthest))
        elif worth[farthest] > 0:
            masses = (int(weights[row]) * math.floor(math.ldexp(d[row], s)) for row in rows)
            donors.append((-sum(masses), c, farthest))
    empty = frozen + np.flatnonzero(counts[frozen:] == 0)
    return [(int(c), int(row)) for c, (_, _, row) in zip(empty, sorted(donors), strict=False)]


def split(centroids: Array, sizes: Array, frozen: int) -> tuple[Array, list[int]]:
    """Each empty cluster takes half of the then largest; and which centroids moved."""
    centroids, sizes, moved = centroids.copy(), [int(size) for size in sizes], []
    near = f32(2.0**-10) * np.where(np.arange(centroids.shape[1]) % 2 == 0, f32(1), f32(-1))
    for c in range(frozen, len(sizes)):
        if sizes[c] == 0 and max(sizes[frozen:]) >= 2:
            whole = max(range(frozen, len(sizes)), key=lambda i: (sizes[i], -i))
            sizes[c] = sizes[whole] // 2
            sizes[whole] -= sizes[c]
            old = centroids[whole].copy()
            for part, factor in ((c, f32(1) + near), (whole, f32(1) - near)):
                new = old * factor
                centroids[part] = np.where(np.abs(new) < LIMIT, new, old)
            moved += [c, whole]
    return centroids, moved


# 5. Random choices


def philox(counter: list[Array], key: list[Array]) -> list[Array]:
    """Philox 4x32-10 of Salmon et al., 32-bit words in uint64 arrays."""
    mask = u64(0xFFFFFFFF)
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = u64(0xD2511F53) * c[0], u64(0xCD9E8D57) * c[2]
        c = [(b >> u64(32)) ^ c[1] ^ k[0], b & mask, (a >> u64(32)) ^ c[3] ^ k[1], a & mask]
        k = [(k[0] + u64(0x9E3779B9)) & mask, (k[1] + u64(0xBB67AE85)) & mask]
    return c


def keys(rows: Array, seed: int, purpose: int, redo: int = 0, second: int = 0) -> Array:
    """Rows are below 2^32; second: the second word of the counter."""
    s, mask = np.array(seed, u64), u64(0xFFFFFFFF)
    counter = [rows.astype(u64), *(np.array(word, u64) for word in (second, purpose, redo))]
    out = philox(counter, [s & mask, s >> u64(32)])
    return out[0] | out[1] << u64(32)


def sample(weights: Array, m: int | None, seed: int) -> Array:
    """m rows of weight; all rows, if they are no more, or without m."""
    rows = np.flatnonzero(weights > 0)
    if m is None or len(rows) <= m:
        return np.arange(len(weights))
    return np.sort(rows[np.lexsort((rows, keys(rows, seed, SAMPLE)))[:m]])


def initial(x: Array, rows: Array, weights: Array, k: int, seed: int, redo: int, given: Array | None = None) -> Array:
    """Given ones, then distinct rows of weight in key order, then, if there are fewer, the repeated ones."""
    x, rows = x[weights > 0], rows[weights > 0]
    given = x[:0] if given is None else given
    seen, taken, skipped = {(row + f32(0)).tobytes() for row in given}, [], []
    for i in np.lexsort((rows, keys(rows, seed, INITIAL, redo))):
        value = (x[i] + f32(0)).tobytes()  # -0 equals 0
        (skipped if value in seen else taken).append(i)
        seen.add(value)
    return np.concatenate([given, x[(taken + skipped)[: k - len(given)]]])


def draw_below(total: int, seed: int, step: int, trial: int, redo: int, purpose: int = PLUS_PLUS) -> int:
    counter = [np.array(word, u64) for word in (step, trial, purpose, redo)]
    words = philox(counter, [np.array(seed & 0xFFFFFFFF, u64), np.array(seed >> 32, u64)])
    return sum(int(word) << 32 * i for i, word in enumerate(words)) * total >> 128


def masses(d: Array, weights: Array) -> list[int]:
    """floor(D 2^s), 0 for rows of weight 0; s: as many bits as fit 31."""
    s = 31 - math.frexp(d[weights > 0].max())[1]
    return [math.floor(math.ldexp(v, s)) if w > 0 else 0 for v, w in zip(d, weights, strict=True)]


def parallel(x: Array, rows: Array, weights: Array, k: int, seed: int, redo: int, given: Array) -> Array:
    """k-means||: five rounds in which rows are drawn by mass, 2 k at a time; of these k by k-means++."""
    candidates = given if len(given) else plus_plus(x, weights, 1, seed, redo, given)
    for turn in range(5):
        p = masses(assign(x, candidates)[1], weights)
        wanted = [2 * k * m * int(w) for m, w in zip(p, weights, strict=True)]
        total = sum(wanted) // (2 * k)
        drawn = [i for i, row in enumerate(rows) if draw_below(total, seed, row, turn, redo, PARALLEL) < wanted[i]]
        candidates = np.concatenate([candidates, x[drawn]])
    if len(candidates) < k:
        return plus_plus(x, weights, k, seed, redo, candidates)
    near = np.zeros(len(candidates), np.int64)
    np.add.at(near, assign(x, candidates)[0], weights)
    first = len(given)
    return plus_plus(candidates[first:], np.maximum(near[first:], 1), k, seed, redo, given)


def afk_mc2(x: Array, weights: Array, k: int, seed: int, redo: int, given: Array) -> Array:
    """Each centroid is the end of a chain of 200 rows, proposed by mass and by weight."""
    centroids = given if len(given) else plus_plus(x, weights, 1, seed, redo, given)
    first = len(centroids)
    d = distances(x, centroids).min(axis=1)
    largest = d[weights > 0].max()
    if largest == 0:
        return plus_plus(x, weights, k, seed, redo, centroids)
    s, p, w = 31 - math.frexp(largest)[1], masses(d, weights), [int(weight) for weight in weights]
    total_mass, total_weight = sum(m * n for m, n in zip(p, w, strict=True)), sum(w)
    chance = [m * total_weight + total_mass for m in p]
    ends = list(itertools.accumulate(n * c for n, c in zip(w, chance, strict=True)))
    for c in range(first, k):
        rows = [bisect.bisect_right(ends, draw_below(ends[-1], seed, c, j, redo, PROPOSAL)) for j in range(200)]
        now = d[rows]
        if c > first:
            now = np.minimum(now, distances(x[rows], centroids[first:]).min(axis=1))
        m = [math.floor(math.ldexp(v, s)) for v in now]
        at = 0
        for j in range(1, 200):
            gain, loss = m[j] * chance[rows[at]], m[at] * chance[rows[j]]
            if draw_below(loss, seed, c, j, redo, ACCEPTANCE) < gain:
                at = j
        centroids = np.concatenate([centroids, x[rows[at]][None]])
    return centroids


def plus_plus(x: Array, weights: Array, k: int, seed: int, redo: int, given: Array) -> Array:
    """Given ones; then greedy k-means++: of 2 + log k rows drawn by mass, the one that leaves the least mass."""

    def draw(masses: list[int], step: int, trial: int) -> int:
        mass = draw_below(sum(masses), seed, step, trial, redo)
        return next(i for i, end in enumerate(itertools.accumulate(masses)) if end > mass)

    w = [int(weight) for weight in weights]
    taken = [] if len(given) else [draw(w, 0, 0)]
    d = distances(x, np.concatenate([given, x[taken]])).min(axis=1)
    for step in range(max(len(given), 1), k):
        largest = d[weights > 0].max()
        if largest == 0:
            taken.append(draw(w, step, 0))
            continue
        s = 31 - math.frexp(largest)[1]

        def masses(of: Array, s: int = s) -> list[int]:
            return [weight * math.floor(math.ldexp(v, s)) for weight, v in zip(w, of, strict=True)]

        now = masses(d)
        rows = [draw(now, step, trial) for trial in range(2 + int(math.log(k)))]
        lowered = [np.minimum(d, distances(x, x[row : row + 1])[:, 0]) for row in rows]
        best = min(range(len(rows)), key=lambda trial: sum(masses(lowered[trial])))
        taken.append(rows[best])
        d = lowered[best]
    return np.concatenate([given, x[taken]])


# 8. Weights


def integer_weights(given: Array) -> tuple[Array, int]:
    """Weights as integers, their sum at most 2^40, and the exponent s: they are the given ones times 2^s, rounded."""
    exact, most = [Fraction(float(w)) for w in given], 2**40
    s = 0
    if any(w.denominator > 1 for w in exact) or sum(exact) > most:
        e = math.frexp(float(max(given)))[1]
        total = sum(math.ceil(w * Fraction(2) ** (32 - e)) for w in exact)
        room = most - sum(w > 0 for w in exact)
        p = max(p for p in range(-24, 9) if total * Fraction(2) ** p <= room)
        s = p + 32 - e
    # round() of a fraction is half to even.
    return np.array([max(round(w * Fraction(2) ** s), 1) if w > 0 else 0 for w in exact], np.int64), s


# 8. Metrics


def on_sphere(x: Array) -> Array:
    """Rows of length 1; zero rows stay."""
    largest = np.abs(x).max(axis=1, keepdims=True)
    z = np.ldexp(x.astype(f64), -np.frexp(largest)[1]).astype(f32)
    length = np.sqrt(lane_distances(z, np.zeros((1, z.shape[1]), f32)))
    return np.where(largest > 0, z / np.where(largest > 0, length, f32(1)), x).astype(f32)


def direction_of(total: Array, before: Array) -> Array:
    """The sum of a cluster's rows at length 1, the squares added in fp64 as those of D in fp32."""
    lanes = [0.0] * LANES
    for j, s in enumerate(total):
        lanes[j % LANES] = float(Fraction(float(s)) ** 2 + Fraction(lanes[j % LANES]))
    while len(lanes) > 1:
        lanes = [a + b for a, b in zip(lanes[: len(lanes) // 2], lanes[len(lanes) // 2 :], strict=True)]
    length = math.sqrt(lanes[0])
    return (total / length).astype(f32) if length > 0 else before


# Lloyd's algorithm


def lloyd(
    x: Array,
    weights: Array,
    centroids: Array,
    niter: int,
    tol: float,
    inertia_tol: float = 0,
    changed_tol: float = 0,
    spherical: bool = False,
    frozen: int = 0,
    integers: bool = False,
    products: bool = False,
    empty_clusters: str = "farthest",
    numbers: Array | None = None,
    seed: int = 0,
    redo: int = 0,
) -> Run:
    """numbers: of the rows among all, for random rows."""
    k, grain, run = len(centroids), Grain(x, weights), Run(centroids)
    hi, lo = grain.limbs(x)
    own = np.array([assign(row[None], row[None], products)[1][0] for row in x]) if products else f32(0)
    sign = -1 if products else 1  # the sum of the products should rise
    before = np.full(len(x), -1)
    for iteration in range(niter):
        labels, d = assign(x, run.centroids, products)
        changed, empty = int((labels != before).sum()), k - len(np.unique(labels[weights > 0]))
        moves: list[Any] = []
        if empty_clusters != "split":
            draws = None if numbers is None else keys(numbers, seed, EMPTY, redo, iteration) | u64(1)
            gains = np.maximum(d - own, f32(0)) if products else d
            moves = relocations(labels, gains, weights, k, frozen, draws)
        for c, row in moves:
            labels[row] = c
        new = run.centroids.copy()
        for c in set(labels[weights > 0].tolist()) - set(range(frozen)):
            its = np.where(labels == c, weights, 0)
            total = grain.value(its @ hi, its @ lo)
            new[c] = direction_of(total, new[c]) if spherical else (total / its.sum()).astype(f32)
            new[c] = np.rint(new[c]) if integers else new[c]
        if empty_clusters == "split":
            sizes = np.array([weights[labels == c].sum() for c in range(k)])
            new, moved = split(new, sizes, frozen)
            moves = moved[::2]
            for c in set(moved):
                new[c] = on_sphere(new[c : c + 1])[0] if spherical else new[c]
                new[c] = np.rint(new[c]) if integers else new[c]
        shift = total_shift(new, run.centroids)
        run.stats.append(Stats(sign * inertia_of(d, weights), shift, changed, empty, len(moves)))
        run.centroids, before = new, labels
        if changed == 0 and not moves:  # a fixed point: the iterations left would repeat this one
            run.converged = True
            assert shift == 0
            if max(tol, inertia_tol, changed_tol) <= 0:
                run.stats += [run.stats[-1]] * (niter - 1 - iteration)
            break
        better = math.inf if iteration == 0 else sign * (run.stats[-2].inertia - run.stats[-1].inertia)
        limit = 0 if iteration == 0 else inertia_tol * abs(run.stats[-2].inertia)
        if (tol > 0 and shift < tol) or (inertia_tol > 0 and better < limit) or changed < changed_tol * len(x):
            run.converged = True
            break
    return run


def fit(
    data: Array,
    k: int,
    niter: int = 25,
    tol: float = 1e-8,
    seed: int = 0,
    max_points_per_centroid: int | None = 256,
    nredo: int = 1,
    init: Array | str = "random",
    weights: Array | None = None,
    spherical: bool = False,
    given: Array | None = None,
    frozen: bool = False,
    integers: bool = False,
    products: bool = False,
    empty_clusters: str = "farthest",
    inertia_tol: float = 0,
    changed_tol: float = 0,
) -> Fit:
    """`given`: the first centroids, (m, d) with m < k; `init` says where the others come from."""
    taken = (lambda rows: on_sphere(rows_of(rows))) if spherical else rows_of
    all_weights, s = (np.ones(len(data), np.int64), 0) if weights is None else integer_weights(weights)
    used = sample(all_weights, None if max_points_per_centroid is None else k * max_points_per_centroid, seed)
    x, w = taken(data[used]), all_weights[used]
    first = x[:0] if given is None else taken(given)
    if not isinstance(init, str):
        starts = [taken(init)]
        first = starts[0]
    elif init == "k-means++":
        starts = [plus_plus(x, w, k, seed, redo, first) for redo in range(nredo)]
    elif init == "k-means||":
        starts = [parallel(x, used, w, k, seed, redo, first) for redo in range(nredo)]
    elif init == "afk-mc2":
        starts = [afk_mc2(x, w, k, seed, redo, first) for redo in range(nredo)]
    else:
        starts = [initial(x, used, w, k, seed, redo, first) for redo in range(nredo)]
    if integers:
        starts = [np.rint(start) for start in starts]
    rule = {"spherical": spherical, "frozen": len(first) if frozen else 0, "integers": integers}
    rule |= {"products": products}
    rule |= {"inertia_tol": inertia_tol, "changed_tol": changed_tol}
    rule |= {"empty_clusters": empty_clusters, "seed": seed, "numbers": used if empty_clusters == "random" else None}
    runs = (lloyd(x, w, start, niter, tol, redo=redo, **rule) for redo, start in enumerate(starts))
    best = (max if products else min)(runs, key=lambda run: run.stats[-1].inertia)
    for stats in {id(stats): stats for stats in best.stats}.values():  # the repeated last ones are one object
        stats.inertia = math.ldexp(stats.inertia, -s)
    labels, d = assign(taken(data), best.centroids, products)
    inertia = math.ldexp((-1 if products else 1) * inertia_of(d, all_weights), -s)
    counts = int((w > 0).sum()), int((~x[w > 0].any(axis=1)).sum())
    return Fit(best.centroids, labels, inertia, best.stats[-1].inertia, *counts, best.converged, best.stats)
