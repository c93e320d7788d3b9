# SPDX-License-Identifier: Apache-2.0
"""scikit-learn's own tests of KMeans (sklearn/cluster/tests/test_k_means.py), run with ours in its place.

    python scripts/try_sklearn_tests.py [more arguments of pytest]

Runs the file that is installed with scikit-learn. Each test that does not apply is counted by its reason. Exit status:
that of pytest. docs/clients.md has what came of it.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from typing import Any

import pytest
import sklearn
import sklearn.cluster
from fastkmeans import KMeans
from sklearn.cluster import _kmeans

TESTS = "sklearn.cluster.tests.test_k_means"
OTHERS = "tests something else than KMeans, which stays scikit-learn's"
# Pattern of the test's name with its parameters -> why it does not apply to our class. The first that matches counts.
NOT_APPLICABLE = {
    r"minibatch|MiniBatchKMeans|mini_batch": OTHERS,
    r"test_relocate_empty_clusters|test_euclidean_distance|test_inertia|test_is_same_clustering": OTHERS,
    r"test_kmeans_plusplus": OTHERS,
    r"test_kmeans_init_auto_with_initial_centroids|test_n_init_auto": "reads _n_init, a private attribute",
    r"test_sample_weight_init|test_sample_weight_zero": "calls _init_centroids, a private method",
    r"test_kmeans_verbose": "compares the words that verbose prints; ours are those of FastKMeans",
    r"sparse|csr": "sparse input is a TypeError that says to densify",
}


class Ours:
    """The plugin: skips what is not applicable, and counts."""

    def __init__(self) -> None:
        self.skipped: Counter[str] = Counter()

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        for item in items:
            reason = next((why for pattern, why in NOT_APPLICABLE.items() if re.search(pattern, item.name)), None)
            if reason is not None:
                self.skipped[reason] += 1
                item.add_marker(pytest.mark.skip(reason=reason))


def main() -> int:
    for module in (sklearn.cluster, _kmeans):  # the second for the function k_means
        vars(module)["KMeans"] = KMeans
    ours = Ours()
    options = ["-p", "no:cacheprovider", "-q", "--no-header", "-r", "fE", *sys.argv[1:]]
    status = pytest.main(["--pyargs", TESTS, *options], plugins=[ours])
    print(f"scikit-learn {sklearn.__version__}, not applicable:")
    for reason, count in ours.skipped.items():
        print(f"  {count:4}  {reason}")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
