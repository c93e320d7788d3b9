# SPDX-License-Identifier: Apache-2.0
"""Inertia of centroids over all rows, and NMI: by brute force in float64, so that no library judges itself.

usage: python -m benchmarks.evaluate X.npy LABELS.npy|- DEVICE
Each line of stdin is a JSON list of files of centroids; the answer has inertia per point and NMI (or null) of each.
Centroids (B, k, d) are those of B problems, whose rows follow each other in X.

The nearest centroid is found by |c|^2 - 2xc of rows less their mean, all in float64. Its error, about 1e-15 of the
squared norms, can only swap centroids as good as equally near; the distance itself is then summed from differences.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

import numpy as np

SCORES = 1 << 25  # scores at a time: 256 MiB of float64


def assign(x: np.ndarray, centroids: np.ndarray, xp: Any = None) -> tuple[np.ndarray, float]:
    """Labels (n,) int64 and inertia. `xp` is numpy, or torch for the GPU."""
    labels = np.empty(len(x), np.int64)
    inertia = 0.0
    mean = x[: 1 << 16].mean(axis=0, dtype=np.float64)
    gpu = xp is not None
    c = centroids.astype(np.float64) - mean
    if gpu:
        c = xp.from_numpy(c).cuda()
    norms = (c * c).sum(1)
    step = max(64, SCORES // len(c))
    for start in range(0, len(x), step):
        rows = x[start : start + step].astype(np.float64) - mean
        if gpu:
            rows = xp.from_numpy(rows).cuda()
        if gpu:
            scores = xp.addmm(norms, rows, c.T, alpha=-2)  # one pass over the scores, which are most of the traffic
        else:
            scores = rows @ c.T
            scores *= -2
            scores += norms
        nearest = scores.argmin(1)
        difference = rows - c[nearest]
        inertia += float((difference * difference).sum())
        labels[start : start + step] = nearest.cpu().numpy() if gpu else nearest
    return labels, inertia


def assign_many(x: np.ndarray, centroids: np.ndarray, xp: Any = None) -> tuple[np.ndarray, float]:
    """The same of centroids (B, k, d): the inertia of all problems."""
    if centroids.ndim == 2:
        return assign(x, centroids, xp)
    parts = x.reshape(len(centroids), -1, x.shape[1])
    labels, inertias = zip(*(assign(*each, xp) for each in zip(parts, centroids, strict=True)), strict=True)
    return np.concatenate(labels), sum(inertias)


def main(x_path: str, labels_path: str, device: str) -> None:
    x = np.load(x_path, mmap_mode="r")
    truth = None if labels_path == "-" else np.load(labels_path)
    xp: Any = importlib.import_module("torch") if device == "cuda" else None
    for line in sys.stdin:
        inertias: list[float] = []
        nmis: list[float | None] = []
        for file in json.loads(line):
            labels, inertia = assign_many(x, np.load(file), xp)
            inertias.append(inertia / len(x))
            nmis.append(None if truth is None else nmi(truth, labels))
        print(json.dumps({"inertia_per_point": inertias, "nmi": nmis}), flush=True)


def nmi(truth: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(truth, labels))


if __name__ == "__main__":
    main(*sys.argv[1:])
