# SPDX-License-Identifier: Apache-2.0
"""The race: every peer in its own process, taking turns on the same data, from the same initial centroids."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from . import contestant as contestants
from . import data, machine, results
from .contestant import Contestant, Out
from .peers import BOTH, Peer
from .presets import Case
from .results import Row

LOAD_SECONDS = 600
# A process holds the data twice while it loads, and every peer some copy of it while it fits.
COPIES = 3
# Initialisations that several libraries have (Settings.init); one that lacks it gets no time.
METHODS = ("k-means++", "k-means||", "afk-mc2")


@dataclass(frozen=True)
class Settings:
    device: str
    peers_folder: Path
    work: Path  # for the data, which is deleted again
    threads: int
    reps: int = 3
    warmup: int = 0
    seed: int = 0
    timeout: float = 600.0
    enough: float = 120.0  # a peer whose fits of a case took this many seconds makes no more repetitions
    init: str = "given"  # or "own", or one of METHODS
    max_points: int | None = None
    nmi: bool = False
    inertia: bool = True
    wanted_modes: tuple[str, ...] = BOTH  # on a GPU
    verbose: bool = False

    def public(self) -> dict[str, Any]:
        names = ("reps", "warmup", "seed", "threads", "timeout", "init")
        return {**{name: getattr(self, name) for name in names}, "max_points_per_centroid": self.max_points}


@dataclass
class Entry:
    """One row in the making."""

    row: Row
    child: Contestant | None = None
    first: float = 0.0
    warm: list[float] = field(default_factory=list)
    centroids: list[Path] = field(default_factory=list)

    def out(self, out: Out) -> None:
        self.row["status"], self.row["reason"] = out.status, machine.without_paths(out.reason)
        self.child = None

    @property
    def spent(self) -> float:
        return self.first + sum(self.warm)


class Race:
    def __init__(self, case: Case, peers: list[Peer], settings: Settings, folder: Path) -> None:
        self.case, self.settings, self.folder = case, settings, folder
        self.entries = [self.enter(peer, mode) for peer in peers for mode in self.modes(peer)]

    def modes(self, peer: Peer) -> tuple[str, ...]:
        if self.settings.device == "cpu":
            return ("host",)
        return tuple(mode for mode in peer.modes if mode in self.settings.wanted_modes)

    def enter(self, peer: Peer, mode: str) -> Entry:
        row = {"case": self.case.name, "peer": peer.name, "mode": mode, "status": "ok", "interleaved": False}
        row |= dict.fromkeys(results.MEASURED)
        entry = Entry(row)
        s = self.settings
        try:
            limit = self.case.device_limit
            entry.child = Contestant(peer, mode, s.device, s.peers_folder, s.threads, s.verbose, limit)
        except Out as out:
            entry.out(out)
        return entry

    def go(self) -> list[Row]:
        rng = np.random.default_rng(self.settings.seed)
        self.x, self.labels = data.write(
            self.case.rows(rng), self.case.problems * self.case.n, self.case.d, self.folder
        )
        ready = [entry for entry in self.entries if entry.child]
        together = len(ready) > 1 and self.fits_together(len(ready))
        for group in [ready] if together else [[entry] for entry in ready]:
            for entry in group:
                entry.row["interleaved"] = together
            try:
                self.heat(group)
            finally:
                for entry in group:
                    if entry.child:
                        entry.child.end()
        self.judge([entry for entry in ready if entry.row["status"] == "ok"])
        return [entry.row for entry in self.entries]

    def fits_together(self, children: int) -> bool:
        """Whether all children can hold their data at once, on the host and, if there is one, on the GPU."""
        need = COPIES * children * self.case.problems * self.case.n * self.case.d * 4
        free = [psutil.virtual_memory().available]
        if self.settings.device == "cuda":
            query = machine.output("nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits")
            free.append(int(query.splitlines()[0]) << 20 if query else 0)
        return bool(need < min(free))

    def heat(self, group: list[Entry]) -> None:
        def each(step: Callable[[Entry, Contestant], None]) -> None:
            for entry in group:
                if entry.child:
                    try:
                        step(entry, entry.child)
                    except Out as out:
                        entry.out(out)

        each(lambda _, child: child.start())
        each(lambda entry, child: entry.row.update(library=child.ready()))
        each(self.load)
        each(lambda entry, child: self.fit(entry, child, -1))
        for _ in range(self.settings.warmup):
            each(lambda entry, child: self.fit(entry, child, None))
        for rep in range(self.settings.reps):
            each(lambda entry, child, rep=rep: self.fit(entry, child, rep))  # type: ignore[misc]

    def load(self, entry: Entry, child: Contestant) -> None:
        limit = self.settings.max_points and self.settings.max_points * self.case.k
        shape = self.case.shape(self.case.n)
        loaded = child.ask(LOAD_SECONDS, do="load", path=str(self.x), shape=shape, rows=limit)
        entry.row["rows_used"] = self.case.problems * loaded["rows"]

    def fit(self, entry: Entry, child: Contestant, rep: int | None) -> None:
        """Repetition `rep`; -1 is the first of the process, None a warm one that is not counted."""
        s, row = self.settings, entry.row
        if rep is not None and rep > 0 and entry.spent > s.enough:
            return
        seed = s.seed + max(rep or 0, 0)
        out = self.folder / f"{row['peer']}-{row['mode']}-{rep}.npy"
        answer = child.ask(
            s.timeout,
            do="fit",
            k=self.case.k,
            niter=self.case.niter,
            seed=seed,
            init=str(self.initial(seed)) if s.init == "given" else None,
            method=s.init if s.init in METHODS else "random",
            max_points=s.max_points,
            out=str(out),
            cold=rep == -1,
        )
        for key in ("host_bytes", "device_bytes"):
            row[key] = max(filter(None, [row[key], answer[key]]), default=answer[key])
        row["init"], row["iterations"] = answer["init"], answer["iterations"]
        if rep == -1:
            entry.first = answer["seconds"]
        elif rep is not None:
            entry.warm.append(answer["seconds"])
        if s.reps == 0 or (rep is not None and rep >= 0):
            entry.centroids.append(out)
        if s.verbose:
            print(f"  {row['peer']} ({row['mode']}): {answer['seconds']:.4g} s", file=sys.stderr)

    def initial(self, seed: int) -> Path:
        """k rows of each problem drawn without replacement, the same for every peer."""
        path = self.folder / f"init-{seed}.npy"
        if not path.exists():
            rng, n, k = np.random.default_rng(seed), self.case.n, self.case.k
            rows = [b * n + np.sort(rng.choice(n, k, replace=False)) for b in range(self.case.problems)]
            np.save(path, np.load(self.x, mmap_mode="r")[np.concatenate(rows)].reshape(self.case.shape(k)))
        return path

    def judge(self, entries: list[Entry]) -> None:
        """Times, and what the centroids are worth. A row that fell out keeps neither."""
        for entry in entries:
            row = entry.row
            row["seconds"] = results.seconds(entry.first, entry.warm)
            if row["iterations"] is not None:
                work = 2 * row["rows_used"] * self.case.k * self.case.d * row["iterations"]
                row["tflops"] = work / row["seconds"]["median"] / 1e12
        if not self.settings.inertia:
            return
        truth = str(self.labels) if self.labels and self.settings.nmi else "-"
        command = [sys.executable, "-m", "benchmarks.evaluate", str(self.x), truth, self.settings.device]
        with subprocess.Popen(
            command,
            cwd=contestants.ROOT,
            env=contestants.environment([], self.settings.threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            for entry in entries:
                self.worth(entry, process)
            process.kill()

    def worth(self, entry: Entry, process: subprocess.Popen[str]) -> None:
        """Inertia and NMI of each repetition; where that fails the row keeps its times and says so."""
        timer = threading.Timer(self.settings.timeout * len(entry.centroids), process.kill)
        timer.start()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps([str(path) for path in entry.centroids]) + "\n")
            process.stdin.flush()
            worth = json.loads(process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            entry.row["reason"] = "no inertia: its computation failed, or took too long"
        else:
            entry.row["inertia_per_point"] = worth["inertia_per_point"]
            entry.row["nmi"] = None if None in worth["nmi"] else worth["nmi"]
        finally:
            timer.cancel()


def race(cases: list[Case], peers: list[Peer], settings: Settings) -> Iterator[list[Row]]:
    """Each case's rows, with ratios, as it ends."""
    settings.work.mkdir(parents=True, exist_ok=True)
    for case in cases:
        with tempfile.TemporaryDirectory(dir=settings.work) as folder:
            rows = Race(case, peers, settings, Path(folder)).go()
        results.add_ratios(rows)
        yield rows


def result(preset: str, cases: list[Case], rows: list[Row], settings: Settings, argv: list[str]) -> results.Result:
    """The document that schema.json describes."""
    fields = ("name", "n", "d", "k", "niter", "data", "problems")
    return {
        "schema": 1,
        "date": datetime.date.today().isoformat(),
        "preset": preset,
        "device": settings.device,
        **machine.commit(),
        "command": machine.command_line(argv),
        "machine": machine.machine(settings.device),
        "settings": settings.public(),
        "cases": [{name: getattr(case, name) for name in fields} for case in cases],
        "rows": rows,
    }
