# SPDX-License-Identifier: Apache-2.0
"""What the tests of the command share; they run in the fixture `folder`, which has x.npy and c.npy."""

from __future__ import annotations

import os
import sys
from typing import Any

from fastkmeans import _cli

COMMAND = [sys.executable, "-m", "fastkmeans"]
TRAIN_BOTH = ["train", "x.npy", "-k", "5", "-o", "out.npy", "--labels", "labels.npy"]
BOTH = ["c.npy", "labels.npy", "out.npy", "x.npy"]  # the folder after it


def run(*arguments: str) -> int:
    """The exit code of the command, run in this process."""
    return _cli.main(arguments)


def train(*extra: str) -> int:
    return run("train", "x.npy", "-k", "5", "-o", "out.npy", *extra)


def refused(capsys: Any, *arguments: str) -> str:
    """The one line on stderr of a command that must fail with exit code 2 and leave no file behind."""
    before = sorted(os.listdir("."))
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert err.startswith("fastkmeans")
    assert sorted(os.listdir(".")) == before
    return str(err)
