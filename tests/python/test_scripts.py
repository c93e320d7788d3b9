# SPDX-License-Identifier: Apache-2.0
"""The checks in scripts/ find what they are there to find, on small trees made for them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))  # they are not part of the package

import check_includes
import mutation_check
from mutants import MUTANTS, Mutant


def tree(folder: Path, **files: str) -> Path:
    """Sources by path, with __ for / and _ for the dot: cpu__assign_cpp."""
    for name, text in files.items():
        path = folder / "src" / ".".join(name.replace("__", "/").rsplit("_", 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_mutants_break_the_marked_line_wherever_it_is(tmp_path: Path) -> None:
    code = "a < b;\na < b;  // mutant: at_end\n  // mutant: above\n  a < b || a < c;\n"
    root = tree(tmp_path, cpu__assign_cpp=code)
    mutants = [Mutant("at_end", "<", "<="), Mutant("above", "|| a < c", ""), Mutant("above", "a < b", "true", "why")]
    marked = mutation_check.marked_lines(root)
    assert mutation_check.faults(marked, mutants) == []
    expected = [
        code.replace("a < b;  //", "a <= b;  //"),
        code.replace(" || a < c", " "),
        code.replace("a < b ||", "true ||"),
    ]
    for mutant, broken in zip(mutants, expected, strict=True):
        assert mutation_check.apply(root, marked[mutant.rule][0], mutant) == code
        assert (root / "src/cpu/assign.cpp").read_text() == broken
        (root / "src/cpu/assign.cpp").write_text(code)


def test_the_mutants_fit_the_sources() -> None:
    """A formatter that breaks a marked line in two must not disable the whole check."""
    assert mutation_check.faults(mutation_check.marked_lines(mutation_check.ROOT), MUTANTS) == []


@pytest.mark.parametrize(
    ("code", "mutants", "fault"),
    [
        ("a;  // mutant: x\n", [], "src/fit.cpp: marker x has no mutant"),
        ("a;\n", [Mutant("x", "a", "b")], "x has no marker"),
        ("a;  // mutant: x\na;  // mutant: x\n", [Mutant("x", "a", "b")], "x is marked 2 times"),
        ("a;  // mutant: x\n", [Mutant("x", "b", "c")], "src/fit.cpp: x has 0 times, not once, 'b'"),
        ("a + a;  // mutant: x\n", [Mutant("x", "a", "c")], "src/fit.cpp: x has 2 times, not once, 'a'"),
    ],
)
def test_mutants_that_do_not_fit_are_faults(code: str, mutants: list[Mutant], fault: str, tmp_path: Path) -> None:
    assert mutation_check.faults(mutation_check.marked_lines(tree(tmp_path, fit_cpp=code)), mutants) == [fault]


def test_includes_run_downwards(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        numeric__distance_hpp='#include <numeric>\n#include <sys/mman.h>\n#include "fastkmeans/params.hpp"\n',
        runtime__workers_cpp='#include "runtime/workers.hpp"\n#include "numeric/distance.hpp"\n',
        source__sample_cpp='#include "runtime/workers.hpp"\n',
        shard_hpp='#include "plan/plan.hpp"\n#include "source/element.hpp"\n',
        small_shards_hpp='#include "runtime/buffer.hpp"\n',
        cuda__cuda_small_shards_hpp='#include "small_shards.hpp"\n',
        host__host_shard_hpp='#include "shard.hpp"\n#include "sketch/bound.hpp"\n',
        cpu__assign_cpp='#include "cpu/assign.hpp"\n#include "host/host_shard.hpp"\n#include "shard.hpp"\n',
        fit_cpp='#include "lloyd.hpp"\n#include "shard.hpp"\n#include "numeric/distance.hpp"\n',
        make_shard_cpp='#include "scalar/scalar_shard.hpp"\n#include "cpu/cpu_shard.hpp"\n',
        verify_cpp='#include "scalar/scalar_distance.hpp"\n',
    )
    assert list(check_includes.faults(root)) == []


@pytest.mark.parametrize(
    ("name", "included", "fault"),
    [
        ("numeric__a_hpp", '"source/a.hpp"', "src/numeric/a.hpp:2: numeric may not include source/a.hpp"),
        ("numeric__a_hpp", '"runtime/os.hpp"', "src/numeric/a.hpp:2: numeric may not include runtime/os.hpp"),
        ("sketch__a_hpp", '"plan/a.hpp"', "src/sketch/a.hpp:2: sketch may not include plan/a.hpp"),
        ("plan__a_hpp", "<cpu/simd.hpp>", "src/plan/a.hpp:2: plan may not include cpu/simd.hpp"),
        ("shard_hpp", '"host/a.hpp"', "src/shard.hpp:2: shard.hpp may not include host/a.hpp"),
        ("small_shards_hpp", '"shard.hpp"', "src/small_shards.hpp:2: small_shards.hpp may not include shard.hpp"),
        ("host__a_hpp", '"cpu/a.hpp"', "src/host/a.hpp:2: host may not include cpu/a.hpp"),
        ("cpu__a_cpp", '"scalar/a.hpp"', "src/cpu/a.cpp:2: cpu may not include scalar/a.hpp"),
        ("cuda__a_cu", '"lloyd.hpp"', "src/cuda/a.cu:2: cuda may not include lloyd.hpp"),
        ("fit_cpp", '"cpu/a.hpp"', "src/fit.cpp:2: story may not include cpu/a.hpp"),
        ("verify_cpp", '"scalar/scalar_shard.hpp"', "src/verify.cpp:2: story may not include scalar/scalar_shard.hpp"),
        ("cpu__make_shard_cpp", '"cuda/a.hpp"', "src/cpu/make_shard.cpp:2: cpu may not include cuda/a.hpp"),
        ("fit_cpp", '"attic/a.hpp"', "src/fit.cpp:2: attic/ is no room of src/"),
        ("attic__a_hpp", '"numeric/a.hpp"', "src/attic/a.hpp: attic/ is no room of src/"),
    ],
)
def test_includes_that_run_upwards_are_faults(name: str, included: str, fault: str, tmp_path: Path) -> None:
    root = tree(tmp_path, **{name: f"#pragma once\n  # include {included}  // why\n"})
    assert list(check_includes.faults(root)) == [fault]
