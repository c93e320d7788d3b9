# SPDX-License-Identifier: Apache-2.0
"""How fast fits should be: what docs/performance.md shows beside what they are. Without a wish they are shown alone."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Target(NamedTuple):
    case: str  # of presets.py
    isa: str = ""  # ours by this instruction set; "" on a GPU
    mode: str = "host"  # where rows and centroids lie
    seconds: float | None = None  # at most
    times: Mapping[str, float] = MappingProxyType({})  # at least so many times as fast as these peers


def _superkmeans(flat: float, faiss: float | None = None) -> dict[str, float]:
    return {"superkmeans-f32": flat} | ({"faiss-superkmeans": faiss} if faiss else {})


# scikit-learn's best loop counts.
LOOPS = {"sklearn-lloyd": 10, "sklearn-one-thread": 10, "ours-loop": 5}
CPU = [
    *(Target("tok768", isa, times=_superkmeans(5, 7)) for isa in ("AMX", "VNNI")),
    Target("tok768", "AVX2", times=_superkmeans(3, 4)),
    *(Target("tok1152", isa, times=_superkmeans(7, 8)) for isa in ("AMX", "VNNI")),
    Target("tok1152", "AVX2", times=_superkmeans(3, 4)),
    Target("lowrank1024", "AMX"),
    Target("lowrank1024", "VNNI", times=_superkmeans(8, 10)),
    Target("lowrank1024", "AVX2"),
    Target("tok384-4096", "AMX", times={"faiss": 8, "superkmeans-f32": 6}),
    Target("tok384-4096", "VNNI", times=_superkmeans(4.5)),
    Target("tok384-4096", "AVX2", times=_superkmeans(3)),
    Target("tok384-1024", "AMX", times={"faiss": 10, "superkmeans-f32": 3.5}),
    Target("tok128-10485", "AMX", times=_superkmeans(18)),
    Target("tok128-2621", "AMX", times={"faiss": 6, "superkmeans-f32": 3}),
    Target("blobs", "AMX", times={"faiss": 5, "superkmeans-f32": 3}),
    Target("iid", "AMX", times={"faiss": 1.3, "superkmeans-f32": 3}),
    Target("mnist", "AMX", times={"faiss": 2, "superkmeans-f32": 3}),
    *(Target("batch", isa, times=LOOPS) for isa in ("AMX", "VNNI", "AVX2")),
    *(Target(f"lowdim-{d}-256", "AMX", times={"faiss": 1.5, "sklearn-lloyd": 2}) for d in (3, 8, 32)),
]

FLASH, TRITON = "flash-kmeans-fp16", "fastkmeans-triton"
CUDA = [
    Target("colbert-8192", seconds=0.04, times={FLASH: 2.5}),
    Target("colbert-16384", seconds=0.13),
    Target("colbert-32768", seconds=0.28),
    Target("colbert-65536", seconds=0.7),
    Target("colbert-131072", seconds=2.0, times={FLASH: 6.5, TRITON: 15}),
    Target("colbert-131072", mode="device", seconds=1.8),
    Target("tok128-4096", mode="device", seconds=0.04, times={FLASH: 2}),
    Target("tok128-26112", mode="device", seconds=0.12, times={FLASH: 3.8}),
    Target("tok384-4096", mode="device", seconds=0.12, times={FLASH: 2.5}),
    Target("tok384-26112", mode="device", seconds=0.36, times={FLASH: 5}),
    Target("tok768", mode="device", seconds=0.095, times={FLASH: 4}),
    Target("lowrank1024", mode="device", times={FLASH: 6}),
    Target("iid", mode="device", times={FLASH: 1.5}),
    Target("sift-like", mode="device"),
    Target("lowdim-8-256", mode="device", times={FLASH: 1.5}),
    Target("lowdim-32-256", mode="device", times={FLASH: 1.5}),
    Target("small", mode="device", seconds=0.0025),
    Target("batch", mode="device", times={FLASH: 2}),
    Target("batch"),
    Target("memory"),
]
