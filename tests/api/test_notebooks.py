"""The notebooks of the documentation run from their first cell to their last."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.torch
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every cell runs in the order of the file, as a kernel would run it, and the last line of each can be shown."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.chdir(tmp_path)
    mpl.use("agg")
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []  # what a machine printed is not kept
            run_cell("".join(cell["source"]), names)
    assert not list(tmp_path.iterdir())


def run_cell(source: str, names: dict[str, Any]) -> None:
    """Run one cell and make the text of its last expression."""
    *before, last = ast.parse(source).body
    exec(compile(ast.Module([*before], []), "cell", "exec"), names)
    if isinstance(last, ast.Expr):
        assert isinstance(repr(eval(compile(ast.Expression(last.value), "cell", "eval"), names)), str)
    else:
        exec(compile(ast.Module([last], []), "cell", "exec"), names)
