# SPDX-License-Identifier: Apache-2.0
"""The checks in scripts/ find what they are there to find, on small trees made for them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))  # they are not part of the package

import mutation_check
from mutants import Mutant


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
