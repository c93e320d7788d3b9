# SPDX-License-Identifier: Apache-2.0
"""The wheel's version: that of version.hpp, unless FASTKMEANS_WHEEL_VERSION names another.

Clients pin `fastkmeans == 0.5.0`; a wheel built as `0.5.0+exact.1` satisfies that pin.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HEADER = Path(__file__).parent.parent / "include" / "fastkmeans" / "version.hpp"


def dynamic_metadata(_settings: Mapping[str, Any], _project: Mapping[str, Any]) -> dict[str, str]:
    """The hook scikit-build-core calls; the fragment goes into [project]."""
    found = re.search(r'#define FASTKMEANS_VERSION "(.+)"', HEADER.read_text(encoding="utf-8"))
    if not found:
        raise RuntimeError(f"no FASTKMEANS_VERSION in {HEADER}")
    return {"version": os.environ.get("FASTKMEANS_WHEEL_VERSION") or found[1]}
