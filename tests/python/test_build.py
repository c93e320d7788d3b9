# SPDX-License-Identifier: Apache-2.0
"""How the package is built: when a CUDA compiler is asked for, what a wheel must hold, the list of kernels."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

# They are not part of the package.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "cmake"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import check_wheel
import cuda_toolkit
import list_kernels
import setup

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("wanted", ["AUTO", "ON", "OFF"])
@pytest.mark.parametrize("has_nvcc", [False, True])
@pytest.mark.parametrize("has_driver", [False, True])
def test_the_compiler_is_fetched_only_where_it_is_wanted_and_missing(
    wanted: str, has_nvcc: bool, has_driver: bool
) -> None:
    fetched = not has_nvcc and (wanted == "ON" or (wanted == "AUTO" and has_driver))
    expected = cuda_toolkit.PACKAGES if fetched else []
    assert cuda_toolkit.packages(wanted, has_nvcc, has_driver) == expected


def test_the_compiler_is_pinned() -> None:
    assert [name for name in cuda_toolkit.PACKAGES if "==13.0." not in name] == []
    assert "nvidia" not in (ROOT / "pyproject.toml").read_text(encoding="utf-8")  # it is never unconditional


@pytest.mark.parametrize(
    ("environment", "config", "expected"),
    [
        ({}, None, "AUTO"),
        ({"FASTKMEANS_CUDA": ""}, {}, "AUTO"),
        ({"FASTKMEANS_CUDA": "ON"}, None, "ON"),
        ({"FASTKMEANS_CUDA": "ON", "CMAKE_ARGS": "-DA=ON -DFASTKMEANS_CUDA=OFF -DB=ON"}, None, "OFF"),
        ({"CMAKE_ARGS": "-DFASTKMEANS_CUDA=OFF -D FASTKMEANS_CUDA=ON"}, None, "ON"),
        ({"CMAKE_ARGS": "-DFASTKMEANS_CUDA:STRING=OFF"}, None, "OFF"),
        ({"CMAKE_ARGS": "-DFASTKMEANS_CUDA=OFF"}, {"cmake.define.FASTKMEANS_CUDA": "ON"}, "ON"),
    ],
)
def test_what_a_build_wants(environment: dict[str, str], config: dict[str, object] | None, expected: str) -> None:
    assert cuda_toolkit.setting(environment, config) == expected


@pytest.mark.parametrize("hook", ["get_requires_for_build_wheel", "get_requires_for_build_editable"])
def test_the_backend_asks_for_the_compiler(hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("scikit_build_core")
    import build_backend

    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("CMAKE_ARGS", raising=False)
    monkeypatch.setattr(cuda_toolkit, "has_nvcc", lambda environment: False)
    for wanted, expected in [("ON", set(cuda_toolkit.PACKAGES)), ("OFF", set())]:
        asked = getattr(build_backend, hook)({"cmake.define.FASTKMEANS_CUDA": wanted})
        assert {name for name in asked if "nvidia" in name} == expected


def test_a_compiler_of_the_machine_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_toolkit, "USUAL_FOLDER", str(tmp_path / "usual"))
    assert not cuda_toolkit.has_nvcc({"PATH": str(tmp_path)})
    nvcc = tmp_path / "bin" / "nvcc"
    nvcc.parent.mkdir()
    nvcc.touch(0o755)
    nvcc.write_text("#!/bin/sh\necho Cuda compilation tools, release 11.8, V11.8.89\n")
    assert not cuda_toolkit.has_nvcc({"PATH": f"{tmp_path}:{nvcc.parent}"})
    nvcc.write_text("#!/bin/sh\necho Cuda compilation tools, release 13.0, V13.0.88\n")
    assert cuda_toolkit.has_nvcc({"PATH": f"{tmp_path}:{nvcc.parent}"})
    assert cuda_toolkit.has_nvcc({"CUDA_HOME": str(tmp_path)})
    assert cuda_toolkit.has_nvcc({"CUDACXX": "nvcc"})
    monkeypatch.setattr(cuda_toolkit, "USUAL_FOLDER", str(nvcc.parent))
    assert cuda_toolkit.has_nvcc({})


@pytest.mark.parametrize("works", [True, False])
def test_a_driver_is_one_that_can_be_loaded(works: bool, tmp_path: Path) -> None:
    library = module(tmp_path).rename(tmp_path / "libcuda.so.1")  # found before that of the machine, if there is one
    if not works:
        library.write_bytes(b"")
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": str(ROOT / "cmake")}
    command = [sys.executable, "-c", "import cuda_toolkit; print(cuda_toolkit.has_driver())"]
    assert subprocess.run(command, env=environment, capture_output=True, text=True).stdout == f"{works}\n"


@pytest.mark.parametrize(("option", "fetched"), [("--package", True), ("--googletest", True), ("--extras=cli", False)])
def test_what_is_compiled_here_gets_the_compiler(option: str, fetched: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    installed: list[str] = []

    class Recorder(setup.Environment):
        def create(self) -> None: ...

        def project(self) -> dict[str, object]:
            return {
                "build-system": {"requires": []},
                "project": {"dependencies": [], "optional-dependencies": {"cli": []}},
            }

        def require(self, requirements: list[str]) -> None:
            installed.extend(requirements)

        def install_package(self) -> None: ...

    monkeypatch.setattr(setup, "Environment", Recorder)
    monkeypatch.setattr(setup, "check_machine", lambda needs_compiler: None)
    monkeypatch.setattr(setup, "ensure_googletest", lambda: None)
    monkeypatch.setattr(cuda_toolkit, "packages_here", lambda: ["compiler"])
    monkeypatch.setattr(sys, "argv", ["setup.py", "--venv", "unused", option])
    setup.main()
    assert ("compiler" in installed) == fetched


def test_the_package_is_built_anew_for_another_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = set()
    for wanted in ("AUTO", "ON", "OFF"):
        monkeypatch.setenv("FASTKMEANS_CUDA", wanted)
        digests.add(setup.package_digest())
    assert len(digests) == 3


def test_packages_that_are_not_complete_are_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for part in cuda_toolkit.PARTS:
        assert cuda_toolkit.folder() is None
        file = tmp_path / "nvidia" / "cu13" / part
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert cuda_toolkit.folder() == tmp_path / "nvidia" / "cu13"


def wheel(folder: Path, module: Path | None, left_out: str = "") -> Path:
    path = folder / "fastkmeans-1-py3-none-any.whl"
    with ZipFile(path, "w") as archive:
        for name in check_wheel.LICENCES:
            if name != left_out:
                archive.writestr(f"fastkmeans-1.dist-info/licenses/{name}", "text")
        if module:
            archive.write(module, "fastkmeans/_core.so")
    return path


def module(folder: Path, *flags: str) -> Path:
    if not shutil.which("gcc") or not shutil.which("readelf"):
        pytest.skip("needs a compiler, and readelf")
    path = folder / "module.so"
    subprocess.run(["gcc", "-shared", "-x", "c", "/dev/null", "-Wl,--no-as-needed", "-o", path, *flags], check=True)
    return path


def test_a_wheel_links_nothing_that_a_machine_may_lack(tmp_path: Path) -> None:
    assert list(check_wheel.faults(wheel(tmp_path, module(tmp_path, "-lm", "-lpthread")))) == []
    linked = wheel(tmp_path, module(tmp_path, "-lresolv"))
    assert list(check_wheel.faults(linked)) == [f"fastkmeans/_core.so in {linked.name} links libresolv.so.2"]


def test_a_wheel_is_small_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = wheel(tmp_path, None).name
    assert list(check_wheel.faults(wheel(tmp_path, None))) == [f"{name} has no compiled module"]
    path = wheel(tmp_path, module(tmp_path), left_out="licenses/nvidia-cuda.txt")
    assert list(check_wheel.faults(path)) == [f"{name} lacks licenses/nvidia-cuda.txt"]
    path = wheel(tmp_path, module(tmp_path))
    size = path.stat().st_size
    monkeypatch.setattr(check_wheel, "LIMIT", size)
    assert list(check_wheel.faults(path)) == []
    monkeypatch.setattr(check_wheel, "LIMIT", size - 1)
    assert list(check_wheel.faults(path)) == [f"{name} has {size} bytes, more than {size - 1}"]


def test_the_licences_are_in_the_tree() -> None:
    assert [name for name in check_wheel.LICENCES if not (ROOT / name).exists()] == []


RESOURCES = """
Fatbin elf code:
================
arch = sm_80

