# SPDX-License-Identifier: Apache-2.0
"""The numpy oracle itself, against exact fractions, published vectors and cases worked by hand."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import oracle
import pytest
from oracle import f32, f64, u64


def nearest_f32(value: Fraction) -> np.float32:
    """value >= 0 rounded to fp32, half to even, in integers."""
    if value == 0:
        return f32(0)
    exponent = math.frexp(value.numerator / value.denominator)[1] - 24
    grid = Fraction(2) ** max(exponent, -149)
    return f32(math.ldexp(round(value / grid), max(exponent, -149)))  # round() is half to even


def test_fma_against_fractions() -> None:
    rng = np.random.default_rng(1)
    t = np.ldexp(rng.standard_normal(4000), rng.integers(-149, 56, 4000)).astype(f32)
    s = np.square(t.astype(f64)) * np.ldexp(rng.standard_normal(4000) ** 2, rng.integers(-60, 60, 4000))
    s = np.minimum(s, 2.0**120).astype(f32)
    # Ties and near ties: t t has 48 bits, so s decides the rounding far below the last bit.
    t[:1000] = rng.integers(2**11, 2**13, 1000) * 2.0**-6 + 2.0**-18
    s[:1000] = np.ldexp(f32(1), rng.integers(-149, 0, 1000))
    expected = [nearest_f32(Fraction(float(a)) ** 2 + Fraction(float(b))) for a, b in zip(t, s, strict=True)]
    assert oracle.fma(t, t, s).tobytes() == np.array(expected, f32).tobytes()
    twice = (np.square(t) + s).astype(f32)
    assert (twice != np.array(expected, f32)).any()  # a product rounded first would be seen


@pytest.mark.parametrize("d", [1, 31, 32, 33, 100])
@pytest.mark.parametrize("exponent", [0, -40, -149, 55])
def test_distance_against_fractions(d: int, exponent: int) -> None:
    rng = np.random.default_rng(d)
    x = np.ldexp(rng.uniform(-1, 1, (4, d)), exponent).astype(f32)
    c = np.ldexp(rng.uniform(-1, 1, (3, d)), exponent).astype(f32)
    scale = Fraction(2) ** 64 if exponent <= -32 else Fraction(1)
    for i, row in enumerate(x):
        for j, centroid in enumerate(c):
            lanes = [Fraction(0)] * 32
            for e in range(d):
                t = Fraction(float(f32(row[e]) - f32(centroid[e]))) * scale
                lanes[e % 32] = Fraction(float(nearest_f32(t * t + lanes[e % 32])))
            for half in (16, 8, 4, 2, 1):
                lanes = [Fraction(float(nearest_f32(lanes[m] + lanes[m + half]))) for m in range(half)]
            assert Fraction(oracle.distances(x, c)[i, j]) == lanes[0] / scale**2


def test_distances_of_a_row_do_not_depend_on_its_neighbours() -> None:
    x = np.array([[2.0**-33], [1.0], [2.0**-138], [2.0**-149]], f32)
    c = np.array([[0.0], [2.0**-33]], f32)
    assert oracle.distances(x, c).tolist() == [[2.0**-66, 0], [1, 1], [2.0**-276, 2.0**-66], [0, 2.0**-66]]


def test_philox_known_answers() -> None:  # from Random123's kat_vectors
    pi = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0]
    ones = [0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2
    for (counter, key), expected in [
        (([0] * 4, [0] * 2), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        (ones, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (pi, "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ]:
        out = oracle.philox([np.array(v, u64) for v in counter], [np.array(v, u64) for v in key])
        assert " ".join(f"{int(v):08x}" for v in out) == expected


def test_sums_are_exact() -> None:
    """With both limbs a mean of rows between 2^-30 and 1 is the true one, correctly rounded but for the quotient."""
    rng = np.random.default_rng(2)
    x = np.ldexp(rng.standard_normal((50, 3)), rng.integers(-30, 0, (50, 1))).astype(f32)
    grain = oracle.Grain(x, np.ones(50, int))
    assert grain.two.all()
    hi, lo = grain.limbs(x)
    total = grain.value(hi.sum(axis=0), lo.sum(axis=0))
    for j in range(3):
        assert abs(Fraction(total[j]) - sum(Fraction(float(v)) for v in x[:, j])) <= Fraction(2) ** -50 * 16
    assert not oracle.Grain(np.ones((5, 2), f32), np.ones(5, int)).two.any()


def test_relocation_by_hand() -> None:
    labels = np.array([0, 0, 0, 2, 2, 4])
    d = np.array([1.0, 4.0, 4.0, 3.0, 3.5, 100.0])  # cluster 4 has one row: no donor
    assert oracle.relocations(labels, d, np.ones(6, int), 6) == [(1, 1), (3, 4)]
    assert oracle.relocations(labels, np.zeros(6), np.ones(6, int), 6) == []


def test_fit_by_hand() -> None:
    x = np.array([[0], [1], [10], [11], [20]], f32)
    fit = oracle.fit(x, 2, init=np.array([[0], [1]], f32), tol=-1, niter=6)
    assert fit.centroids.ravel().tolist() == [0.5, f32(41 / 3)]
    assert fit.labels.tolist() == [0, 0, 1, 1, 1]
    assert [(s.changed, s.empty) for s in fit.stats] == [(5, 0), (1, 0), (0, 0), (0, 0), (0, 0), (0, 0)]
    assert fit.stats[0].inertia == 0 + 0 + 81 + 100 + 361
    assert fit.converged


def test_initial_rows_are_distinct_first() -> None:
    x = np.array([[0.0], [-0.0], [0.0], [5.0], [5.0]], f32)
    start = oracle.initial(x, np.arange(5), np.ones(5, int), 4, seed=3, redo=0)
    assert sorted(np.abs(start[:2]).ravel().tolist()) == [0, 5]
