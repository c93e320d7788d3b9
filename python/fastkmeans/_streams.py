# SPDX-License-Identifier: Apache-2.0
"""stdout and stderr of the command, also where they are closed, full, or a pipe that nobody reads."""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO, cast


def hold_closed() -> None:
    """Keep the places of standard streams that are closed; writing to them still fails.

    Otherwise the next file opened would be, say, stderr, and warnings would be written into the centroids.
    """
    while (held := os.open(os.devnull, os.O_RDONLY)) <= 2:
        pass
    os.close(held)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def write_now(stream: TextIO, text: str) -> OSError | None:
    """Write and flush `text`; the error if that fails, and from then on the stream leads nowhere."""
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        # Python flushes what is left once more when it ends, and would make an exit code of that failure.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        return error
    return None


class _Forgiving:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        write_now(self._stream, text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def forgiving(stream: TextIO) -> TextIO:
    """`stream`, except that what cannot be written is lost, and that is no error."""
    return cast(TextIO, _Forgiving(stream))
