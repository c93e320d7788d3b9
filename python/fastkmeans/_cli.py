# SPDX-License-Identifier: Apache-2.0
"""The command `fastkmeans`: .npy files in, .npy files out.

Exit codes: 0 done; 2 bad file, option or output, with one line on stderr; 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, NoReturn

import numpy as np

from . import FastKMeans, __version__, _core

# Rows assigned between two looks at the progress bar: enough work for all threads, and a few looks a second.
_ROWS_PER_STEP = 65_536


class _Failure(Exception):
    """What the user can put right: one line on stderr, exit code 2."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="fastkmeans", description="Exact k-means on .npy files.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"fastkmeans {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="find the centroids of a matrix", allow_abbrev=False)
    train.add_argument("input", metavar="INPUT.npy", help="matrix (n, d)")
    train.add_argument("-k", type=int, required=True, metavar="K", help="number of clusters")
    train.add_argument("-o", dest="output", required=True, metavar="FILE", help="for the centroids: (K, d) float32")
    train.add_argument("--labels", metavar="FILE", help="for the nearest centroid of each row: (n,) int64")
    train.add_argument("--niter", type=int, default=25, help="most iterations (%(default)s)")
    train.add_argument("--tol", type=float, default=1e-8, help="stop when centroids move less; 0: never (%(default)s)")
    train.add_argument("--seed", type=int, default=0, help="of every random choice (%(default)s)")
    train.add_argument("--nredo", type=int, default=1, help="runs, of which the best is kept (%(default)s)")
    train.add_argument(
        "--max-points-per-centroid",
        type=_count_or_all,
        default=256,
        metavar="N",
        help="train on at most K times N rows; 'all' for every row (%(default)s)",
    )
    train.set_defaults(run=_train)

    assign = commands.add_parser("assign", help="the nearest centroid of each row", allow_abbrev=False)
    assign.add_argument("input", metavar="INPUT.npy", help="matrix (n, d)")
    assign.add_argument("centroids", metavar="CENTROIDS.npy", help="matrix (k, d)")
    assign.add_argument("-o", dest="output", required=True, metavar="FILE", help="for the labels: (n,) int64")
    assign.set_defaults(run=_assign)

    for command in (train, assign):
        command.add_argument("--n-threads", type=int, help="threads (the CPUs this process may use)")
    info = commands.add_parser("info", help="version, instruction sets, threads, build", allow_abbrev=False)
    info.set_defaults(run=_info)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (default: the process's) and return its exit code."""
    options = _parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = _show_warning
            options.run(options)
    except KeyboardInterrupt:
        return 130
    # The library's own errors (ValueError, TypeError, RuntimeError) are about the data and the options given.
    except (_Failure, OSError, ValueError, TypeError, RuntimeError, MemoryError) as error:
        line = " ".join(str(error).split()) or type(error).__name__
        print(f"fastkmeans {options.command}: {line}", file=sys.stderr)
        return 2
    return 0


def _train(options: argparse.Namespace) -> None:
    targets = [path for path in (options.output, options.labels) if path is not None]
    _check_outputs(targets, inputs=[options.input])
    x = _load(options.input)
    with _progress() as show:
        total = options.niter * options.nredo
        kmeans = FastKMeans(
            x.shape[1],
            options.k,
            niter=options.niter,
            tol=options.tol,
            seed=options.seed,
            nredo=options.nredo,
            max_points_per_centroid=options.max_points_per_centroid,
            n_threads=options.n_threads,
            callback=lambda stats: show("training", stats.redo * options.niter + stats.iteration + 1, total),
        )
        kmeans.train(x)
        arrays = [kmeans.centroids]
        if options.labels is not None:
            arrays.append(_labels(kmeans, x, show))
    _save(list(zip(targets, arrays, strict=True)))


def _assign(options: argparse.Namespace) -> None:
    _check_outputs([options.output], inputs=[options.input, options.centroids])
    x = _load(options.input)
    centroids = _load(options.centroids)
    kmeans = FastKMeans(centroids.shape[1], centroids.shape[0], n_threads=options.n_threads)
    kmeans.centroids = centroids
    with _progress() as show:
        labels = _labels(kmeans, x, show)
    _save([(options.output, labels)])


def _info(options: argparse.Namespace) -> None:
    chosen = _core.chosen_isa()
    print(f"fastkmeans {__version__}")
    print("instruction sets:")
    for name, available in _core.instruction_sets().items():
        print(f"  {name:<12} {'yes' if available else 'no'}{' (used)' if name == chosen else ''}")
    print(f"threads: {_core.default_threads()}")
    print(f"build: {_core.build_info()}")


def _count_or_all(text: str) -> int | None:
    try:
        return None if text == "all" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be an integer or 'all', given {text!r}") from None


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"fastkmeans: warning: {message}", file=sys.stderr)


