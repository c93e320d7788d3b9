# SPDX-License-Identifier: Apache-2.0
"""The benchmark program: the data and their sizes are what their descriptions say, and inertia is what it should be."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest

for package in ("jsonschema", "matplotlib", "psutil", "sklearn"):
    pytest.importorskip(package)
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the program is not part of the package

from benchmarks import UsageError, data, evaluate, machine, presets  # noqa: E402


def test_evaluation_is_brute_force(rng: np.random.Generator) -> None:
    x = (1e4 + rng.standard_normal((300, 5))).astype(np.float32)
    c = (1e4 + rng.standard_normal((7, 5))).astype(np.float32)
    square = ((x[:, None].astype(np.float64) - c[None]) ** 2).sum(axis=2)
    labels, inertia = evaluate.assign(x, c)
    np.testing.assert_array_equal(labels, square.argmin(axis=1))
    assert inertia == pytest.approx(square.min(axis=1).sum(), rel=1e-12)


def test_evaluation_of_many_problems(rng: np.random.Generator) -> None:
    x, c = rng.standard_normal((3 * 50, 5)).astype(np.float32), rng.standard_normal((3, 4, 5)).astype(np.float32)
    each = [evaluate.assign(x[50 * b : 50 * b + 50], c[b]) for b in range(3)]
    labels, inertia = evaluate.assign_many(x, c)
    np.testing.assert_array_equal(labels, np.concatenate([labels for labels, _ in each]))
    assert inertia == sum(inertia for _, inertia in each)


def test_data_is_what_its_description_says(rng: np.random.Generator) -> None:
    ((x, _),) = data.sift_like(20_000, 128, rng)
    assert x.min() == 0
    assert x.max() <= 255
    assert np.array_equal(x, np.rint(x))
    assert (x.astype(np.float64) ** 2).sum(axis=1).mean() == pytest.approx(2.5e5, rel=0.1)
    ((x, _),) = data.outliers(data.low_rank(20_000, 32, rng), rng)
    norms = np.linalg.norm(x, axis=1)
    assert 5 < (norms > 500).sum() < 50
    assert np.median(norms) == pytest.approx(1)


def test_tokens_of_fewer_dimensions_are_projected(tmp_path: Path, rng: np.random.Generator) -> None:
    np.save(tmp_path / "t.npy", rng.standard_normal((100, 48)).astype(np.float16))
    ((x, _),) = data.tokens(80, 16, data.Sources(tokens=tmp_path / "t.npy"))
    assert x.shape == (80, 16)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, rtol=1e-5)


def test_data_does_not_depend_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "PIECE", 100)
    made = []
    for cpus in (1, 3):
        monkeypatch.setattr(machine, "cpus", lambda cpus=cpus: cpus)
        delays = iter([0.2] + [0.0] * 7)  # the first piece is the last to be drawn, if there are threads

        def piece(m: int, rng: np.random.Generator, delays=delays) -> data.Piece:  # type: ignore[no-untyped-def]
            time.sleep(next(delays))
            return rng.standard_normal((m, 2), dtype=np.float32), None

        made.append([x for x, _ in data.drawn(750, np.random.default_rng(7), piece)])
    assert [len(x) for x in made[0]] == [100] * 7 + [50]
    np.testing.assert_array_equal(np.concatenate(made[0]), np.concatenate(made[1]))
    assert len(np.unique(np.concatenate(made[0]))) > 1490  # no two pieces from the same stream


def test_low_rank_and_noise_are_as_the_preset_says() -> None:
    x = np.concatenate([rows for rows, _ in data.low_rank_noise(3000, 256, np.random.default_rng(0))])
    assert x.shape == (3000, 256)
    assert x.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, atol=1e-5)
    values = np.linalg.svd(x, compute_uv=False)
    ratio = values[:97] / values[100]  # of noise alone
    assert ratio[0] > 10 * ratio[96]
    assert ratio[40] > 2


def test_layers_are_not_projected(tmp_path: Path) -> None:
    np.save(tmp_path / "tokens.npy", np.ones((5, 1152), np.float16))
    sources = data.Sources(tokens=tmp_path / "tokens.npy")
    assert [rows.shape for rows, _ in data.tokens(5, 1152, sources, layers=3)] == [(5, 1152)]
    with pytest.raises(UsageError, match="768 are needed"):
        next(data.tokens(5, 768, sources, layers=2))


@pytest.mark.parametrize(
    ("preset", "on_cpu", "on_gpu"),
    [
        ("iid", (100_000, 1000), (819_200, 8192)),
        ("sift-like", (102_400, 1024), (819_200, 8192)),
        ("init", (100_000, 1000), (1_000_000, 10_000)),
        ("small", (10_000, 100), (10_000, 100)),
    ],
)
def test_a_gpu_gets_more_rows(preset: str, on_cpu: tuple[int, int], on_gpu: tuple[int, int]) -> None:
    for device, size in [("cpu", on_cpu), ("cuda", on_gpu)]:
        cases = presets.cases(preset, presets.Options(device))
        assert {(case.n, case.k) for case in cases} == {size}
        assert {case.d for case in cases} == {128}
