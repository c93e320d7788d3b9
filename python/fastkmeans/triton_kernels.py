# SPDX-License-Identifier: Apache-2.0
"""`triton_kmeans` under the original's path and signature. No Triton is needed: the exact core does the work."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _core, _input


def triton_kmeans(
    data_chunk: Any,
    data_chunk_norms: Any,
    centroids: Any,
    centroids_sqnorm: Any,
    best_ids: Any,
) -> None:
    """Write the nearest centroid of each row into `best_ids`, in place.

    data_chunk       : CPU tensor (n, d), any real dtype; n may be 0
    data_chunk_norms : unused, distances are exact without them
    centroids        : CPU tensor (k, d), any real dtype
    centroids_sqnorm : unused
    best_ids         : CPU tensor (n,), int64, written in place; ties go to the lowest index

    Raises RuntimeError for tensors on a GPU, ValueError for shapes that do not fit, TypeError for dtypes.
    """
    for name, tensor in (("data_chunk", data_chunk), ("centroids", centroids), ("best_ids", best_ids)):
        device = str(getattr(tensor, "device", "cpu"))
        if device != "cpu":
            raise RuntimeError(f"{name} is on {device!r}: this version of fastkmeans has no CUDA or other GPU backend.")
    x = _input.read(data_chunk, data_chunk.shape[-1], "data_chunk", least=0)
    c = _input.read(centroids, x.array.shape[1], "centroids")
    ids = best_ids if isinstance(best_ids, np.ndarray) else best_ids.detach().numpy()
    if ids.dtype != np.int64:
        raise TypeError(f"best_ids must be int64, given {ids.dtype}.")
    if ids.shape != x.array.shape[:1]:
        raise ValueError(f"best_ids must have shape ({x.array.shape[0]},), given {ids.shape}.")
    ids[...] = _core.predict(x.array, x.dtype, c.array, c.dtype)["labels"]
