# SPDX-License-Identifier: Apache-2.0
"""What the driver says decides where to compute. A fake libcuda.so.1 says what these tests need; no GPU is needed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastkmeans import _core

pytestmark = pytest.mark.skipif(
    _core.cuda_state()["status"] == "not_built", reason="THIS BUILD HAS NO CUDA: the driver is never asked"
)

FAKE_DRIVER = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int number(const char* name) { const char* text = getenv(name); return text ? atoi(text) : 0; }
/* FAKE_DEVICES has the compute capability of each device: "75 90". */
static int capability(int i) {
  const char* at = getenv("FAKE_DEVICES");
  char* end;
  for (;; at = end) {
    const int value = at ? (int)strtol(at, &end, 10) : 0;
    if (value == 0 || i-- == 0) return value;
  }
}
int cuDriverGetVersion(int* version) { *version = number("FAKE_DRIVER"); return 0; }
int cuInit(unsigned flags) {
  if (getenv("FAKE_LOG")) fprintf(stderr, "cuInit\n");
  return flags ? 1 : number("FAKE_INIT");
}
int cuDeviceGetCount(int* count) { for (*count = 0; capability(*count); ++*count) {} return 0; }
int cuDeviceGet(int* device, int i) { *device = 40 + i; return 0; }
int cuDeviceGetName(char* name, int size, int device) { snprintf(name, size, "Fake %d", device - 40); return 0; }
int cuDeviceTotalMem_v2(size_t* bytes, int device) { *bytes = (size_t)(device - 39) << 33; return 0; }
int cuDeviceGetAttribute(int* value, int attribute, int device) {
  const int both = capability(device - 40);
  *value = attribute == 75 ? both / 10 : attribute == 76 ? both % 10 : -1;
  return 0;
}
"""

ONCE = "fastkmeans computes on the CPU"
# Constructs twice and fits, with every warning shown; prints where that was.
USE = """
import warnings, numpy as np
from fastkmeans import FastKMeans
warnings.simplefilter("always")
made = [FastKMeans(2, 2), FastKMeans(2, 2)]
made[0].device
print(made[0].device, made[1].use_triton)
"""
FIT = USE + "made[0].fit(np.eye(2))\n"

Driven = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def fake_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"NO C COMPILER ({compiler[0]}): the fake driver cannot be built")
    folder = tmp_path_factory.mktemp("driver")
    command = [*compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", str(folder / "libcuda.so.1")]
    subprocess.run(command, input=FAKE_DRIVER, text=True, check=True)
    return folder


@pytest.fixture
def driven(fake_driver: Path) -> Driven:
    """Runs Python on a machine with this driver and these devices."""

    def run(
        *arguments: str, devices: str = "", driver: int = 13000, init: int = 0, log: bool = False
    ) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "LD_LIBRARY_PATH": str(fake_driver), "FAKE_DEVICES": devices}
        env |= {"FAKE_DRIVER": str(driver), "FAKE_INIT": str(init)} | ({"FAKE_LOG": "1"} if log else {})
        return subprocess.run([sys.executable, *arguments], env=env, capture_output=True, text=True, timeout=60)

    return run


def said(done: subprocess.CompletedProcess[str]) -> tuple[str, str]:
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


def refused(driven: Driven, expression: str, **machine: Any) -> str:
    """The error of an expression, which must be a RuntimeError with "CUDA" in it."""
    source = f"from fastkmeans import FastKMeans\ntry: {expression}\nexcept RuntimeError as error: print(error)"
    out, err = said(driven("-c", source, **machine))
    assert err == ""
    assert "CUDA" in out
    return out


OLD = {"driver": 12040, "devices": "90"}
UNSUPPORTED = {"devices": "75"}
BROKEN = {"init": 999, "devices": "90"}
NO_DEVICE = {"init": 100}
EMPTY: dict[str, Any] = {}  # a driver that counts no devices
USELESS = [(OLD, r"CUDA 12.4, and CUDA 13.0 is needed"), (UNSUPPORTED, "Fake 0 has compute capability 7.5, and 8.0 is")]
USELESS.append((BROKEN, "cuInit returned error 999"))


@pytest.mark.parametrize(("machine", "found"), USELESS, ids=["old driver", "unsupported", "broken"])
def test_a_gpu_that_is_of_no_use_is_one_warning(machine: dict[str, Any], found: str, driven: Driven) -> None:
    out, err = said(driven("-c", FIT, **machine))
    assert out == "cpu False"
    assert err.count("UserWarning") == err.count(ONCE) == 1
    assert found in err
    assert "<string>:5: UserWarning" in err  # at the caller's line
    assert found in refused(driven, 'FastKMeans(2, 2, device="cuda")', **machine)
    for elsewhere in ("gpu=False", "device='cpu'", "gpu=False, device='cuda'"):
        source = f"from fastkmeans import FastKMeans; print(FastKMeans(2, 2, {elsewhere}).device)"
        assert said(driven("-c", source, **machine)) == ("cpu", "")


