# SPDX-License-Identifier: Apache-2.0
"""The build backend: scikit-build-core's, which also asks for a CUDA compiler when a build wants one (cuda_toolkit.py).

Conditional requirements cannot be said in pyproject.toml: no environment marker knows of FASTKMEANS_CUDA.
"""

from __future__ import annotations

from typing import Any

import cuda_toolkit
from scikit_build_core import build
from scikit_build_core.build import (  # noqa: F401  the hooks that stay as they are
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)


def get_requires_for_build_wheel(config_settings: dict[str, Any] | None = None) -> list[str]:
    return [*build.get_requires_for_build_wheel(config_settings), *cuda_toolkit.packages_here(config_settings)]


def get_requires_for_build_editable(config_settings: dict[str, Any] | None = None) -> list[str]:
    return [*build.get_requires_for_build_editable(config_settings), *cuda_toolkit.packages_here(config_settings)]
