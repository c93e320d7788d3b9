# SPDX-License-Identifier: Apache-2.0
"""The Markdown pages: links lead somewhere, sections that comments cite exist, and no page is beyond 500 lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/results/*.md")])
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
CITATION = re.compile(r"docs/(\w+)\.md,? sections? ([\d.]*\d)")


def anchors(text: str) -> set[str]:
    """Those that GitHub gives to headings: lower case, blanks as hyphens, punctuation gone, repetitions numbered."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", LINK.sub("", heading).lower()).replace(" ", "-")
        found.add(next(s for s in [slug, *(f"{slug}-{i}" for i in range(1, 100))] if s not in found))
    return found


def broken(page: Path) -> Iterator[str]:
    """The page's links to files that are not there, and to headings that no page has."""
    for link in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            yield link


def test_tests_of_features_exist() -> None:
    """docs/features.md: a::b is test_b of test_a.py, ::b of the same file as before."""
    page = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
    found = re.findall(r"(\w*)::(\w+)", page)
    assert len(found) > 30
    file = ""
    for name, test in found:
        file = name or file
        if file != "a":  # where the page says how to read it
            assert f"def test_{test}(" in (ROOT / f"tests/python/test_{file}.py").read_text(encoding="utf-8"), test


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert list(broken(page)) == []


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("# One `two`, three\n## Same\n## Same\n```\n# none\n```\n")
    page = tmp_path / "a.md"
    page.write_text("[1](b.md#one-two-three) [2](b.md#same-1) [3](https://x.y/z) [4](b.md#none) [5](c.md) [6](#here)\n")
    assert list(broken(page)) == ["b.md#none", "c.md", "#here"]


def test_cited_sections_exist() -> None:
    sources = [path for top in ("src", "include", "python", "tests") for path in (ROOT / top).rglob("*.*")]
    sources = [path for path in sources if path.suffix in {".hpp", ".cpp", ".cu", ".cuh", ".h", ".py"}]
    cited = {c for path in sources for c in CITATION.findall(path.read_text(encoding="utf-8"))}
    assert len(cited) > 10
    pages = {page: (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8") for page, _ in cited}
    missing = [(page, n) for page, n in cited if not re.search(rf"^#+ {re.escape(n)}\.? ", pages[page], re.MULTILINE)]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_can_be_read(page: Path) -> None:
    assert len(page.read_text(encoding="utf-8").splitlines()) <= 500