@pytest.mark.parametrize("machine", [NO_DEVICE, EMPTY], ids=["no device", "none counted"])
def test_no_gpu_is_the_cpu_in_silence(machine: dict[str, Any], driven: Driven) -> None:
    assert said(driven("-c", FIT, **machine)) == ("cpu False", "")
    assert "CUDA found no device" in refused(driven, "FastKMeans(2, 2, device=0)", **machine)


@pytest.mark.skipif(_core.cuda_state()["status"] != "no_driver", reason="THIS MACHINE HAS AN NVIDIA DRIVER")
def test_no_driver_is_the_cpu_in_silence() -> None:
    done = subprocess.run([sys.executable, "-c", FIT], capture_output=True, text=True, timeout=60)
    assert said(done) == ("cpu False", "")
    assert "no_driver" in _core.cuda_state()["status"]
    with pytest.raises(RuntimeError, match="CUDA needs an NVIDIA driver"):
        _core.chosen_device("cuda")


def test_a_gpu_that_we_support(driven: Driven) -> None:
    assert said(driven("-c", USE, devices="90")) == ("cuda:0 True", "")
    devices = "print(*[FastKMeans(2, 2, device=d, use_triton=False).device for d in ('cuda', 'cuda:0', 0, 'cpu')])"
    out, _ = said(driven("-c", USE + devices, devices="90"))
    assert out.splitlines()[1] == "cuda:0 cuda:0 cuda:0 cpu"
    assert "CUDA has 1 devices" in refused(driven, "FastKMeans(2, 2, device='cuda:1')", devices="90")


def test_the_first_of_two_is_unsupported(driven: Driven) -> None:
    assert said(driven("-c", USE, devices="75 90")) == ("cuda:1 True", "")
    assert "compute capability 7.5" in refused(driven, "FastKMeans(2, 2, device='cuda:0')", devices="75 90")


def test_the_driver_is_asked_no_sooner_than_it_must_be(driven: Driven) -> None:
    quiet = "from fastkmeans import FastKMeans\nFastKMeans(2, 2, gpu=False).device\nFastKMeans(2, 2, device='cpu')\n"
    assert said(driven("-c", quiet, devices="90", log=True))[1] == ""
    assert said(driven("-c", quiet + "FastKMeans(2, 2); FastKMeans(2, 2)", devices="90", log=True))[1] == "cuInit\n"


FORK = """
import os
import numpy as np
from fastkmeans import FastKMeans
FastKMeans(2, 2)
if os.fork() == 0:
    try:
        {use}
    except RuntimeError as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
"""


@pytest.mark.parametrize("use", ["FastKMeans(2, 2).fit(np.eye(2))", "FastKMeans(2, 2, device='cuda')"])
def test_after_fork_cuda_needs_spawn(use: str, driven: Driven) -> None:
    out, err = said(driven("-c", FORK.format(use=use), devices="90"))
    assert err == ""
    assert "CUDA" in out
    assert "spawn" in out


@pytest.mark.parametrize("where", ["gpu=False", "device='cpu'"])
def test_after_fork_the_cpu_works(where: str, driven: Driven) -> None:
    use = f"print(FastKMeans(2, 2, {where}).fit(np.eye(2)).inertia_)"
    assert said(driven("-c", FORK.format(use=use), devices="90")) == ("0.0", "")


@pytest.mark.parametrize("machine", [NO_DEVICE, {"driver": 12040}], ids=["no device", "old driver"])
def test_a_child_of_a_process_without_cuda_loses_nothing(machine: dict[str, Any], driven: Driven) -> None:
    out, _ = said(driven("-c", FORK.format(use="print(FastKMeans(2, 2).fit(np.eye(2)).inertia_)"), **machine))
    assert out == "0.0"


def test_a_share_of_memory_is_that_of_the_device(driven: Driven) -> None:
    source = """
from fastkmeans import _checks
for limit in (None, 5, 0.5):
    print(*(_checks.limit_in_bytes(limit, device) for device in ("cuda:0", "cuda:1", "cpu")))
"""
    out, _ = said(driven("-c", source, devices="90 90"))
    assert out.splitlines() == ["0 0 0", "5 5 0", f"{2**32} {2**33} 0"]


