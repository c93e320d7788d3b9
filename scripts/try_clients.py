# SPDX-License-Identifier: Apache-2.0
"""PyLate and fast-plaid build their indexes with our FastKMeans. try_clients.sh makes the environment and runs this.

The collection is made up: each document has a centre of its own, and token embeddings around that and a few of the
collection's topics. A query is a document with noise added, so a sane index finds that document first.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from importlib import import_module
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any
from unittest import mock

import fastkmeans
import numpy as np
import numpy.typing as npt
import torch
from fastkmeans import FastKMeans
from fastkmeans.triton_kernels import triton_kmeans

Floats = npt.NDArray[np.float32]
SOURCES = Path(__file__).resolve().parent.parent / "python" / "fastkmeans"
D = 128


def say(client: str, message: str) -> None:
    print(f"clients: {client}: {message}", flush=True)


def noisy(rng: np.random.Generator, rows: Floats, spread: float) -> Floats:
    """Rows of length 1, as token embeddings are."""
    rows = rows + spread * rng.standard_normal(rows.shape, dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def collection(n_documents: int = 400, n_topics: int = 64) -> tuple[list[Floats], list[Floats]]:
    """Documents of 16 to 31 tokens, and queries for the first 50 of them."""
    rng = np.random.default_rng(0)
    topics = rng.standard_normal((n_topics, D), dtype=np.float32)
    documents = []
    for n_tokens in rng.integers(16, 32, n_documents):
        centre = 0.7 * rng.standard_normal(D, dtype=np.float32)
        documents.append(noisy(rng, topics[rng.integers(n_topics, size=n_tokens)] + centre, 0.4))
    return documents, [noisy(rng, rows, 0.03) for rows in documents[:50]]


def squared_distances(x: Floats, centroids: Floats) -> npt.NDArray[np.float64]:
    a, c = x.astype(np.float64), centroids.astype(np.float64)
    distances: npt.NDArray[np.float64] = (a * a).sum(1)[:, None] - 2 * a @ c.T + (c * c).sum(1)
    return distances


def check_labels(x: Floats, centroids: Floats, labels: npt.NDArray[np.int64]) -> float:
    """Every label is the nearest centroid, but for the rounding of an fp32 distance. Returns the inertia."""
    distances = squared_distances(x, centroids)
    chosen = distances[np.arange(len(x)), labels]
    # docs/algorithm.md has the bound; 1e-12 is for this fp64 product, of rows of length about 1.
    rounding = (D // 32 + 8) * 2.0**-23
    assert (chosen <= distances.min(1) * (1 + rounding) + 1e-12).all(), "a label is not the nearest centroid"
    return float(chosen.sum())


def check_ours(client: str) -> None:
    """The fastkmeans that is imported is this tree's, and meets the client's pin."""
    folder = Path(fastkmeans.__file__).parent
    for source in SOURCES.glob("*.py"):
        assert (folder / source.name).read_bytes() == source.read_bytes(), f"{source.name} in {folder} is not ours"
    pins = [line for line in requires(client) or [] if line.startswith("fastkmeans")]
    say(client, f"version {version(client)} asks for {pins[0]} and has {fastkmeans.__version__} in {folder}")


def try_pylate(documents: list[Floats], queries: list[Floats]) -> None:
    """PyLate's own (Stanford) PLAID index, whole: indexing and search."""
    indexer = import_module("pylate.indexes.stanford_nlp.indexing.collection_indexer")
    assert indexer.fastkmeans is fastkmeans
    assert not indexer.use_faiss
    trained: list[tuple[FastKMeans, Floats]] = []
    original = FastKMeans.train

    def train(self: FastKMeans, data: Floats) -> None:
        original(self, data)
        trained.append((self, data))

    with tempfile.TemporaryDirectory() as folder, mock.patch.object(FastKMeans, "train", train):
        index = import_module("pylate.indexes").PLAID(index_folder=folder, index_name="tried", use_fast=False)
        index.add_documents([str(i) for i in range(len(documents))], documents)
        stored = torch.load(Path(folder, "tried", "centroids.pt"))
        found = [hits[0]["id"] for hits in index(queries, k=3)]

    [(kmeans, sample)] = trained
    centroids = kmeans.centroids
    assert centroids.shape == (kmeans.k, D)
    assert torch.equal(stored, torch.nn.functional.normalize(torch.from_numpy(centroids), dim=-1).half())
    labels = kmeans.predict(sample)
    inertia = check_labels(sample, centroids, labels)
    assert len(np.unique(labels)) == kmeans.k, "empty clusters"
    assert kmeans.inertia_ is not None
    assert inertia <= kmeans.inertia_ * (1 + 1e-6), "the last step made it worse"
    assert found == [str(i) for i in range(len(queries))], found
    say("pylate", f"{len(sample)} rows, k = {kmeans.k}, {kmeans.n_iter_} iterations, inertia {inertia:.2f}")
    say("pylate", f"its search finds all {len(found)} documents first")


