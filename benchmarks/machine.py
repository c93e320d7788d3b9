# SPDX-License-Identifier: Apache-2.0
"""What a result depends on beside the code: the machine and the commit."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def output(*command: str) -> str | None:
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def cpus() -> int:
    """Those this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine(device: str) -> dict[str, Any]:
    """Processor, memory, GPU and driver. A name that the system hides ("Intel(R) Xeon(R) Processor") stays so."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = dict(re.findall(r"^([\w ]+?)\s*:\s*(.*)$", info, re.MULTILINE))
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    wanted = ["avx2", "avx512f", "avx512_vnni", "amx_int8", "asimd", "asimddp"]
    gpu = driver = None
    if device == "cuda":
        query = output("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
        gpu, _, driver = (query or "").splitlines()[0].partition(", ") if query else (None, None, None)
    return {
        "cpu": fields.get("model name") or platform.processor() or platform.machine(),
        "cpus": cpus(),
        "flags": [flag for flag in wanted if flag in flags],
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpu": gpu,
        "driver": driver,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def commit() -> dict[str, Any]:
    """HEAD, and whether the tree had changes that it does not hold.

    A copy without git is told by $FASTKMEANS_COMMIT: `git describe --always --dirty --abbrev=40 --exclude '*'`.
    """
    if told := os.environ.get("FASTKMEANS_COMMIT"):
        return {"commit": told.removesuffix("-dirty"), "changed": told.endswith("-dirty")}
    return {"commit": output("git", "rev-parse", "HEAD"), "changed": bool(output("git", "status", "--porcelain"))}


def without_paths(text: str) -> str:
    """Absolute paths cut to their last part: results are published, the folders of a machine are not."""
    return re.sub(r"(?<![\w.:/])/(?:[^\s/'\",:]+/)*([^\s/'\",:]+)", r"\1", text)


def command_line(argv: list[str]) -> str:
    return shlex.join(["python", "-m", "benchmarks", *(without_paths(word) for word in argv)])
