# SPDX-License-Identifier: Apache-2.0
"""`triton_kmeans` under the original's path and signature. No Triton is needed: the exact core does the work."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _core, _input
from ._checks import usable_device


def triton_kmeans(
    data_chunk: Any,
    data_chunk_norms: Any,
    centroids: Any,
    centroids_sqnorm: Any,
    best_ids: Any,
) -> None:
    """Write the nearest centroid of each row into `best_ids`, in place.

    data_chunk       : tensor (n, d), any real dtype; n may be 0
    data_chunk_norms : unused, distances are exact without them
    centroids        : tensor (k, d), any real dtype
    centroids_sqnorm : unused
    best_ids         : tensor (n,), int64, written in place; ties go to the lowest index

    All three are on the CPU, or on one CUDA device, which then does the work. Raises RuntimeError for other devices and
    for a CUDA device that cannot be used, ValueError for shapes that do not fit, TypeError for dtypes.
    """
    home = str(getattr(data_chunk, "device", "cpu"))
    for name, tensor in (("data_chunk", data_chunk), ("centroids", centroids), ("best_ids", best_ids)):
        device = str(getattr(tensor, "device", "cpu"))
        if device != home or not (device == "cpu" or device.startswith("cuda:")):
            raise RuntimeError(f"{name} is on {device!r}: all tensors must be on the CPU, or all on one CUDA device.")
    usable_device(home, gpu=True)
    x = _input.read(data_chunk, data_chunk.shape[-1], "data_chunk", least=0, device=home)
    c = _input.read(centroids, x.array.shape[1], "centroids")
    dtype, shape = str(best_ids.dtype).removeprefix("torch."), tuple(best_ids.shape)
    if dtype != "int64":
        raise TypeError(f"best_ids must be int64, given {dtype}.")
    if shape != x.array.shape[:1]:
        raise ValueError(f"best_ids must have shape ({x.array.shape[0]},), given {shape}.")
    labels = _core.predict(x.array, x.dtype, c.array, c.dtype, device=home)["labels"]
    if isinstance(best_ids, np.ndarray):
        best_ids[...] = labels
        return
    import torch  # its tensors came in

    with torch.inference_mode():  # which may write into inference tensors too
        best_ids.copy_(torch.from_numpy(labels))
