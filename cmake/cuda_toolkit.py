# SPDX-License-Identifier: Apache-2.0
"""Prints the folder of the CUDA compiler that the packages nvidia-cuda-nvcc and others brought, if they are there."""

import importlib.util
from pathlib import Path

spec = importlib.util.find_spec("nvidia")
for folder in spec.submodule_search_locations or [] if spec else []:
    if Path(folder, "cu13", "bin", "nvcc").exists():
        print(Path(folder, "cu13"))
        break
