# SPDX-License-Identifier: Apache-2.0
"""The command `fastkmeans`: .npy files in, .npy files out. Its exit codes are in `_EXIT_CODES`, which --help shows."""

from __future__ import annotations

import argparse
import inspect
import io
import logging
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from typing import Any, NoReturn

import numpy as np

from . import FastKMeans, __version__, _core
from ._checks import EMPTY_CLUSTERS, INIT_METHODS, METRICS
from ._files import Failure, check_outputs, load, save
from ._report import logger
from ._streams import forgiving, hold_closed, write_now

_DEFAULTS = {name: parameter.default for name, parameter in inspect.signature(FastKMeans).parameters.items()}
# Rows assigned between two looks at the progress bar: enough work for all threads, and a few looks a second.
_ROWS_PER_STEP = 65_536

_EXIT_CODES = """
exit code: 0 done; 1 done, but stdout cannot be written (output files are there); 2 bad file, option or output;
130 Ctrl-C; 141 done, but nobody reads stdout; 143 SIGTERM. What cannot be written to stderr is lost, no more.
"""
_OUTPUTS = """
An output is a whole file at any time: the old one, or the new one with the group and mode of the old, which is
replaced even if it is write-protected; other names of it (hard links) keep what it held. Two outputs are
both complete before either takes its name; an error or interruption between these last two steps leaves the first new
and the second old. No temporary files stay behind, unless the process is killed (.fastkmeans-*.tmp).
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="fastkmeans", description="Exact k-means on .npy files.", epilog=_EXIT_CODES, allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"fastkmeans {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="find the centroids of a matrix", epilog=_OUTPUTS, allow_abbrev=False)
    train.add_argument("input", metavar="INPUT.npy", help="matrix (n, d)")
    train.add_argument("-k", type=int, required=True, metavar="K", help="number of clusters")
    train.add_argument("-o", dest="output", required=True, metavar="FILE", help="for the centroids: (K, d) float32")
    train.add_argument("--labels", metavar="FILE", help="for the nearest centroid of each row: (n,) int64")
    train.add_argument("--weights", metavar="FILE.npy", help="how much each row counts: (n,), >= 0 (each once)")
    train.add_argument("--niter", type=int, default=_DEFAULTS["niter"], help="most iterations (%(default)s)")
    train.add_argument(
        "--tol", type=float, default=_DEFAULTS["tol"], help="stop when centroids move less; 0: never (%(default)s)"
    )
    train.add_argument(
        "--inertia-tol", type=float, default=0.0, help="or the inertia falls by a smaller share; 0: never"
    )
    train.add_argument("--changed-tol", type=float, default=0.0, help="or a smaller share of labels changes; 0: never")
    train.add_argument("--max-runtime-secs", type=float, metavar="S", help="or S seconds have passed (no limit)")
    train.add_argument("--seed", type=int, default=_DEFAULTS["seed"], help="of every random choice (%(default)s)")
    train.add_argument(
        "--init",
        choices=INIT_METHODS,
        default="random",
        help="rows to begin with (%(default)s)",
    )
    train.add_argument(
        "--init-centroids", metavar="FILE.npy", help="the first of them: (m, d), m <= K; others are rows"
    )
    train.add_argument("--frozen-centroids", action="store_true", help="those of --init-centroids stay where they are")
    train.add_argument("--int-centroids", action="store_true", help="round centroids to integers")
    train.add_argument("--min-points-per-centroid", type=int, metavar="N", help="warn about fewer than K times N rows")
    train.add_argument(
        "--empty-clusters",
        choices=EMPTY_CLUSTERS,
        default="farthest",
        help="get the farthest row, half of the largest cluster, or a random row (%(default)s)",
    )
    train.add_argument(
        "--nredo", type=int, default=_DEFAULTS["nredo"], help="runs, of which the best is kept (%(default)s)"
    )
    train.add_argument(
        "--max-points-per-centroid",
        type=_count_or_all,
        default=_DEFAULTS["max_points_per_centroid"],
        metavar="N",
        help="train on at most K times N rows; 'all' for every row (%(default)s)",
    )
    train.add_argument("-v", "--verbose", action="store_true", help="a line for each iteration, on stderr")
    train.set_defaults(run=_train)

    assign = commands.add_parser("assign", help="the nearest centroid of each row", epilog=_OUTPUTS, allow_abbrev=False)
    assign.add_argument("input", metavar="INPUT.npy", help="matrix (n, d)")
    assign.add_argument("centroids", metavar="CENTROIDS.npy", help="matrix (k, d)")
    assign.add_argument("-o", dest="output", required=True, metavar="FILE", help="for the labels: (n,) int64")
    assign.add_argument(
        "--distances", metavar="FILE", help="for the squared distances to these, or inner products: (n,) float32"
    )
    assign.set_defaults(run=_assign)

    for command, line in ((train, "k, iterations, inertia, seconds"), (assign, "k, rows, seconds")):
        command.add_argument("--metric", choices=METRICS, help="what decides a row's cluster (euclidean)")
        command.add_argument("--spherical", action="store_true", help="as --metric cosine: clusters by angle")
        command.add_argument("--device", help="cpu, cuda or cuda:N (a CUDA device if there is one, else the CPU)")
        command.add_argument(
            "--memory-limit", type=_bytes_or_share, metavar="BYTES", help="of device memory; or a share, 0.5 (all free)"
        )
        command.add_argument("--n-threads", type=int, help="threads (the CPUs this process may use)")
        for what in ("data", "centroids"):
            help_line = f"most {'rows' if what == 'data' else what} handled at a time (%(default)s)"
            default = _DEFAULTS[f"chunk_size_{what}"]
            command.add_argument(f"--chunk-size-{what}", type=int, default=default, metavar="N", help=help_line)
        command.add_argument("-q", "--quiet", action="store_true", help=f"no line ({line}), no progress bar")
    info = commands.add_parser("info", help="version, instruction sets, threads, CUDA, build", allow_abbrev=False)
    info.set_defaults(run=_info)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (default: the process's) and return its exit code."""
    hold_closed()
    said = io.StringIO()
    with redirect_stderr(forgiving(sys.stderr)), _sigterm_raises():
        try:
            with redirect_stdout(said):
                code = _run(argv)
        except KeyboardInterrupt:
            code = 128 + signal.SIGINT
        except SystemExit as leaving:  # --help, --version, a wrong option, SIGTERM
            code = int(leaving.code or 0)
        error = write_now(sys.stdout, said.getvalue())
        if isinstance(error, BrokenPipeError):  # head, or a pager that was left: as if SIGPIPE had ended the process
            return code or 128 + signal.SIGPIPE
        if error is not None:
            print(f"fastkmeans: cannot write to stdout: {error.strerror}", file=sys.stderr)
            return code or 1
        return code


