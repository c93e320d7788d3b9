# SPDX-License-Identifier: Apache-2.0
"""The benchmark program: what it measures is another matter, here is that it measures, says so, and never hangs."""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import fastkmeans
import numpy as np
import pytest

for package in ("jsonschema", "matplotlib", "psutil", "sklearn"):
    pytest.importorskip(package)
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the program is not part of the package

from benchmarks import (  # noqa: E402
    adapters,
    check,
    cli,
    contestant,
    data,
    install,
    machine,
    memory,
    peers,
    presets,
    quality,
    report,
    results,
)
from benchmarks.peers import PEERS, Distribution, Peer  # noqa: E402
from benchmarks.run import Race, Settings, race, result  # noqa: E402


@pytest.fixture
def installed_sklearn(monkeypatch: pytest.MonkeyPatch) -> None:
    """scikit-learn as this environment has it, in the place of the pinned one in its own folder."""
    here = replace(peers.SKLEARN, version=importlib.metadata.version("scikit-learn"), environment=True)
    monkeypatch.setitem(PEERS, "sklearn-lloyd", replace(PEERS["sklearn-lloyd"], distribution=here))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings("cpu", tmp_path / "peers", tmp_path / "data", threads=1, reps=1, timeout=60)


@pytest.fixture
def case() -> presets.Case:
    return presets.Case("small", 500, 6, 4, 5, "iid normal", lambda rng: data.iid(500, 6, rng))


