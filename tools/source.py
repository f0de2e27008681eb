"""Read the packages as syntax trees, for the checks in this folder."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple, TypeAlias

ROOT = Path(__file__).parents[1]
PACKAGES = ("rtsysid", "export", "firmware_bridge")
Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


class Module:
    """One Python file: its path, its dotted name and its syntax tree."""

    def __init__(self, path: Path) -> None:
        self.path = path
        parts = path.relative_to(ROOT).with_suffix("").parts
        self.name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        self.text = path.read_text()

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed file."""
        return ast.parse(self.text)

    @property
    def lines(self) -> int:
        """Number of lines."""
        return self.text.count("\n")


class Public(NamedTuple):
    """A public function or method, and the class that it belongs to."""

    function: Function
    owner: ast.ClassDef | None

    @property
    def name(self) -> str:
        """Name for a message: `Class.method` or `function`."""
        return self.function.name if self.owner is None else f"{self.owner.name}.{self.function.name}"


@cache
def modules() -> list[Module]:
    """Return every module of the packages, in order of their paths."""
    return [Module(path) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def public_functions(module: Module) -> Iterator[Public]:
    """Yield public functions, and the public methods and constructors of public classes."""
    for node in module.tree.body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield Public(node, None)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            methods = (item for item in node.body if isinstance(item, Function))
            yield from (Public(each, node) for each in methods if not each.name.startswith("_"))
            yield from (Public(each, node) for each in methods if each.name == "__init__")


def functions(module: Module) -> Iterator[Function]:
    """Yield every function of a module, nested ones included."""
    yield from (node for node in ast.walk(module.tree) if isinstance(node, Function))