def _load(path: str) -> np.ndarray[Any, Any]:
    """The matrix in a .npy file, mapped into memory, not read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # numpy's arithmetic on a damaged shape may overflow
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise _Failure(f"cannot read {path}: {error.strerror or error}") from None
    except Exception as error:  # a damaged file may fail anywhere in numpy, tokenize and zipfile
        raise _Failure(f"{path} is not a .npy file of numbers: {error}") from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise _Failure(f"{path} is an archive of arrays (.npz): expected a single array (.npy)")
    if array.ndim != 2 or 0 in array.shape:
        raise _Failure(f"{path} must hold a matrix (n, d) that is not empty, given shape {array.shape}")
    return array


def _labels(kmeans: FastKMeans, x: np.ndarray[Any, Any], show: Callable[[str, int, int], None]) -> Any:
    """`kmeans.predict(x)`, in steps: a row's label does not depend on the rows beside it."""
    n = x.shape[0]
    labels = np.empty(n, np.int64)
    for start in range(0, n, _ROWS_PER_STEP):
        stop = min(start + _ROWS_PER_STEP, n)
        try:
            labels[start:stop] = kmeans.predict(x[start:stop])
        except ValueError:
            kmeans.predict(x)  # fails too, and counts the bad rows of all steps
            raise
        show("assigning", stop, n)
    return labels


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A function (step, done, total) that draws a bar, if stderr is a terminal and rich is installed."""
    if not sys.stderr.isatty() or find_spec("rich") is None:
        yield lambda step, done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress, TaskID

    with Progress(console=Console(stderr=True)) as bar:
        steps: dict[str, TaskID] = {}

        def show(step: str, done: int, total: int) -> None:
            if step not in steps:
                steps[step] = bar.add_task(step)
            bar.update(steps[step], completed=done, total=total)

        yield show


def _check_outputs(targets: list[str], inputs: list[str]) -> None:
    """Fail before the work rather than after it."""
    real = [os.path.realpath(path) for path in targets]
    if len(set(real)) < len(real):
        raise _Failure(f"both outputs would be {targets[0]}")
    for path, target in zip(targets, real, strict=True):
        if target in map(os.path.realpath, inputs):
            raise _Failure(f"{path} is an input: choose another output")
        if os.path.exists(target) and not os.path.isfile(target):
            raise _Failure(f"cannot write {path}: not a regular file")
        temporary = _temporary(target)
        try:
            with open(temporary, "xb"):
                pass
        except OSError as error:
            raise _Failure(f"cannot write {path}: {error.strerror or error}") from None
        os.unlink(temporary)


def _save(outputs: list[tuple[str, Any]]) -> None:
    """Write all arrays or none: each whole in a file beside its target, and only then to its name.

    If that fails, the targets hold again what they held before.
    """
    targets = [os.path.realpath(path) for path, _ in outputs]
    placed: list[str] = []
    try:
        for target, (_, array) in zip(targets, outputs, strict=True):
            with open(_temporary(target), "xb") as file:
                # Not np.save: its tofile() loses the error of a full disk when the array fits into stdio's buffer.
                np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
                file.write(array.data)
                file.flush()
                os.fsync(file.fileno())
        for target in targets:
            if target != targets[-1] and os.path.exists(target):  # nothing can fail after the last
                os.replace(target, _previous(target))
            os.replace(_temporary(target), target)
            placed.append(target)
    except BaseException as error:
        _remove([*map(_temporary, targets), *placed])
        for target in targets:
            if os.path.exists(_previous(target)):
                os.replace(_previous(target), target)
        if isinstance(error, OSError):
            names = " and ".join(path for path, _ in outputs)
            raise _Failure(f"cannot write {names}: {error.strerror or error}") from None
        raise
    _remove(map(_previous, targets))


def _remove(paths: Iterable[str]) -> None:
    for path in paths:
        if os.path.exists(path):
            os.unlink(path)


def _temporary(target: str) -> str:
    folder, name = os.path.split(target)
    return os.path.join(folder, f".{name}.{os.getpid()}.tmp")


def _previous(target: str) -> str:
    return _temporary(target).removesuffix("tmp") + "old"
