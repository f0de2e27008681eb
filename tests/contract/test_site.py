"""The site of the documents: it builds without a broken link, and its menu has every page."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the documents and of the configuration of the site."""
    if find_spec("zensical") is None:
        pytest.skip("wants zensical: pip install '.[docs]'")
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    return tmp_path


def build(project: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


def test_the_site_builds_without_a_broken_link(project: Path) -> None:
    """Strict mode finds no page, no heading and no picture that a link names in vain; one such link ends the build."""
    done = build(project)
    assert done.returncode == 0, done.stdout
    assert (project / "out" / "site" / "first-model" / "index.html").is_file()
    with (project / "docs" / "index.md").open("a") as page:
        page.write("\n[nowhere](faq.md#nowhere)\n")
    assert build(project).returncode != 0


def pages(items: Any) -> Iterator[str]:
    """Every page that a menu names."""
    if isinstance(items, str):
        yield items
    for item in items if isinstance(items, list) else items.values() if isinstance(items, dict) else ():
        yield from pages(item)


def test_the_menu_has_every_page_once() -> None:
    """A page that is added to docs/ must get its place in the menu."""
    listed = [*pages(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"])]
    assert sorted(listed) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))
