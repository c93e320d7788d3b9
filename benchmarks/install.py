# SPDX-License-Identifier: Apache-2.0
"""Puts the peers' distributions into folders of their own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from . import UsageError, peers
from .peers import PEERS, Distribution

# Beside the peers' own names: what `--text` needs.
TOKENS = "tokens"


def wanted(names: list[str], device: str) -> list[Distribution]:
    """The distributions behind these names; of none: behind all peers that run on the device."""
    found: dict[str, Distribution] = {}
    if TOKENS in names:
        found = {each.name: each for each in (peers.MODEL, peers.TRANSFORMERS)}
    plain = [name for name in names if name != TOKENS]
    unknown = [name for name in plain if name not in PEERS]
    if unknown:
        raise UsageError(f"unknown peer {', '.join(unknown)}; known: {', '.join([*PEERS, TOKENS])}")
    chosen = [PEERS[name] for name in plain] if names else peers.choose([], device)
    for peer in chosen:
        distribution = peer.distribution
        # All but a peer asked for by name may stay what the environment has.
        if distribution and (not distribution.environment or peer.name in plain):
            found[distribution.name] = distribution
    return list(found.values())


def pip(target: Path, requirements: list[str], wheels: Path | None, dependencies: bool) -> bool:
    """Into a folder beside first, so that one that is there is whole."""
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(part)]
    command += [] if dependencies else ["--no-deps"]
    command += ["--no-index", "--find-links", str(wheels)] if wheels else []
    if subprocess.run([*command, *requirements]).returncode != 0:
        shutil.rmtree(part, ignore_errors=True)
        return False
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)
    return True


def install(names: list[str], device: str, folder: Path, wheels: Path | None) -> int:
    """Installs what is not there yet. 1 if something could not be had; the others are then installed all the same."""
    distributions = wanted(names, device)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}") from None
    plan = [(each.folder, [f"{each.name}=={each.version}", *each.needs], each.dependencies) for each in distributions]
    if device == "cpu" and any(each.torch for each in distributions):
        plan.append((f"torch-{peers.TORCH}", [f"torch=={peers.TORCH}"], True))
    failed = []
    for name, requirements, dependencies in plan:
        if (folder / name).is_dir():
            print(f"{name}: there already")
            continue
        print(f"{name}: installing", flush=True)
        if not pip(folder / name, requirements, wheels, dependencies):
            failed.append(name)
    if failed:
        print(f"could not install {', '.join(failed)}: their rows will say that they are missing", file=sys.stderr)
    return int(bool(failed))
