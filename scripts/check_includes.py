#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Do the includes in src/ run downwards only? Prints each that does not, and fails.

A room (folder of src/) knows those below it and nobody above, so that it can be read, tested and replaced alone.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INCLUDE = re.compile(r'\s*#\s*include\s*(["<])([^">]+)[">]')

# What each room may include, beside itself, include/ and other people's headers.
GROUND = {"numeric", "runtime"}
BELOW_SHARD = GROUND | {"source", "sketch", "plan"}
BACKENDS = {"scalar", "cpu", "cuda"}
MAY_INCLUDE: dict[str, set[str]] = {
    "numeric": set(),
    "runtime": {"numeric"},
    "source": GROUND,
    "sketch": GROUND,
    "plan": GROUND,
    "shard.hpp": BELOW_SHARD,
    "small_shards.hpp": GROUND,
    "host": BELOW_SHARD | {"shard.hpp"},
    **dict.fromkeys(BACKENDS, BELOW_SHARD | {"shard.hpp", "small_shards.hpp", "host"}),
    # The files directly in src/ tell the story of a fit, whatever the hardware.
    "story": BELOW_SHARD | {"shard.hpp", "small_shards.hpp", "host"},
}
# The one place that knows every backend, and the check of results by the oracle's distance.
EXCEPTIONS = {"make_shard.cpp": BACKENDS, "verify.cpp": {"scalar/scalar_distance.hpp"}}


def room(path: str) -> str:
    """Of a path below src/."""
    folder, slash, _ = path.partition("/")
    if slash:
        return folder
    return path if path in MAY_INCLUDE else "story"


def fault(path: str, included: str) -> str:
    """Why the file `path` may not include `included`, both below src/; "" if it may."""
    here, there = room(path), room(included)
    if there not in MAY_INCLUDE:
        return f"{there}/ is no room of src/"
    if there in {here, *MAY_INCLUDE[here]} or EXCEPTIONS.get(path, set()) & {there, included}:
        return ""
    return f"{here} may not include {included}"


def faults(root: Path) -> Iterator[str]:
    src = root / "src"
    for file in sorted(path for path in src.rglob("*") if path.is_file()):
        path = file.relative_to(src).as_posix()
        if room(path) not in MAY_INCLUDE:
            yield f"src/{path}: {room(path)}/ is no room of src/"
            continue
        for number, line in enumerate(file.read_text().splitlines(), 1):
            found = INCLUDE.match(line)
            # In angle brackets: other people's headers, unless they name a room.
            if not found or found[2].startswith("fastkmeans/") or (found[1] == "<" and not own(found[2])):
                continue
            if why := fault(path, found[2]):
                yield f"src/{path}:{number}: {why}"


def own(included: str) -> bool:
    return "/" in included and room(included) in MAY_INCLUDE


def main() -> int:
    found = list(faults(ROOT))
    print("\n".join(found), end="\n" if found else "")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