# Rows on a device, as the core will be given them. Stands in for cupy, whose memory is the host's.
CUPY = """
import sys, numpy as np
sys.path.insert(0, {folder!r})
import fake_cupy; sys.modules["cupy"] = fake_cupy
from fastkmeans import _input
x = np.arange(60, dtype="f2").reshape(10, 6)[1::2, ::-2]
with fake_cupy.cuda.Device(1):
    rows = fake_cupy.array(x)
def show(device):
    found = _input.read(rows, 3, device=device)
    if isinstance(found.array, np.ndarray):
        return print(device, "host", found.home)
    address, *rest, owner = found.array
    assert address == owner.data.ptr
    print(device, *rest, owner is rows, found.dtype, found.home)
for device in ("", "cuda", "cuda:1", "cuda:2", "cpu"):
    show(device)
"""


def test_cupy_arrays_are_read_in_place_or_moved_to_the_device_that_is_named(driven: Driven) -> None:
    source = CUPY.format(folder=str(Path(__file__).parent))
    there = "(5, 3) (24, -4) 1 7001 True float16 cupy:1"
    moved = "cuda:2 (5, 3) (24, -4) 2 7002 False float16 cupy:1"
    out, _ = said(driven("-c", source, devices="80 90 120"))
    assert out.splitlines() == [f" {there}".strip(), f"cuda {there}", f"cuda:1 {there}", moved, "cpu host cupy:1"]
    out, _ = said(driven("-c", source, devices="90 75 90"))  # its own device is of no use
    assert out.splitlines()[:2] == ["host cupy:1", "cuda host cupy:1"]


TENSOR = """
import numpy as np
from types import SimpleNamespace as S
from fastkmeans import _device_input
class Tensor(S):
    shape = (5, 3)
    stride, element_size, data_ptr = lambda self: (12, 2), lambda self: 2, lambda self: 4096
    to = lambda self, device: self if device == self.device else Tensor(device=device)
torch = S(device=lambda type, index: S(type=type, index=index),
          cuda=S(current_stream=lambda device: S(cuda_stream=7000 + device.index)))
for device in ("", "cuda", "cuda:0", "cuda:1", "cpu"):
    rows = Tensor(device=torch.device("cuda", 1))
    found = _device_input.of_tensor(torch, rows, device)
    print(device, found and (*found[:-1], found.owner is rows))
print(_device_input.of_tensor(torch, Tensor(device=torch.device("cpu", None)), "cuda:1"))
"""


def test_tensors_are_read_in_place_or_moved_to_the_device_that_is_named(driven: Driven) -> None:
    there, moved = "(4096, (5, 3), (24, 4), 1, 7001, True)", "(4096, (5, 3), (24, 4), 0, 7000, False)"
    out, _ = said(driven("-c", TENSOR, devices="90 90"))
    assert out.splitlines() == [there, f"cuda {there}", f"cuda:0 {moved}", f"cuda:1 {there}", "cpu None", "None"]
    out, _ = said(driven("-c", TENSOR, devices="90 75"))  # its own device is of no use
    assert out.splitlines()[:3] == ["None", "cuda None", f"cuda:0 {moved}"]


def test_info(driven: Driven) -> None:
    out, _ = said(driven("-m", "fastkmeans", "info", devices="75 90"))
    assert "\nCUDA: ready, driver of CUDA 13.0\n" in out
    assert "\n  cuda:0       no (Fake 0, compute capability 7.5, 8.0 GiB)\n" in out
    assert "\n  cuda:1       yes (Fake 1, compute capability 9.0, 16.0 GiB)\n" in out
    out, _ = said(driven("-m", "fastkmeans", "info", **OLD))
    assert "\nCUDA: old_driver, driver of CUDA 12.4: the NVIDIA driver is too old" in out
    assert "cuda:0" not in out


def test_the_command_takes_a_device(driven: Driven, folder: Path) -> None:
    train = ["-m", "fastkmeans", "train", "x.npy", "-k", "5", "-o", "out.npy"]
    for extra in (["--device", "cpu", "--memory-limit", "0.5"], ["--memory-limit", "1000000"]):
        said(driven(*train, *extra, **NO_DEVICE))
    for extra, error in {
        ("--device", "cuda:1"): "CUDA was asked for (device='cuda:1')",
        ("--device", "gpu"): "device must be 'cpu', 'cuda'",
        ("--memory-limit", "1.5"): "memory_limit must be an integer",
        ("--memory-limit", "much"): "must be bytes or a share such as 0.5, given 'much'",
    }.items():
        done = driven(*train, *extra, **NO_DEVICE)
        assert done.returncode == 2
        assert error in done.stderr
        assert done.stderr.count("\n") == 1
