# SPDX-License-Identifier: Apache-2.0
"""The CUDA compiler as packages from PyPI: which ones, when a build asks for them, where they lie.

Prints the folder with bin, include and lib if all of them are installed, else nothing; with --packages, their names.
Nothing but the standard library is needed: CMake, scripts/setup.py and the build backend use it.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

# One release of CUDA 13.0; its libcudart_static.a becomes part of what we ship, under licenses/.
PACKAGES = [
    "nvidia-cuda-nvcc==13.0.88",
    "nvidia-cuda-crt==13.0.88",
    "nvidia-nvvm==13.0.88",
    "nvidia-cuda-runtime==13.0.96",
]
PARTS = ["bin/nvcc", "include/crt/host_config.h", "nvvm/bin/cicc", "lib/libcudart_static.a"]  # one of each package
USUAL_FOLDER = "/usr/local/cuda/bin"


def setting(environment: Mapping[str, str], config: Mapping[str, object] | None = None) -> str:
    """FASTKMEANS_CUDA of a build: from pip's --config-settings, else CMAKE_ARGS, else the environment."""
    for key in ("cmake.define.FASTKMEANS_CUDA", "skbuild.cmake.define.FASTKMEANS_CUDA"):
        if value := (config or {}).get(key):
            return str(value)
    defined = re.findall(r"-D ?FASTKMEANS_CUDA(?::\w+)?=(\w+)", environment.get("CMAKE_ARGS", ""))
    return defined[-1] if defined else environment.get("FASTKMEANS_CUDA") or "AUTO"


def packages(wanted: str, has_nvcc: bool, has_driver: bool) -> list[str]:
    """What to install first: nothing unless CUDA is asked for, or a driver is there that could run it."""
    needed = wanted == "ON" or (wanted == "AUTO" and has_driver)
    return PACKAGES if needed and not has_nvcc else []


def has_nvcc(environment: Mapping[str, str]) -> bool:
    """Whether CMake finds a compiler, and no old one, without the packages: FastkmeansCuda.cmake looks for the same."""
    if "CUDACXX" in environment:
        return True
    folders = [environment.get("PATH", ""), USUAL_FOLDER]
    if "CUDA_HOME" in environment:
        folders.append(str(Path(environment["CUDA_HOME"], "bin")))
    found = shutil.which("nvcc", path=os.pathsep.join(filter(None, folders)))
    if found is None:
        return False
    text = subprocess.run([found, "--version"], capture_output=True, text=True).stdout
    return re.search(r"release (1[3-9]|[2-9]\d)\.", text) is not None


def has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def packages_here(config: Mapping[str, object] | None = None) -> list[str]:
    """What a build on this machine, in this environment, needs."""
    return packages(setting(os.environ, config), has_nvcc(os.environ), has_driver())


def folder() -> Path | None:
    """Where the packages lie, if this Python has all of them."""
    spec = importlib.util.find_spec("nvidia")
    for place in (spec.submodule_search_locations if spec else None) or []:
        toolkit = Path(place, "cu13")
        if all((toolkit / part).exists() for part in PARTS):
            return toolkit
    return None


if __name__ == "__main__":
    print(*(PACKAGES if "--packages" in sys.argv else filter(None, [folder()])))
