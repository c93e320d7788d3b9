# SPDX-License-Identifier: Apache-2.0
"""Sets up what a make target needs: a virtual environment, the packages in it, and fastkmeans itself.

Runs on any Python from 3.10 with nothing but its standard library. What is done already is not done again, so that
a second run takes a moment and needs no network. What is missing on the machine is one line and exit status 1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cmake"))

import cuda_toolkit

ROOT = Path(__file__).resolve().parent.parent
BUILD_TOOLS = ["cmake>=3.26", "ninja"]
# What the wheel is made from. A change in any of these installs it anew.
PACKAGE_FILES = ["pyproject.toml", "CMakeLists.txt", "README.md", "LICENSE", "NOTICE"]
PACKAGE_FOLDERS = ["cmake", "include", "licenses", "src", "python"]
PACKAGE_VARIABLES = ["FASTKMEANS_WHEEL_VERSION", "FASTKMEANS_CUDA", "CUDACXX", "CXX", "CXXFLAGS", "CMAKE_ARGS"]


def say(message: str) -> None:
    print(f"setup: {message}", flush=True)


def fail(message: str) -> None:
    sys.exit(f"setup: {message}")


def compiler() -> list[str]:
    return shlex.split(os.environ.get("CXX", "g++"))


def check_machine(needs_compiler: bool) -> None:
    """Stops at the first thing that only the system's package manager can bring."""
    # Debian's packages are named for the interpreter: python3-dev goes with python3, python3.12-dev with python3.12.
    name = Path(sys.executable).name
    python = name if name.startswith("python3.") else "python3"
    if sys.version_info < (3, 10):  # noqa: UP036  this file is what tells an older Python's user
        version = sys.version.split()[0]
        fail(f"Python 3.10 or newer is needed, {python} is {version}; choose another with make PYTHON=...")
    if find_spec("venv") is None or find_spec("ensurepip") is None:
        fail(f"Python's venv is missing: apt-get install {python}-venv")
    if not needs_compiler:
        return
    if shutil.which(compiler()[0]) is None:
        fail(f"the C++ compiler {compiler()[0]} is missing: apt-get install g++")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        fail(f"Python.h is missing: apt-get install {python}-dev")


def has_googletest() -> bool:
    command = [*compiler(), "-E", "-x", "c++", "-"]
    return subprocess.run(command, input=b"#include <gtest/gtest.h>\n", capture_output=True).returncode == 0


def ensure_googletest() -> None:
    if has_googletest():
        return
    command = ["apt-get", "install", "-y", "libgtest-dev"]
    advice = f"GoogleTest is missing: {shlex.join(command)} (or CXX_TESTS=0 to skip the C++ tests)"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        fail(advice)
    say(f"GoogleTest is missing; running: {shlex.join(command)}")
    if subprocess.run(command).returncode != 0:
        # A machine that was never updated has no list of packages.
        say("that failed; running: apt-get update, then the same again")
        subprocess.run(["apt-get", "update"])
        subprocess.run(command)
    if not has_googletest():
        fail(advice)


class Environment:
    """The virtual environment, and notes in it of what was installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.notes = folder / "setup.json"

    def read_notes(self) -> dict[str, Any]:
        return json.loads(self.notes.read_text()) if self.notes.exists() else {"requirements": [], "package": ""}

    def write_notes(self, **changes: Any) -> None:
        self.notes.write_text(json.dumps({**self.read_notes(), **changes}, indent=1))

    def run(self, *command: str) -> str:
        env = {**os.environ, "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}"}
        line = [str(self.bin / "python"), *command]
        done = subprocess.run(line, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE)
        if done.returncode != 0:
            print(done.stdout, file=sys.stderr)
            fail(f"failed: {shlex.join(line)}")
        return done.stdout

    def pip(self, *arguments: str) -> None:
        self.run("-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments)

    def create(self) -> None:
        # An environment knows its interpreter and its place: after a change of either it is made anew.
        wanted = [sys.version, str(self.folder)]
        if self.notes.exists() and self.read_notes().get("python") == wanted:
            return
        say(f"creating the virtual environment {self.folder.name} (Python {sys.version.split()[0]})")
        shutil.rmtree(self.folder, ignore_errors=True)
        if subprocess.run([sys.executable, "-m", "venv", str(self.folder)], stdout=subprocess.DEVNULL).returncode != 0:
            fail(f"{sys.executable} -m venv failed")
        self.write_notes(python=wanted)

    def project(self) -> dict[str, Any]:
        """pyproject.toml, read by the new environment: pip brings a TOML reader where Python 3.10 has none."""
        code = (
            "import json, sys\n"
            "if sys.version_info >= (3, 11): import tomllib\n"
            "else: from pip._vendor import tomli as tomllib\n"
            "print(json.dumps(tomllib.load(open('pyproject.toml', 'rb'))))"
        )
        return dict(json.loads(self.run("-c", code)))

    def require(self, requirements: list[str]) -> None:
        """Installs what was not asked for before; one call of pip, so that it sees all bounds at once."""
        known = self.read_notes()["requirements"]
        if set(requirements) <= set(known):
            return
        say(f"installing {', '.join(requirements)}")
        self.pip(*requirements)
        self.write_notes(requirements=sorted({*known, *requirements}))

    def install_package(self) -> None:
        digest = package_digest()
        if self.read_notes()["package"] == digest:
            return
        say("building and installing fastkmeans")
        self.pip("--no-index", "--no-deps", "--no-build-isolation", "--force-reinstall", ".")
        self.write_notes(package=digest)


def package_digest() -> str:
    digest = hashlib.sha256(json.dumps({name: os.environ.get(name) for name in PACKAGE_VARIABLES}).encode())
    files = [ROOT / name for name in PACKAGE_FILES]
    for folder in PACKAGE_FOLDERS:
        files += sorted((ROOT / folder).rglob("*"))
    for file in files:
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, required=True, help="folder of the virtual environment")
    parser.add_argument("--extras", default="", help="extras of pyproject.toml, separated by commas")
    parser.add_argument("--extra-pip", default="", help="more requirements, separated by spaces")
    parser.add_argument("--package", action="store_true", help="build and install fastkmeans itself")
    parser.add_argument("--googletest", action="store_true", help="see that GoogleTest is there")
    options = parser.parse_args()

    check_machine(needs_compiler=options.package or options.googletest)
    if options.googletest:
        ensure_googletest()
    environment = Environment(ROOT / options.venv)
    environment.create()
    pyproject = environment.project()
    project = pyproject["project"]
    wanted = [*BUILD_TOOLS, *pyproject["build-system"]["requires"], *project["dependencies"]]
    if options.package or options.googletest:
        wanted += cuda_toolkit.packages_here()
    for extra in filter(None, options.extras.split(",")):
        wanted += project["optional-dependencies"][extra]
    environment.require(list(dict.fromkeys(wanted + options.extra_pip.split())))
    if options.package:
        environment.install_package()


if __name__ == "__main__":
    main()
