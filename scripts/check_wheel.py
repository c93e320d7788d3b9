# SPDX-License-Identifier: Apache-2.0
"""What every wheel must hold: it is small, brings the licences of what is linked into it, and links nothing of CUDA.

python scripts/check_wheel.py WHEEL...    needs readelf, which comes with any compiler
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

LIMIT = 25_000_000  # bytes
LICENCES = ["LICENSE", "NOTICE", "licenses/nanobind.txt", "licenses/nvidia-cuda.txt", "licenses/robin-map.txt"]
# The CUDA run time is linked statically and the driver opened when it is used, so machines without either load us.
LINKED = re.compile(r"(libc|libm|libdl|librt|libpthread|libstdc\+\+|libgcc_s|ld-linux-[\w-]+)\.so\.\d+")


def faults(wheel: Path) -> Iterator[str]:
    if wheel.stat().st_size > LIMIT:
        yield f"{wheel.name} has {wheel.stat().st_size} bytes, more than {LIMIT}"
    with ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        names = archive.namelist()
        for licence in LICENCES:
            if not any(re.fullmatch(rf"[^/]+\.dist-info/licenses/{re.escape(licence)}", name) for name in names):
                yield f"{wheel.name} lacks {licence}"
        modules = [name for name in names if name.endswith(".so")]
        if not modules:
            yield f"{wheel.name} has no compiled module"
        for module in modules:
            command = ["readelf", "--dynamic", archive.extract(module, folder)]
            text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            for library in re.findall(r"\(NEEDED\).*\[(.+)\]", text):
                if not LINKED.fullmatch(library):
                    yield f"{module} in {wheel.name} links {library}"


def main() -> None:
    wheels = [Path(name) for name in sys.argv[1:]]
    found = [fault for wheel in wheels for fault in faults(wheel)]
    for wheel in wheels:
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB")
    if found or not wheels:
        sys.exit("\n".join(found) or "no wheel to check")


if __name__ == "__main__":
    main()
