# SPDX-License-Identifier: Apache-2.0
"""One library in a process of its own: JSON lines on stdin and stdout, as `contestant.py` asks.

The library's own prints go to stderr. A fit's clock starts with the data in memory (mode "host") or on the device
(mode "device") and stops when the centroids are there again and the device is idle.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import json
import os
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import adapters
from .memory import DeviceMemory, HostMemory

# Clocks and schedulers blur a shorter fit: it is repeated until this many seconds are filled, and the mean counts.
FILL_SECONDS = 0.05


def identity(spec: dict[str, Any]) -> dict[str, Any]:
    """Where the library came from and its version, or ImportError if either is not what was asked for."""
    module = importlib.import_module(spec["module"])
    file = Path(str(module.__file__)).resolve()
    home = Path(spec["folder"] or sysconfig.get_path("purelib")).resolve()
    if not file.is_relative_to(home):
        raise ImportError(f"{spec['module']} was imported from {file}, not from {home}")
    names = [spec["distribution"]] if spec["distribution"] else ["fastkmeans"]
    found = {dist.name: dist.version for dist in importlib.metadata.distributions(name=names[0], path=[str(home)])}
    version = next(iter(found.values()), None)
    if version is None or spec["version"] not in (None, version):
        raise ImportError(f"{names[0]} is version {version}, not {spec['version'] or 'installed'}")
    torch = sys.modules.get("torch")
    return {
        "file": f"{home.name}/{file.relative_to(home)}",
        "version": version,
        "torch": None if torch is None else torch.__version__,
        "python": sys.version.split()[0],
        "numpy": np.__version__,
    }


class Child:
    def __init__(self, spec: dict[str, Any], over: Callable[[int], object]) -> None:
        self.device = spec["device"]
        self.device_memory = DeviceMemory(self.device, spec["device_limit"], over)
        file, name = spec["adapter"].split(".")
        make = getattr(importlib.import_module(f"benchmarks.{file}"), name)
        self.adapter: adapters.Adapter = make(self.device, spec["mode"], spec["threads"], **spec["options"])
        self.identity = identity(spec)

    def load(self, message: dict[str, Any]) -> dict[str, Any]:
        x, limit = np.load(message["path"]).reshape(message["shape"]), message["rows"]
        n = x.shape[-2]
        if limit and n > limit and not self.adapter.subsamples:
            x = x[..., np.sort(np.random.default_rng(0).choice(n, limit, replace=False)), :]
        self.run = self.adapter.fit if x.ndim == 2 else self.adapter.fit_many
        self.adapter.load(x)
        self.adapter.sync()  # also makes the CUDA context, which is no fit's cost
        return {"rows": min(n, limit or n)}

    def fit(self, message: dict[str, Any]) -> dict[str, Any]:
        init = np.load(message["init"]) if message["init"] and self.adapter.takes_init else None
        if (method := message["method"]) not in self.adapter.methods:
            raise NotImplementedError(f"no {method}")
        job = adapters.Job(message["k"], message["niter"], message["seed"], init, message["max_points"], method)
        with HostMemory() as host, self.device_memory as device:
            fit, seconds = self.timed(job)
            if not message["cold"] and seconds < FILL_SECONDS:
                times = [seconds]
                while sum(times) < FILL_SECONDS:
                    times.append(self.timed(job)[1])
                seconds = sum(times) / len(times)
        centroids = np.asarray(self.adapter.to_host(fit.centroids), np.float32)
        *many, _, d = self.adapter.x.shape
        shape = (*many, job.k, d)
        if centroids.shape != shape:
            raise ValueError(f"centroids of shape {centroids.shape}, not {shape}")
        np.save(message["out"], centroids)
        return {
            "seconds": seconds,
            "iterations": fit.iterations,
            "init": "own" if init is None else "given",
            "host_bytes": host.peak,
            "device_bytes": device.peak,
        }

    def timed(self, job: adapters.Job) -> tuple[adapters.Fit, float]:
        self.adapter.sync()
        start = time.perf_counter()
        fit = self.run(job)
        self.adapter.sync()
        return fit, time.perf_counter() - start


def out_of_memory(error: BaseException) -> bool:
    text = f"{type(error).__name__} {error}".lower()
    return isinstance(error, MemoryError) or any(s in text for s in ("out of memory", "outofmemory", "bad_alloc"))


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # If memory runs short it is this process that the system should end, not the one that keeps the results.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")

    def answer(**message: Any) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    def over(peak: int) -> None:
        # In the middle of a fit: the parent, told so, ends this process.
        answer(ok=False, status="out-of-memory", reason=f"took {peak:,} bytes of device memory, more than it may")

    child = None
    for line in sys.stdin:
        message = json.loads(line)
        try:
            if message["do"] == "start":
                child = Child(message["spec"], over)
                answer(ok=True, **child.identity)
            else:
                assert child is not None
                answer(ok=True, **{"load": child.load, "fit": child.fit}[message["do"]](message))
        except Exception as error:  # whatever a library throws is a row, not the end of the run
            status = "out-of-memory" if out_of_memory(error) else "failed"
            if isinstance(error, ModuleNotFoundError) and child is None:
                status = "missing"
            if isinstance(error, NotImplementedError):
                status = "unsupported"
            answer(ok=False, status=status, reason=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
