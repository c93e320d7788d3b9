# SPDX-License-Identifier: Apache-2.0
"""examples/demo.py: its data, and that it shows ours beside scikit-learn's, of the same work."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

for package in ("matplotlib", "PIL", "sklearn"):
    pytest.importorskip(package)


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo", Path(__file__).parents[2] / "examples" / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_embeddings_are_made_up_or_read(demo: ModuleType, tmp_path: Path) -> None:
    made = demo.embeddings(None, n=500)
    assert made.shape == (500, 128)
    assert made.dtype == np.float32
    assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-6)
    # Few directions and noise, as in embeddings: a quarter of the directions has most of the variance.
    variances = np.linalg.svd(made - made.mean(axis=0), compute_uv=False) ** 2
    assert variances[:32].sum() > 0.75 * variances.sum()

    np.save(tmp_path / "tokens.npy", np.arange(60, dtype=np.float16).reshape(20, 3))
    read = demo.embeddings(tmp_path / "tokens.npy", n=10)
    assert read.dtype == np.float32
    assert np.array_equal(read, np.arange(30).reshape(10, 3))


def blocks(demo: ModuleType, capsys: pytest.CaptureFixture[str]) -> list[str]:
    demo.cluster_embeddings(demo.embeddings(None, n=2_000), 20, "made-up embeddings")
    return capsys.readouterr().out.strip().split("\n\n")


def inertias(block: str) -> list[float]:
    found = re.search(r"inertia per row +(\S+) +(\S+)", block)
    assert found, block
    return [float(value) for value in found.groups()]


def test_both_do_the_same_work(
    demo: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    shown = blocks(demo, capsys)[-1]
    assert "2,000 made-up embeddings of 128 dimensions, k = 20" in shown
    assert re.search(r"fastkmeans ran on the CPU \(\w+\), scikit-learn on the CPU", shown)
    ours, theirs = inertias(shown)
    assert ours == pytest.approx(theirs, rel=0.01)


def test_where_there_is_a_gpu_the_cpu_is_shown_as_well(
    demo: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def ours(x: np.ndarray, initial: np.ndarray, niter: int, gpu: bool = True) -> object:
        asked.append(gpu)
        return demo.Outcome(initial, np.zeros(len(x), np.int64), niter)

    monkeypatch.setattr(demo, "FastKMeans", lambda d, k: SimpleNamespace(device="cuda:0"))
    monkeypatch.setattr(demo, "ours", ours)
    assert len(blocks(demo, capsys)) == 2
    assert asked == [True, False] * 4  # in turns


def test_digits_and_a_photograph_become_pictures(demo: ModuleType, tmp_path: Path) -> None:
    for path in (demo.cluster_digits(tmp_path), demo.cluster_photograph(tmp_path)):
        assert path.read_bytes().startswith(b"\x89PNG")