def fake_peer(folder: Path, name: str, train: str, version: str = "1.0") -> Peer:
    """A library that looks like superkmeans, with this body of `train`."""
    home = folder / f"{name}-1.0"
    (home / "superkmeans").mkdir(parents=True)
    (home / f"{name}-{version}.dist-info").mkdir()
    (home / f"{name}-{version}.dist-info" / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    body = "\n".join(f"        {line}" for line in train.splitlines())
    (home / "superkmeans" / "__init__.py").write_text(
        "import os, sys, time\nimport numpy as np\n"
        "class SuperKMeans:\n"
        "    iteration_stats = [0] * 5\n"
        "    def __init__(self, k, d, **options): self.k = k\n"
        "    def train(self, x):\n" + body + "\n"
    )
    return Peer(name, "superkmeans", "adapters.SuperKMeans", Distribution(name, "1.0"))


def test_run_end_to_end(tmp_path: Path, installed_sklearn: None) -> None:
    words = ["--peers", "ours,sklearn-lloyd,faiss", "--max-iters", "3", "--reps", "2", "--do-only-small"]
    words += ["--do-evals", "--random-clusters", "--export-plots"]
    words += ["--output", str(tmp_path / "out"), "--peers-dir", str(tmp_path / "cache" / "peers")]
    assert cli.main(words) == 0
    (path,) = (tmp_path / "out").glob("*.json")
    found = json.loads(path.read_text())
    results.validate(found)
    assert [row["peer"] for row in found["rows"]] == ["ours", "sklearn-lloyd", "faiss"] * 2
    for ours, theirs, missing in zip(*[iter(found["rows"])] * 3, strict=True):
        assert ours["status"] == theirs["status"] == "ok", theirs["reason"]
        assert ours["init"] == theirs["init"] == "given"
        # The same start and the same few iterations end in the same place; no cluster of these is empty.
        np.testing.assert_allclose(theirs["inertia_per_point"], ours["inertia_per_point"], rtol=1e-3)
        assert ours["ratio"] == 1
        assert theirs["ratio"] == pytest.approx(theirs["seconds"]["median"] / ours["seconds"]["median"])
        assert len(ours["seconds"]["all"]) == len(ours["inertia_per_point"]) == 2
        assert ours["library"]["file"].endswith("fastkmeans/__init__.py")
        assert theirs["interleaved"]
        assert missing["status"] == "missing"
        assert missing["seconds"] is None
    assert str(tmp_path) not in path.read_text()  # results are published
    assert list((tmp_path / "out").glob("*.svg"))
    assert not list((tmp_path / "cache" / "data").iterdir())


def test_initialisations_of_those_that_have_them(
    settings: Settings, case: presets.Case, installed_sklearn: None
) -> None:
    other = fake_peer(settings.peers_folder, "good", "return x[: self.k].copy()")
    wanted = replace(settings, init="k-means++")
    (rows,) = race([replace(case, niter=1)], [PEERS["ours"], PEERS["sklearn-lloyd"], other], wanted)
    assert [row["status"] for row in rows] == ["ok", "ok", "unsupported"]
    assert rows[2]["reason"] == "NotImplementedError: no k-means++"
    assert [row["init"] for row in rows] == ["own", "own", None]
    (random,) = race([replace(case, niter=1)], [PEERS["ours"]], replace(settings, init="own"))
    assert rows[0]["inertia_per_point"][0] != random[0]["inertia_per_point"][0]
    results.validate(result("init", [case], rows, wanted, ["run"]))


def test_many_problems_in_one_call(settings: Settings, installed_sklearn: None) -> None:
    """Each far from the others: neither starts nor rows of one may be taken for another's."""
    problems, n, d, k = 40, 30, 6, 4

    def rows(rng: np.random.Generator) -> data.Pieces:
        x = rng.standard_normal((problems, n, d), dtype=np.float32) + 100 * np.arange(problems)[:, None, None]
        yield x.reshape(-1, d), None

    case = presets.Case("batch", n, d, k, 5, "iid normal", rows, problems=problems)
    other = fake_peer(settings.peers_folder, "good", "return x[: self.k].copy()")
    (found,) = race([case], [*(PEERS[name] for name in ("ours", "ours-loop", "sklearn-lloyd")), other], settings)
    assert [row["status"] for row in found] == ["ok", "ok", "ok", "unsupported"], [row["reason"] for row in found]
    assert found[3]["reason"] == "NotImplementedError: no many problems"
    ours, loop, theirs = found[:3]
    assert [row["rows_used"] for row in found[:3]] == [problems * n] * 3
    assert [row["init"] for row in found[:3]] == ["given"] * 3
    assert ours["iterations"] == loop["iterations"] == 5
    assert 1 < theirs["iterations"] <= 5  # it stops where nothing changes, and the mean counts
    assert theirs["tflops"] == pytest.approx(
        2 * problems * n * k * d * theirs["iterations"] / theirs["seconds"]["median"] / 1e12
    )
    assert ours["inertia_per_point"] == loop["inertia_per_point"]
    assert 1 < ours["inertia_per_point"][0] < d
    np.testing.assert_allclose(theirs["inertia_per_point"], ours["inertia_per_point"], rtol=1e-3)
    document = result("batch", [case], found, settings, ["run"])
    results.validate(document)
    assert "**batch**: 40 problems of n = 30, d = 6, k = 4, 5 iterations; iid normal" in report.tables(document)


def test_ours_is_one_call_and_our_loop_none(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    fit_batch = fastkmeans.fit_batch
    monkeypatch.setattr("fastkmeans.fit_batch", lambda x, k, **options: calls.append(k) or fit_batch(x, k, **options))
    x = rng.standard_normal((3, 30, 6)).astype(np.float32)
    fits = []
    for adapter in (adapters.Ours("cpu", "host", 1), adapters.OursLoop("cpu", "host", 1)):
        adapter.load(x)
        fits.append(adapter.fit_many(adapters.Job(4, 5, 0, np.ascontiguousarray(x[:, :4]), None)))
        assert calls == [4]
    np.testing.assert_array_equal(fits[0].centroids, fits[1].centroids)
    assert fits[0].centroids.shape == (3, 4, 6)
    assert fits[0].iterations == fits[1].iterations == 5


def test_each_of_many_problems_gives_as_many_of_its_rows(settings: Settings) -> None:
    """To a library that does not subsample."""
    case = presets.Case("batch", 30, 6, 4, 5, "iid normal", lambda rng: data.iid(3 * 30, 6, rng), problems=3)
    (rows,) = race([case], [PEERS["ours"]], replace(settings, max_points=5))
    assert (rows[0]["status"], rows[0]["rows_used"]) == ("ok", 60)


def test_the_batch_preset() -> None:
    (case,) = presets.cases("batch", presets.Options())
    assert (case.problems, case.n, case.d, case.k, case.niter) == (1000, 500, 64, 16, 25)
    assert [x.shape for x, _ in case.rows(np.random.default_rng(0))] == [(2**18, 64), (500_000 - 2**18, 64)]
    usual = {peer.name for peer in peers.choose([], "cpu")}
    assert not {"ours-loop", "ours-avx2", "ours-11gb", "sklearn-one-thread"} & usual


def test_rows_of_those_that_fall_out(tmp_path: Path, settings: Settings, case: presets.Case) -> None:
    folder = settings.peers_folder
    contestants = {
        "ok": fake_peer(folder, "good", "print('noise on stdout')\nreturn x[: self.k].copy()"),
        "failed": fake_peer(folder, "bad", "raise RuntimeError('no luck in /some/where/here.py')"),
        "timeout": fake_peer(folder, "hanging", "time.sleep(600)"),
        "out-of-memory": fake_peer(folder, "fat", "raise MemoryError"),
        "failed ": fake_peer(folder, "dying", "sys.stderr.write('last words')\nos._exit(3)"),
        "out-of-memory ": fake_peer(folder, "killed", "os.kill(os.getpid(), 9)"),
        "failed  ": fake_peer(folder, "shapeless", "return x"),
        "failed   ": fake_peer(folder, "other", "return x[: self.k].copy()", version="2.0"),
        "unsupported": PEERS["cuvs"],
        "missing": PEERS["superkmeans-f32"],
    }
    start = time.monotonic()
    (rows,) = race([case], list(contestants.values()), replace(settings, timeout=2))
    assert time.monotonic() - start < 30
    assert [row["status"] for row in rows] == [status.strip() for status in contestants]
    reasons = [row["reason"] for row in rows]
    assert reasons[0] is None
    assert reasons[1] == "RuntimeError: no luck in here.py"
    assert reasons[2] == "fit took more than 2 s"
    assert "status 3: last words" in reasons[4]
    assert "shape (500, 6), not (4, 6)" in reasons[6]
    assert "version 2.0, not 1.0" in reasons[7]
    assert "benchmarks install" in reasons[9]
    results.validate(result("none", [case], rows, settings, ["run", str(tmp_path / "x.npy")]))


def test_a_peer_may_have_its_own_number_of_threads(settings: Settings) -> None:
    peer = fake_peer(settings.peers_folder, "good", "return x")
    for own, threads in ((None, 4), (1, 1)):
        made = contestant.Contestant(replace(peer, threads=own), "host", "cpu", settings.peers_folder, 4)
        assert made.spec["threads"] == threads
        assert {made.env[name] for name in contestant.THREAD_VARIABLES} == {str(threads)}
    assert PEERS["sklearn-one-thread"].threads == 1


def test_a_library_from_elsewhere_is_not_measured(settings: Settings, case: presets.Case) -> None:
    # Its folder is there, but has no such module: the environment's own would be imported.
    (settings.peers_folder / "scikit-learn-1.9.1").mkdir(parents=True)
    (rows,) = race([case], [PEERS["sklearn-lloyd"]], settings)
    assert rows[0]["status"] == "failed"
    assert "was imported from" in rows[0]["reason"]


def test_committed_results_match_the_schema() -> None:
    for found in results.load(results.committed()):
        results.validate(found)


@pytest.mark.parametrize(
    ("words", "known"),
    [
        (["--peers", "ours,nobody"], "sklearn-lloyd"),
        (["--do-nobody"], "sklearn-lloyd"),
        (["--preset", "nothing"], "colbert"),
        (["install", "nobody"], "tokens"),
        (["--preset", "mnist"], "--mnist"),
        (["--preset", "tokens"], "--text"),
        (["--preset", "tokens", "--tokens", "none.npy"], "none.npy"),
        (["--device", "cuda", "--modes", "disk"], "host"),
        (["--nonsense"], "--nonsense"),
        (["check", "--baseline", "no-such-commit"], "no-such-commit"),
        (["check", "--baseline", "HEAD", "--preset", "nothing"], "readme"),
    ],
)
def test_bad_input_is_one_line_before_any_work(
    words: list[str], known: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "race", lambda *_: pytest.fail("the work began"))
    monkeypatch.setattr(install, "pip", lambda *_: pytest.fail("the work began"))
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert known in error
    assert error.count("\n") == 1


def test_unwritable_output_fails_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "race", lambda *_: pytest.fail("the work began"))
    (tmp_path / "file").write_text("")
    assert cli.main(["--output", str(tmp_path / "file" / "below")]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_verdicts() -> None:
    ours = {"inertia_per_point": [10.0, 11.0], "nmi": [0.8, 0.8]}
    assert quality.as_good(ours, {"inertia_per_point": [9.9, 11.0], "nmi": [0.8, 0.81]})
    assert not quality.as_good(ours, {"inertia_per_point": [9.0, 9.1], "nmi": [0.8, 0.81]})
    assert not quality.as_good(ours, {"inertia_per_point": [10.0, 11.0], "nmi": [0.9, 0.91]})
    assert quality.as_good(ours, {"inertia_per_point": None, "nmi": None}) is None


def pair(case: str, factor: float) -> list[results.Row]:
    """A case at a baseline, and the same `factor` times as long."""
    times = [1.0, 1.1, 5.0]
    base = {"case": case, "reason": None, "interleaved": True, "seconds": results.seconds(1, times)}
    return [base, {**base, "seconds": results.seconds(1, [factor * t for t in times])}]


def test_check_fails_at_its_limit() -> None:
    assert check.compare(pair("a", 1.14), 1.15)[1] == []
    assert check.compare(pair("a", 1.16), 1.15)[1] == ["a"]
    assert check.compare(pair("a", 1.14), 1.1)[1] == ["a"]
    lines, slow = check.compare([*pair("a", 1.2), *pair("b", 0.5), *pair("c", 0.9)], 1.15)
    assert slow == ["a"]
    assert "a: 1.1 s before, 1.32 s now, median ratio 1.200  SLOWER" in lines[0]
    assert lines[-1] == "median ratio of these cases: 0.900"


@pytest.mark.parametrize("change", [{"seconds": None, "reason": "gone"}, {"interleaved": False}])
def test_check_fails_where_a_side_is_lost_or_ran_alone(change: results.Row) -> None:
    base, head = pair("a", 1)
    lines, slow = check.compare([base, {**head, **change}], 1.15)
    assert slow == ["a"]
    assert lines == [f"a: {change.get('reason', 'not in turns: memory is short')}"]


@pytest.mark.parametrize(("factor", "status", "runs"), [(1.02, 0, [2]), (1.2, 1, [2, 2])])
def test_check_of_any_commit(
    factor: float, status: int, runs: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is built, not the tree twice; a case must be slower twice."""
    built, raced = [], []

    def race_of(cases: list[presets.Case], sides: list[Peer], settings: Settings) -> list[list[results.Row]]:
        raced.append(len(cases))
        assert [side.name for side in sides] == ["baseline", "tree"]
        return [pair(case.name, factor) for case in cases]

    monkeypatch.setattr(check, "build_commit", lambda commit, target: built.append((commit, target.name[:40])))
    monkeypatch.setattr(check, "build", lambda source, target: built.append((source, target.name[:4])))
    monkeypatch.setattr(check, "race", race_of)
    monkeypatch.setattr(check, "full_hash", lambda commit: {"some-name": "1" * 40}[commit])
    words = ["check", "--baseline", "some-name", "--limit", "1.1", "--preset", "ci", "--cases", "ci-tiny,ci-sift"]
    assert cli.main(words) == status
    assert built == [("1" * 40, "1" * 40), (check.ROOT, "tree")]
    assert raced == runs
    assert f"median ratio of these cases: {factor:.3f}" in capsys.readouterr().out


def test_a_commit_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = machine.output("git", "rev-parse", "HEAD")
    if commit is None:
        pytest.skip("not a checkout of git")
    built = []

    def build(source: Path, target: Path) -> None:
        built.append((source / "pyproject.toml").is_file())
        target.mkdir()
        Path(f"{target}.objects").mkdir()

    monkeypatch.setattr(check, "build", build)
    for _ in range(2):
        check.build_commit(commit, tmp_path / "there")
    assert built == [True]
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert check.full_hash(commit[:12]) == commit


def test_ours_may_be_an_old_commit_that_lacks_options(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {}

    class Old:
        centroids, n_iter_ = np.zeros((2, 3), np.float32), 4

        def __init__(self, d, k, niter=25, tol=1e-8, seed=0, max_points_per_centroid=256, init="random"):  # type: ignore[no-untyped-def]
            made.update(locals())

        def train(self, data: object) -> None:
            pass

    monkeypatch.setattr("fastkmeans.FastKMeans", Old)
    ours = adapters.Ours("cpu", "host", 1)
    ours.load(np.zeros((5, 3), np.float32))
    assert ours.fit(adapters.Job(2, 4, 7, None, None)).iterations == 4
    assert (made["d"], made["k"], made["niter"], made["seed"], made["max_points_per_centroid"]) == (3, 2, 4, 7, None)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A driver's library that reads out these numbers of bytes in use, the last one for ever."""
    readings = [0]

    class Nvml:
        def nvmlInit_v2(self) -> int:
            return 0

        def nvmlDeviceGetHandleByIndex_v2(self, index: int, handle: object) -> int:
            return 0

        def nvmlDeviceGetMemoryInfo(self, handle: object, info: object) -> int:
            info._obj[2] = readings.pop(0) if len(readings) > 1 else readings[0]  # type: ignore[attr-defined]
            return 0

    monkeypatch.setattr("ctypes.CDLL", lambda name: Nvml())
    return readings


@pytest.mark.parametrize(("limit", "told"), [(250, [300]), (300, []), (None, [])])
def test_a_fit_over_its_limit_of_device_memory_is_told_once(
    driver: list[int], limit: int | None, told: list[int]
) -> None:
    driver[:] = [1000, 1000, 1300, 1400, 1200] if told else [1000, 1000, 1300, 1200]
    over: list[int] = []
    with memory.DeviceMemory("cuda", limit, over.append) as device:
        time.sleep(0.2)
    assert over == told
    assert device.peak == (400 if told else 300)


def test_a_fit_over_its_limit_is_ended_and_its_row_says_so(settings: Settings, case: presets.Case) -> None:
    peer = fake_peer(settings.peers_folder, "greedy", "time.sleep(600)")
    # Read at the start of the child's Python: a driver that has given away more with each question.
    (settings.peers_folder / "greedy-1.0" / "sitecustomize.py").write_text(
        "import ctypes, itertools\n"
        "class Nvml:\n"
        "    used = itertools.count(0, 400)\n"
        "    def __getattr__(self, name): return lambda *_: 0\n"
        "    def nvmlDeviceGetMemoryInfo(self, handle, info):\n"
        "        info._obj[2] = next(self.used)\n"
        "        return 0\n"
        "ctypes.CDLL = lambda name: Nvml()\n"
    )
    start = time.monotonic()
    limited = replace(case, device_limit=1000)
    on_gpu = replace(settings, device="cuda", inertia=False)
    (rows,) = race([limited], [replace(peer, devices=("cuda",))], on_gpu)
    assert time.monotonic() - start < 30
    assert rows[0]["status"] == "out-of-memory"
    assert rows[0]["reason"] == "took 1,200 bytes of device memory, more than it may"


def test_a_limit_that_cannot_be_kept_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr("ctypes.CDLL", missing)
    assert memory.DeviceMemory("cuda").nvml is None
    with pytest.raises(RuntimeError, match="NVML"):
        memory.DeviceMemory("cuda", 1)


def test_the_memory_preset_and_its_limits(settings: Settings) -> None:
    (case,) = presets.cases("memory", presets.Options("cuda"))
    assert (case.n, case.d, case.k, case.niter, case.device_limit) == (26_214_400, 128, 262_144, 2, 11_000_000_000)
    chosen = peers.choose(["ours", "ours-11gb", "ours-6gb"], "cuda")
    entries = Race(case, chosen, replace(settings, device="cuda", wanted_modes=("host",)), settings.work).entries
    assert [entry.row["peer"] for entry in entries] == ["ours", "ours-11gb", "ours-6gb"]
    assert {entry.row["mode"] for entry in entries} == {"host"}
    specs = [entry.child.spec for entry in entries if entry.child]
    assert [spec["device_limit"] for spec in specs] == [11_000_000_000, 11_000_000_000, 6_000_000_000]
    assert [spec["options"] for spec in specs] == [
        {},
        {"memory_limit": 10_400_000_000},
        {"memory_limit": 5_400_000_000},
    ]
    assert "ours-6gb" not in [peer.name for peer in peers.choose([], "cuda")]
    both = Race(case, chosen, replace(settings, device="cuda"), settings.work).entries
    assert [entry.row["mode"] for entry in both] == ["host", "device", "host", "host"]


def test_a_limit_is_never_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The class may lack options that change no fit, but not this one: the row would be of another fit."""

    def make(d: int, k: int, **options: object) -> None:
        raise TypeError(sorted(options))

    monkeypatch.setattr("fastkmeans.FastKMeans", make)
    ours = adapters.Ours("cuda", "host", 1, memory_limit=5)
    ours.load(np.zeros((5, 3), np.float32))
    with pytest.raises(TypeError, match="memory_limit"):
        ours.fit(adapters.Job(2, 4, 7, None, None))


@pytest.mark.parametrize("told", ["1" * 40, "2" * 40 + "-dirty"])
def test_a_copy_without_git_is_told_its_commit(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTKMEANS_COMMIT", told)
    assert machine.commit() == {"commit": told[:40], "changed": told.endswith("dirty")}
