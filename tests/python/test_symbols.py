# SPDX-License-Identifier: Apache-2.0
"""The compiled module beside other C++ libraries of the process."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from fastkmeans import _core


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="an ELF matter")
@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm, which comes with any compiler")
def test_the_module_exports_what_python_looks_for_and_nothing_else() -> None:
    command = ["nm", "-D", "--defined-only", _core.__file__]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split()[-1] for line in lines] == ["PyInit__core"]