def _run(argv: Sequence[str] | None) -> int:
    options = _parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = _show_warning
            options.run(options)
    # The library's own errors (ValueError, TypeError, RuntimeError) are about the data and the options given.
    except (Failure, OSError, ValueError, TypeError, RuntimeError, MemoryError) as error:
        line = " ".join(str(error).split()) or type(error).__name__
        print(f"fastkmeans {options.command}: {line}", file=sys.stderr)
        return 2
    return 0


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """SIGTERM raises SystemExit, as Ctrl-C raises KeyboardInterrupt: temporary files are removed on the way out."""
    if signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:  # the caller ignores it
        yield
        return
    signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _leave(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


def _train(options: argparse.Namespace) -> None:
    targets = [path for path in (options.output, options.labels) if path is not None]
    inputs = [path for path in (options.input, options.weights, options.init_centroids) if path is not None]
    check_outputs(targets, inputs)
    x = load(options.input)
    weights = None if options.weights is None else load(options.weights, "vector (n)")
    initial = None if options.init_centroids is None else load(options.init_centroids)
    start = time.perf_counter()
    with _progress(options.quiet or options.verbose) as show, _iteration_lines(options.verbose):
        total = options.niter * options.nredo
        kmeans = FastKMeans(
            x.shape[1],
            options.k,
            niter=options.niter,
            tol=options.tol,
            inertia_tol=options.inertia_tol,
            changed_tol=options.changed_tol,
            max_runtime_secs=options.max_runtime_secs,
            seed=options.seed,
            nredo=options.nredo,
            init=options.init,
            frozen_centroids=options.frozen_centroids,
            int_centroids=options.int_centroids,
            min_points_per_centroid=options.min_points_per_centroid,
            empty_clusters=options.empty_clusters,
            max_points_per_centroid=options.max_points_per_centroid,
            verbose=options.verbose,
            **_of_both(options),
            callback=lambda stats: show("training", stats.redo * options.niter + stats.iteration + 1, total),
        )
        kmeans.train(x, weights, initial)
        arrays = [kmeans.centroids]
        if options.labels is not None:
            arrays.append(_nearest(kmeans, x, show)[0])
    seconds = time.perf_counter() - start
    save(list(zip(targets, arrays, strict=True)))
    if not options.quiet:
        iterations = f"{kmeans.n_iter_} iteration{'' if kmeans.n_iter_ == 1 else 's'}"
        converged = "converged" if kmeans.converged_ else "out of time" if kmeans.timed_out_ else "not converged"
        print(f"k={options.k}, {iterations} ({converged}), inertia {kmeans.inertia_:.9g}, {seconds:.2f} s")


def _assign(options: argparse.Namespace) -> None:
    targets = [path for path in (options.output, options.distances) if path is not None]
    check_outputs(targets, inputs=[options.input, options.centroids])
    x = load(options.input)
    centroids = load(options.centroids)
    start = time.perf_counter()
    kmeans = FastKMeans(centroids.shape[1], centroids.shape[0], **_of_both(options))
    kmeans.centroids = centroids
    with _progress(options.quiet) as show:
        labels, distances = _nearest(kmeans, x, show)
    seconds = time.perf_counter() - start
    save(list(zip(targets, (labels, distances), strict=False)))  # the second if it was asked for
    if not options.quiet:
        print(f"k={kmeans.k}, {len(labels)} row{'' if len(labels) == 1 else 's'}, {seconds:.2f} s")


def _info(_: argparse.Namespace) -> None:
    chosen = _core.chosen_isa()
    print(f"fastkmeans {__version__}")
    print("instruction sets:")
    for name, available in _core.instruction_sets().items():
        print(f"  {name:<12} {'yes' if available else 'no'}{' (used)' if name == chosen else ''}")
    print(f"threads: {_core.default_threads()}")
    _cuda_info()
    print(f"build: {_core.build_info()}")


def _cuda_info() -> None:
    state = _core.cuda_state()
    driver = f", driver of CUDA {state['driver'] // 1000}.{state['driver'] % 1000 // 10}" if state["driver"] else ""
    print(f"CUDA: {state['status']}{driver}{state['problem'] and ': ' + state['problem']}")
    for device in state["devices"]:
        name, usable = f"cuda:{device['number']}", "yes" if device["usable"] else "no"
        capability, memory = f"{device['major']}.{device['minor']}", device["memory"] / 2**30
        print(f"  {name:<12} {usable} ({device['name']}, compute capability {capability}, {memory:.1f} GiB)")
    kernels = _core.cuda_kernels()
    if kernels:
        print(f"CUDA kernels: {', '.join(kernels)}")


def _of_both(options: argparse.Namespace) -> dict[str, Any]:
    """What both commands tell a FastKMeans."""
    names = ("device", "memory_limit", "n_threads", "metric", "spherical", "chunk_size_data", "chunk_size_centroids")
    return {name: getattr(options, name) for name in names}


def _bytes_or_share(text: str) -> float:
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be bytes or a share such as 0.5, given {text!r}") from None


def _count_or_all(text: str) -> int | None:
    try:
        return None if text == "all" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be an integer or 'all', given {text!r}") from None


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"fastkmeans: warning: {message}", file=sys.stderr)


def _nearest(kmeans: FastKMeans, x: np.ndarray[Any, Any], show: Callable[[str, int, int], None]) -> tuple[Any, Any]:
    """Labels and distances of `kmeans.assign(x)`, in steps: those of a row do not depend on the rows beside it."""
    n = x.shape[0]
    labels, distances = np.empty(n, np.int64), np.empty(n, np.float32)
    for start in range(0, n, _ROWS_PER_STEP):
        stop = min(start + _ROWS_PER_STEP, n)
        try:
            distances[start:stop], labels[start:stop] = kmeans.assign(x[start:stop])
        except ValueError:
            kmeans.predict(x)  # fails too, and counts the bad rows of all steps
            raise
        show("assigning", stop, n)
    return labels, distances


@contextmanager
def _iteration_lines(wanted: bool) -> Iterator[None]:
    """What a fit logs at INFO goes to stderr, if wanted."""
    if not wanted:
        yield
        return
    handler, level = logging.StreamHandler(sys.stderr), logger.level
    handler.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.setLevel(min(level or logging.INFO, logging.INFO))
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A function (step, done, total) that draws a bar, if stderr is a terminal and rich is installed."""
    if quiet or not sys.stderr.isatty() or find_spec("rich") is None:
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
