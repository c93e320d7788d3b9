# SPDX-License-Identifier: Apache-2.0
"""Peak memory of a fit, beyond what was there before it."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _status(field: str) -> int | None:
    """Bytes from /proc/self/status."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return None


class HostMemory:
    """`peak`: the most resident bytes of this process within the block, less those at its beginning."""

    peak: int | None = None

    def __enter__(self) -> HostMemory:
        self.resets = True
        try:
            Path("/proc/self/clear_refs").write_text("5")  # makes VmHWM start again from here
        except OSError:
            self.resets = False
        self.before = _status("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        if self.before is None:
            return
        whole_life = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        high = (_status("VmHWM") if self.resets else None) or whole_life
        self.peak = max(0, high - self.before)


class DeviceMemory:
    """`peak`: the most bytes taken on GPU 0 within the block, less those at its beginning.

    Asks the driver, the only one who sees every library's memory alike. What a library keeps from one fit for the next
    is therefore in the peak of the first fit alone; so is CUDA's own context, if that fit is the one that makes it.
    `over` is called, once, from the thread that watches, with the first peak above `limit` bytes.
    """

    interval = 0.01  # seconds: shorter than any fit whose memory matters

    def __init__(
        self, device: str, limit: int | None = None, over: Callable[[int], object] = lambda peak: None
    ) -> None:
        self.peak: int | None = None
        self.nvml: Any = None
        self.limit, self.over = limit, over
        if device != "cuda":
            return
        with contextlib.suppress(OSError):
            nvml = ctypes.CDLL("libnvidia-ml.so.1")
            self.handle = ctypes.c_void_p()
            if nvml.nvmlInit_v2() == 0 and nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(self.handle)) == 0:
                self.nvml = nvml
        if limit is not None and self.nvml is None:
            raise RuntimeError("no limit on device memory can be kept: the driver's library (NVML) is missing")

    def _used(self) -> int:
        total_free_used = (ctypes.c_ulonglong * 3)()
        if self.nvml.nvmlDeviceGetMemoryInfo(self.handle, ctypes.byref(total_free_used)) != 0:
            return 0
        return int(total_free_used[2])

    def __enter__(self) -> DeviceMemory:
        if self.nvml is not None:
            self.peak, self.before = 0, self._used()
            self.stop = threading.Event()
            self.thread = threading.Thread(target=self._watch, daemon=True)
            self.thread.start()
        return self

    def _watch(self) -> None:
        while True:
            self._look()
            if self.stop.wait(self.interval):
                return

    def _look(self) -> None:
        self.peak = max(self.peak or 0, self._used() - self.before)
        if self.limit is not None and self.peak > self.limit:
            self.limit = None
            self.over(self.peak)

    def __exit__(self, *_: object) -> None:
        if self.nvml is not None:
            self.stop.set()
            self.thread.join()
            self._look()
