# SPDX-License-Identifier: Apache-2.0
"""README.md shows code: the Python and the commands run, the C++ and the CMake lines are those of examples/cpp."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert found, f"README.md has no block of {language}"
    return found


def test_the_python_blocks_run_in_order_and_without_warnings() -> None:
    source = "\n".join(blocks("python"))
    command = [sys.executable, "-W", "error", "-c", source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(100, 64) ")


def test_the_first_python_block_is_short() -> None:
    assert len(blocks("python")[0].splitlines()) <= 10


def test_the_commands_run(tmp_path: Path) -> None:
    np.save(tmp_path / "points.npy", np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32))
    commands = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("fastkmeans ")]
    assert commands
    for line in commands:
        command = [sys.executable, "-m", *shlex.split(line)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{line}: {done.stderr}"
    assert np.load(tmp_path / "centroids.npy").shape == (100, 8)
    assert np.array_equal(np.load(tmp_path / "labels.npy"), np.load(tmp_path / "again.npy"))


@pytest.mark.parametrize("name", ["demo", "test"])
def test_the_make_targets_exist(name: str) -> None:
    assert any(f"make {name} " in block for block in blocks("sh"))
    assert f"\n{name}:" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_cpp_is_that_of_the_example() -> None:
    example = (ROOT / "examples" / "cpp" / "main.cpp").read_text(encoding="utf-8")
    for block in blocks("cpp"):
        assert block in example


def test_the_cmake_lines_are_those_of_the_example() -> None:
    example = (ROOT / "examples" / "cpp" / "CMakeLists.txt").read_text(encoding="utf-8")
    for line in blocks("cmake")[0].splitlines():
        assert line in example
