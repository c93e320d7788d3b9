# SPDX-License-Identifier: Apache-2.0
"""The .npy files of the command: matrices that are mapped, outputs that are whole."""

from __future__ import annotations

import io
import math
import os
import stat
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from . import _input

# numpy takes headers of up to 10,000 bytes.
_HEADER_BYTES = 16_384

_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    (3, 0): np.lib.format.read_array_header_2_0,  # differs only in the names of fields, which a matrix has not
}


class Failure(Exception):
    """What the user can put right: one line on stderr, exit code 2."""


def load(path: str, content: str = "matrix (n, d)") -> np.ndarray[Any, Any]:
    """The matrix (n, d), n and d at least 1, in the .npy file `path`: mapped into memory, not read.

    content : or "vector (n)".

    Raises Failure for a file that cannot be read or holds anything else, TypeError for a dtype that is no real number.
    """
    try:
        # Asked before opening it: to open a pipe is to wait for its writer, and a device may have no end.
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe"}
            raise _unexpected(path, content, kinds.get(stat.S_IFMT(mode), "a device"))
        with open(path, "rb") as file:
            return _map(file, path, content)
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror or error}") from None


def _map(file: io.BufferedReader, path: str, content: str) -> np.ndarray[Any, Any]:
    # Not np.load: it reads headers and archives of any size, and its words for a damaged file are about its own code.
    head = io.BytesIO(file.read(_HEADER_BYTES))
    beginning = head.getvalue()
    if not beginning:
        raise _unexpected(path, content, "an empty file")
    if beginning.startswith(b"PK"):
        raise _unexpected(path, content, "an archive (.npz)")
    if not beginning.startswith(np.lib.format.MAGIC_PREFIX):
        raise _unexpected(path, content, "a file of another format")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a header by Python 2 is as good as any
            shape, fortran_order, dtype = _HEADER_READERS[np.lib.format.read_magic(head)](head)
    except Exception:  # a damaged header may fail anywhere in numpy, tokenize and ast
        raise _unexpected(path, content, "a damaged or unfinished header") from None
    if [type(count) for count in shape] != [int] * (1 + content.count(",")) or min(
        shape
    ) < 1:  # True is an int to numpy
        raise _unexpected(path, content, f"shape {shape}")
    _input.read(np.empty((1, 1), dtype), 1, path)  # for the dtype: objects must not be mapped
    size, needed = os.fstat(file.fileno()).st_size, head.tell() + math.prod(shape) * dtype.itemsize
    if size < needed:
        raise _unexpected(path, content, f"a file cut short: {size} bytes of the {needed} that its header tells of")
    return np.memmap(path, dtype, "r", offset=head.tell(), shape=shape, order="F" if fortran_order else "C")


def _unexpected(path: str, content: str, given: str) -> Failure:
    return Failure(f"{path} must be a .npy file with a non-empty {content} of numbers, given {given}")


def check_outputs(paths: Sequence[str], inputs: Sequence[str]) -> None:
    """Raise Failure, before the work rather than after it, for outputs that `save` must not write or could not.

    As far as can be told: somebody else's file in a folder like /tmp may be seen to be theirs by the renaming alone.
    """
    targets = [os.path.realpath(path) for path in paths]
    if len(set(targets)) < len(targets):
        raise Failure(f"both outputs would be {paths[0]}")
    for path, target in zip(paths, targets, strict=True):
        if target in map(os.path.realpath, inputs):
            raise Failure(f"{path} is an input: choose another output")
        temporary = _beside(target)
        with _writing(path), _removed([temporary]):
            old = _status(target)
            if path.endswith(os.sep) or (old is not None and not stat.S_ISREG(old.st_mode)):
                raise Failure(f"cannot write {path}: not a regular file")
            open(temporary, "xb").close()


def save(outputs: Sequence[tuple[str, np.ndarray[Any, Any]]]) -> None:
    """Write C-contiguous arrays as .npy files, given as pairs of path and array; a symbolic link is followed.

    All are written beside their targets first; then each in turn takes its target's name. So each target is whole at
    any time, old or new, and the old one's permissions stay. Only if a change of names fails or is interrupted are
    the targets before it new, the others old. Raises Failure if a file cannot be written.
    """
    targets = [os.path.realpath(path) for path, _ in outputs]
    temporaries = [_beside(target) for target in targets]
    with _removed(temporaries):
        for (path, array), target, temporary in zip(outputs, targets, temporaries, strict=True):
            with _writing(path):
                _write(array, temporary, _status(target))
        for (path, _), target, temporary in zip(outputs, targets, temporaries, strict=True):
            with _writing(path):
                os.replace(temporary, target)


@contextmanager
def _writing(path: str) -> Iterator[None]:
    """An error of the system becomes the Failure to write `path`."""
    try:
        yield
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror or error}") from None


@contextmanager
def _removed(temporaries: Sequence[str]) -> Iterator[None]:
    """However this ends, the files `temporaries` are gone: removed, unless they have their targets' names by then."""
    try:
        yield
    finally:
        for temporary in temporaries:
            with suppress(OSError):
                os.unlink(temporary)


def _write(array: np.ndarray[Any, Any], path: str, old: os.stat_result | None) -> None:
    """A new file `path`, on the disk when this returns. Its permissions are those of `old`, or of any new file."""
    # A replacement is nobody else's to read before it has the old file's permissions.
    at_first = 0o666 if old is None else 0o600
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, at_first)) as file:
        if old is not None:
            _give_permissions(file.fileno(), old)
        # Not np.save: its tofile() loses the error of a full disk when the array fits into stdio's buffer.
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.data)
        file.flush()
        os.fsync(file.fileno())


def _give_permissions(file: int, old: os.stat_result) -> None:
    """The group and mode of `old`; if the group cannot be had, what it was allowed is nobody else's."""
    mode = stat.S_IMODE(old.st_mode)
    try:
        os.fchown(file, -1, old.st_gid)
    except OSError:
        mode &= ~(stat.S_IRWXG | stat.S_ISGID)
    os.fchmod(file, mode)


def _status(path: str) -> os.stat_result | None:
    """Kind and permissions of the file at `path`, or None if there is none."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _beside(target: str) -> str:
    """A name that no file has, in the folder of `target`, so that renaming replaces it in one step.

    Whoever takes it must open it with "x", which makes mktemp safe. Not mkstemp: its files are private to the user, and
    after Ctrl-C in the middle of it nobody knows the name.
    """
    return tempfile.mktemp(".tmp", ".fastkmeans-", os.path.dirname(target))
