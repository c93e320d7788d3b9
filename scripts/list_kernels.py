# SPDX-License-Identifier: Apache-2.0
"""Prints the CUDA kernels of a library, program or object as a Markdown table: what each takes of the hardware.

Spills are counted in the machine code, as instructions that read or write local memory (LDL, STL): 0 is proof that
nothing spills; arrays that the compiler could not keep in registers count too. Shared memory is the static part; the
launch adds the dynamic part. Needs cuobjdump of the CUDA toolkit, with nvdisasm beside it, and c++filt of any compiler.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple


class Kernel(NamedTuple):
    name: str
    arch: str  # sm_80
    registers: int  # of a thread
    shared: int  # bytes of a block
    stack: int  # bytes of a thread
    spills: int  # instructions


def spills(sass: str) -> Counter[tuple[str, str]]:
    """Accesses of local memory by (arch, mangled name)."""
    found: Counter[tuple[str, str]] = Counter()
    arch = name = ""
    for line in sass.splitlines():
        if heading := re.match(r"arch = (\w+)|\s+Function : (\S+)", line):
            arch, name = heading[1] or arch, heading[2] or name
        elif re.search(r"\b(LDL|STL)\b", line):
            found[arch, name] += 1
    return found


def kernels(resources: str, sass: str) -> list[Kernel]:
    """From what cuobjdump --dump-resource-usage and --dump-sass print; names stay mangled."""
    spilled = spills(sass)
    found = []
    arch = name = ""
    for line in resources.splitlines():
        if heading := re.match(r"arch = (\w+)|\s+Function (\S+):$", line):
            arch, name = heading[1] or arch, heading[2] or name
        elif usage := re.match(r"\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) ", line):
            registers, stack, shared = map(int, usage.groups())
            found.append(Kernel(name, arch, registers, shared, stack, spilled[arch, name]))
    return found


def readable(names: list[str]) -> list[str]:
    """Demangled, without parameters and without the namespaces that are the same for all."""
    command = ["c++filt", "--no-params", *names]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [re.sub(r"fastkmeans::|cuda::|\(anonymous namespace\)::", "", line) for line in lines]


def table(found: list[Kernel]) -> str:
    rows = ["| kernel | arch | registers | shared, bytes | stack, bytes | spills |", "|---|---|---|---|---|---|"]
    rows += ["| `{}` | {} | {} | {} | {} | {} |".format(*kernel) for kernel in sorted(found)]
    return "\n".join(rows)


def dump(what: str, file: Path) -> str:
    return subprocess.run(["cuobjdump", what, str(file)], capture_output=True, text=True, check=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "file", type=Path, help="libfastkmeans.so, the Python module, a program of the tests, an object"
    )
    parser.add_argument("--arch", help="only these, for example sm_90")
    options = parser.parse_args()
    found = kernels(dump("--dump-resource-usage", options.file), dump("--dump-sass", options.file))
    found = [kernel for kernel in found if options.arch in (None, kernel.arch)]
    if not found:
        sys.exit(f"no kernel in {options.file}")
    names = readable([kernel.name for kernel in found])
    print(table([kernel._replace(name=name) for kernel, name in zip(found, names, strict=True)]))


if __name__ == "__main__":
    main()