def fast_plaid_centroids(documents: list[Floats], use_triton: bool) -> tuple[Floats, list[dict[str, torch.Tensor]]]:
    """The centroids that fast-plaid's index building hands to its Rust core, and its calls of our triton_kmeans.

    That core, fast_plaid_rust.create, runs only on the very torch that it was built for, so a mock takes its place.
    """
    calls: list[dict[str, torch.Tensor]] = []

    def recorded(**tensors: torch.Tensor) -> None:
        triton_kmeans(**tensors)
        calls.append(tensors)

    rust = import_module("fast_plaid.fast_plaid_rust")
    loop = import_module("fast_plaid.search.kmeans")
    assert issubclass(loop.FastKMeans, FastKMeans)
    assert loop.triton_kmeans is triton_kmeans
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(loop, "triton_kmeans", recorded),
        mock.patch.object(rust, "create") as create,
    ):
        index: Any = import_module("fast_plaid.search").FastPlaid(folder, device="cpu")
        index.create([torch.from_numpy(rows) for rows in documents], use_triton_kmeans=use_triton)
    return create.call_args.kwargs["centroids"].float().numpy(), calls


def try_fast_plaid(documents: list[Floats], queries: list[Floats]) -> None:
    """fast-plaid's Python index building on our base class, with its own torch loop and with our triton_kmeans."""
    x = np.concatenate(documents)
    starts = np.cumsum([0, *map(len, documents[:-1])])
    inertias = {}
    for use_triton in (False, True):
        torch.manual_seed(0)  # fast-plaid 1.4 draws its sample with it
        centroids, calls = fast_plaid_centroids(documents, use_triton)
        assert bool(calls) == use_triton
        for call in calls:
            check_labels(call["data_chunk"].numpy(), call["centroids"].numpy(), call["best_ids"].numpy())
        distances = squared_distances(x, centroids)
        labels = distances.argmin(1)
        inertias[use_triton] = float(distances.min(1).sum())
        # In place of the Rust search: MaxSim with each token as its centroid.
        scores = [np.maximum.reduceat(rows @ centroids[labels].T, starts, axis=1).sum(0) for rows in queries]
        found = sum(int(score.argmax()) == i for i, score in enumerate(scores))
        say("fast-plaid", f"use_triton={use_triton}: {len(x)} rows, k = {len(centroids)}, {len(calls)} calls of ours")
        say("fast-plaid", f"inertia {inertias[use_triton]:.2f}; its centroids find {found} of {len(queries)} documents")
        assert found == len(queries)
    # The same start and steps; only labels that two roundings tell apart differ.
    assert abs(inertias[True] / inertias[False] - 1) < 1e-3, inertias


def try_fast_plaid_on_a_gpu(documents: list[Floats], queries: list[Floats]) -> None:
    """fast-plaid whole, its Rust core and its search included, with our triton_kmeans on CUDA tensors."""
    calls: list[dict[str, torch.Tensor]] = []

    def recorded(**tensors: torch.Tensor) -> None:
        triton_kmeans(**tensors)
        calls.append({name: tensor.clone() for name, tensor in tensors.items()})

    loop = import_module("fast_plaid.search.kmeans")
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(loop, "triton_kmeans", recorded):
        index: Any = import_module("fast_plaid.search").FastPlaid(folder, device="cuda")
        index.create([torch.from_numpy(rows) for rows in documents], use_triton_kmeans=True)
        found = [index.search(torch.from_numpy(rows)[None], top_k=3)[0][0][0] for rows in queries]
    assert calls
    for call in calls:
        assert all(tensor.is_cuda for tensor in call.values())
        x, centroids = (call[name].float().cpu().numpy() for name in ("data_chunk", "centroids"))
        check_labels(x, centroids, call["best_ids"].cpu().numpy())
    dtype, gpu = calls[0]["data_chunk"].dtype, torch.cuda.get_device_name()
    say("fast-plaid-gpu", f"{len(calls)} calls of ours on {gpu}, {dtype}")
    assert found == list(range(len(queries))), found
    say("fast-plaid-gpu", f"its search finds all {len(found)} documents first")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tries = {"pylate": try_pylate, "fast-plaid": try_fast_plaid, "fast-plaid-gpu": try_fast_plaid_on_a_gpu}
    parser.add_argument("clients", nargs="+", choices=tries)
    documents, queries = collection()
    for client in parser.parse_args().clients:
        start = time.monotonic()
        random.seed(0)  # PyLate draws its sample with Python's and torch's generators
        torch.manual_seed(0)
        check_ours(client.removesuffix("-gpu"))
        tries[client](documents, queries)
        say(client, f"passed in {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
