# SPDX-License-Identifier: Apache-2.0
"""The parent's end of a child process: asks, waits no longer than the limit, and ends it if need be."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import peers
from .peers import Peer

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 300  # importing a library, cold, from a slow disk
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Out(Exception):
    """This contestant is out of the race; status and reason for its row."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def over_limit(what: str, seconds: float) -> str:
    return f"{what} took more than {seconds:g} s"


def environment(paths: Sequence[str], threads: int) -> dict[str, str]:
    """A child's environment: its own folders before everything else, and no more threads than the others have."""
    env = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads)), "PYTHONNOUSERSITE": "1"}
    return {**env, "PYTHONPATH": os.pathsep.join(paths)}


class Contestant:
    def __init__(
        self,
        peer: Peer,
        mode: str,
        device: str,
        folder: Path,
        threads: int,
        verbose: bool = False,
        device_limit: int | None = None,
    ) -> None:
        self.peer, self.mode, self.verbose = peer, mode, verbose
        threads = peer.threads or threads
        self.buffer = b""
        self.process: Any = None
        home = peer.folder
        paths: list[str] = []
        if home is not None:
            paths = [str(home)]
        elif peer.distribution is not None:
            paths = peers.search_path([peer.distribution], folder, device)
            own = folder / peer.distribution.folder
            # Without a folder the environment serves, for those that may come from there.
            home = own if own.is_dir() or not peer.distribution.environment else None
        if device not in peer.devices:
            raise Out("unsupported", f"does not run on {device}")
        if home is not None and not home.is_dir():
            raise Out("missing", f"not installed: python -m benchmarks install {peer.name}")
        distribution = peer.distribution
        self.spec = {
            "module": peer.module,
            "adapter": peer.adapter,
            "options": peer.options,
            "distribution": distribution.name if distribution else None,
            "version": distribution.version if distribution else None,
            "folder": str(home) if home else None,
            "device": device,
            "mode": mode,
            "threads": threads,
            "device_limit": min(filter(None, [peer.device_limit, device_limit]), default=None),
        }
        self.env = environment(paths, threads)

    def start(self) -> None:
        """Begin; the answer to the start comes with `ready`, so that several can import at the same time."""
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  open as long as the child
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.child"],
            cwd=ROOT,
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if self.verbose else self.errors,
            start_new_session=True,  # a group of its own, to end whatever it starts with it
        )
        self._send({"do": "start", "spec": self.spec})

    def ready(self) -> dict[str, Any]:
        return self._answer(START_SECONDS, "starting")

    def ask(self, seconds: float, **message: Any) -> dict[str, Any]:
        """The child's answer, or Out: it failed, it died, or the time is up (it is then killed)."""
        self._send(message)
        return self._answer(seconds, message["do"])

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._dead() from None

    def _answer(self, seconds: float, what: str) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                self.end()
                raise Out("timeout", over_limit(what, seconds))
            part = os.read(self.process.stdout.fileno(), 1 << 16)
            if not part:
                raise self._dead()
            self.buffer += part
        line, self.buffer = self.buffer.split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        if not answer.pop("ok"):
            self.end()
            raise Out(answer["status"], answer["reason"])
        return answer

    def _dead(self) -> Out:
        self.end()
        code = self.process.returncode
        if code == -signal.SIGKILL:
            return Out("out-of-memory", "killed by the system, as it does when memory is short")
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        said = f": {lines[-1][-300:]}" if lines else ""
        return Out("failed", f"the process ended with status {code}{said}")

    def end(self) -> None:
        """Close its stdin, which is its sign to leave; then kill what is left of its group."""
        if self.process is None:
            return
        with contextlib.suppress(BrokenPipeError, subprocess.TimeoutExpired):
            self.process.stdin.close()
            self.process.wait(timeout=0.5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
