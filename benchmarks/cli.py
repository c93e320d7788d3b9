# SPDX-License-Identifier: Apache-2.0
"""The command line: python -m benchmarks [run|install|report|docs|quality|check|list]."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import UsageError, check, install, machine, peers, presets, quality, report, results
from .data import Sources
from .run import METHODS, Settings, race, result

COMMANDS = ("run", "install", "report", "docs", "quality", "check", "list")


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative")
    return value


def above_zero(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def mnist_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mnist", type=Path, metavar="FOLDER", help="folder with MNIST's t10k-*.gz")


def case_options(parser: argparse.ArgumentParser) -> None:
    """Which cases, and where data comes from that no seed can make."""
    add = parser.add_argument
    add("--preset", default="ci", help="which cases (ci); `list` shows all")
    add("--cases", default="", metavar="A,B", help="only these cases of the preset (all)")
    add("--text", type=Path, help="text file that token embeddings are made from")
    add("--tokens", type=Path, metavar="FILE.npy", help="token embeddings, ready")
    mnist_option(parser)


def run_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--reps", type=natural, help="timed fits after the first of a process (3); repetition r uses seed + r")
    add("--seed", type=natural, default=0)
    add("--threads", type=positive, default=machine.cpus(), help="for every library (the CPUs there are)")
    add("--timeout", type=above_zero, default=600.0, help="seconds for one fit; then its process is ended (600)")
    add("--enough", type=above_zero, default=120.0, help="seconds of fits after which a peer repeats no more (120)")
    add("--output", type=Path, default=results.FOLDER, help="folder, or a .json file (benchmarks/results)")
    add("--verbose", action="store_true", help="each fit as it ends, and what the libraries print")
    add("--data-dir", type=Path, help="for the data, deleted again; /dev/shm saves a slow disk (beside the peers)")


def peers_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--peers-dir",
        type=Path,
        default=peers.default_folder(),
        help="where the peers are installed ($FASTKMEANS_BENCH_PEERS, or fastkmeans-bench/peers in the user's cache)",
    )


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m benchmarks", description="k-means side by side with its peers.")
    commands = top.add_subparsers(dest="command", required=True)

    def command(name: str, what: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=what, description=what, allow_abbrev=False)

    run = command("run", "measure (the default)")
    case_options(run)
    add = run.add_argument
    add("--peers", default="", metavar="A,B", help="which libraries (all that run on the device)")
    for name in peers.PEERS:
        add(f"--do-{name}", dest="chosen", action="append_const", const=name, help=argparse.SUPPRESS)
    add("--device", choices=["cpu", "cuda"], default="cpu")
    add("--max-iters", type=positive, help="iterations, in the place of the preset's")
    add("--n-features", type=positive, help="dimensions of made-up data, in the place of the preset's")
    add("--random-clusters", action="store_true", help="structureless rows in the place of blobs")
    add("--max-points-per-centroid", type=positive, help="train on at most k times this many rows (all)")
    add("--do-only-small", action="store_true", help="the first half of the preset's cases")
    add("--do-evals", action="store_true", help="NMI too, where labels are known; inertia is always computed")
    add("--warmup", type=natural, nargs="?", const=1, default=0, help="fits of each library that are not counted")
    add(
        "--init",
        choices=["given", "own", *METHODS],
        default="given",
        help="initial centroids: the same for all that take them, or each library's own, random or by this method",
    )
    add("--no-inertia", action="store_true", help="times and memory alone: inertia takes longer than the large fits")
    add("--modes", default="", metavar="A,B", help="on a GPU, where data and centroids are: host, device (both)")
    add("--export-plots", action="store_true", help="plots beside the result")
    run_options(run)
    peers_dir(run)

    installing = command("install", "put the peers into folders of their own")
    installing.add_argument("peers", nargs="*", help="names, or `tokens` for what --text needs (all for the device)")
    installing.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    installing.add_argument("--wheels", type=Path, help="folder of wheels, on a machine with no network")
    peers_dir(installing)

    reporting = command("report", "Markdown and plots from result files")
    reporting.add_argument("files", nargs="*", type=Path, help="(all of benchmarks/results)")
    reporting.add_argument("--output", type=Path, help="folder for report.md and the plots (tables to stdout)")

    docs = command("docs", "write the pages and the plots of the committed results")
    docs.add_argument("--output", type=Path, default=report.PAGE, help="(benchmarks/results/README.md)")

    good = command("quality", "NMI and inertia over 10 seeds, and a verdict")
    mnist_option(good)
    run_options(good)
    peers_dir(good)

    checking = command("check", "fail if this tree is slower than a baseline; both run here, in turns")
    checking.add_argument("--baseline", metavar="COMMIT", help="(that of the newest committed result of ci on the CPU)")
    checking.add_argument("--limit", type=above_zero, default=check.LIMIT, help="new time over old that fails (1.15)")
    case_options(checking)
    peers_dir(checking)
    checking.add_argument("--threads", type=positive, default=machine.cpus())
    command("list", "the peers and the presets")
    return top


def settings(options: argparse.Namespace, **changes: Any) -> Settings:
    shared = {name: getattr(options, name) for name in ("threads", "seed", "timeout", "enough", "verbose")}
    work = options.data_dir or options.peers_dir.parent / "data"
    return Settings(peers_folder=options.peers_dir, work=work, **{**shared, **changes})


def sources(options: argparse.Namespace) -> Sources:
    cache = options.peers_dir.parent
    return Sources(options.tokens, options.text, options.mnist, options.peers_dir, cache, options.threads)


def names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


def measure(preset: str, cases: Any, chosen: list[peers.Peer], wanted: Settings, options: Any, argv: list[str]) -> Any:
    """Run, write, print: the result and its file."""
    path = results.destination(options.output, datetime.date.today().isoformat(), preset, wanted.device)
    try:
        wanted.work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {wanted.work}: {error.strerror}") from None

    document: results.Result = {}
    rows: list[results.Row] = []
    for case_rows in race(cases, chosen, wanted):
        print("\n".join(map(report.line, case_rows)), file=sys.stderr, flush=True)
        rows += case_rows
        document = result(preset, cases, rows, wanted, argv)
        results.save(document, path)  # after each case: what is measured is not lost with what follows
    return document, path


def run(options: argparse.Namespace, argv: list[str]) -> int:
    asked = [*names(options.peers), *(options.chosen or [])]
    chosen = peers.choose(list(dict.fromkeys(asked)), options.device)
    cases = presets.cases(
        options.preset,
        presets.Options(
            options.device,
            options.max_iters,
            options.n_features,
            options.random_clusters,
            options.do_only_small,
            names(options.cases),
            sources(options),
        ),
    )
    modes = names(options.modes) or peers.BOTH
    if unknown := set(modes) - set(peers.BOTH):
        raise UsageError(f"unknown mode {', '.join(sorted(unknown))}; known: {', '.join(peers.BOTH)}")
    wanted = settings(
        options,
        device=options.device,
        wanted_modes=modes,
        inertia=not options.no_inertia,
        reps=3 if options.reps is None else options.reps,
        warmup=options.warmup,
        init=options.init,
        max_points=options.max_points_per_centroid,
        nmi=options.do_evals,
    )
    document, path = measure(options.preset, cases, chosen, wanted, options, argv)
    print("\n".join(report.tables(document)))
    if options.export_plots:
        report.plots(document, path.parent, path.stem)
    print(f"\nwritten: {path}", file=sys.stderr)
    return 0


def run_quality(options: argparse.Namespace, argv: list[str]) -> int:
    if options.mnist is None:
        print("without --mnist FOLDER there is no MNIST in this table", file=sys.stderr)
    cases = presets.cases("quality", presets.Options(sources=Sources(mnist=options.mnist)))
    reps = quality.SEEDS if options.reps is None else options.reps
    wanted = settings(options, device="cpu", reps=reps, init="own", nmi=True)
    document, path = measure("quality", cases, peers.choose(quality.PEERS, "cpu"), wanted, options, argv)
    print("\n".join(quality.table(document)))
    worse = quality.failures(document)
    print("\n".join(["", f"written: {path}", *worse]), file=sys.stderr)
    return int(bool(worse))


def run_check(options: argparse.Namespace) -> int:
    commit = check.full_hash(options.baseline or check.last_measured())
    cases = presets.cases(options.preset, presets.Options(only=names(options.cases), sources=sources(options)))
    return check.check(cases, commit, options.limit, Settings("cpu", options.peers_dir, Path(), options.threads))


def run_list() -> int:
    for peer in peers.PEERS.values():
        version = peer.distribution.version if peer.distribution else "of this environment"
        print(f"{peer.name:26} {version:22} {', '.join(peer.devices)}")
    print()
    for name, (what, _) in presets.PRESETS.items():
        print(f"{name:12} {what}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or (words[0] not in COMMANDS and words[0] not in ("-h", "--help")):
        words = ["run", *words]
    try:
        options, rest = parser().parse_known_args(words)
        if rest and rest[0].startswith("--do-"):
            peers.choose([rest[0].removeprefix("--do-")], "cpu")  # says which are known
        if rest:
            raise UsageError(f"unknown argument {rest[0]}")
        if options.command == "run":
            return run(options, words)
        if options.command == "quality":
            return run_quality(options, words)
        if options.command == "install":
            return install.install(options.peers, options.device, options.peers_dir, options.wheels)
        if options.command == "report":
            return report.report(options.files or results.committed(), options.output)
        if options.command == "docs":
            return report.docs(options.output)
        if options.command == "check":
            return run_check(options)
        return run_list()
    except UsageError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