Resource usage:
 Common:
  GLOBAL:0
 Function _Z1av:
  REG:15 STACK:48 SHARED:512 LOCAL:0 CONSTANT[0]:400 TEXTURE:0 SURFACE:0 SAMPLER:0
 Function _Z1bv:
  REG:255 STACK:0 SHARED:0 LOCAL:0 CONSTANT[0]:400 TEXTURE:0 SURFACE:0 SAMPLER:0

Fatbin ptx code:
================
arch = sm_90

Fatbin elf code:
================
arch = sm_90
 Function _Z1av:
  REG:16 STACK:0 SHARED:0 LOCAL:0 CONSTANT[0]:400 TEXTURE:0 SURFACE:0 SAMPLER:0
"""
SASS = """
arch = sm_80
		Function : _Z1av
        /*0080*/                   STL.64 [R1+0x8], R4 ;    /* 0x0000080401007387 */
        /*0090*/              @!P0 LDL R4, [R1] ;           /* 0x0000080401007387 */
        /*00a0*/                   LDG.E R4, [R2] ;         /* 0x0000080401007387 */
		Function : _Z1bv
        /*0080*/                   LDS R4, [R2] ;           /* 0x0000080401007387 */
arch = sm_90
		Function : _Z1av
        /*0080*/                   STL [R1], R4 ;           /* 0x0000080401007387 */
"""


def test_kernels_are_listed_with_what_they_take() -> None:
    found = list_kernels.kernels(RESOURCES, SASS)
    assert found == [
        list_kernels.Kernel("_Z1av", "sm_80", registers=15, shared=512, stack=48, spills=2),
        list_kernels.Kernel("_Z1bv", "sm_80", registers=255, shared=0, stack=0, spills=0),
        list_kernels.Kernel("_Z1av", "sm_90", registers=16, shared=0, stack=0, spills=1),
    ]
    assert list_kernels.table(found).splitlines()[2:] == [
        "| `_Z1av` | sm_80 | 15 | 512 | 48 | 2 |",
        "| `_Z1av` | sm_90 | 16 | 0 | 0 | 1 |",
        "| `_Z1bv` | sm_80 | 255 | 0 | 0 | 0 |",
    ]


@pytest.mark.skipif(shutil.which("c++filt") is None, reason="needs c++filt, which comes with any compiler")
def test_names_of_kernels_are_short() -> None:
    mangled = "_ZN10fastkmeans4cuda46_GLOBAL__N__926aed86_13_cuda_shard_cu_1259efdb4pickEPKllPKiPKfPiPf"
    assert list_kernels.readable([mangled]) == ["pick"]
