"""Make mutants of a module: each differs from the source in one operator, constant, condition or statement.

Left alone: annotations, docstrings, decorators, texts of errors that are raised, and imports for type checking.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tools.source import ROOT

Change = Callable[[], None]  # changes a node in place

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitAnd,
    ast.And: ast.Or, ast.Or: ast.And, ast.USub: ast.UAdd,
}  # fmt: skip


class Mutant(NamedTuple):
    """One changed source. ``before`` and ``after``: the first line of the statement that differs."""

    file: str
    line: int
    before: str
    after: str
    source: str

    @property
    def key(self) -> tuple[str, str, str]:
        """Name the mutant by its text: a line number changes with every edit."""
        return self.file, self.before, self.after


def mutants(path: Path) -> list[Mutant]:
    """Return every mutant of a module, in the order of its lines."""
    source, found = path.read_text(), []
    statement = _statements(ast.parse(source))
    for number, node in enumerate(_mutable(ast.parse(source))):
        for choice in range(len(list(_changes(node)))):
            tree = ast.parse(source)
            changed = list(_mutable(tree))[number]
            before, after = statement[number], _statements(tree)
            list(_changes(changed))[choice]()
            old, new = _difference(before, after[number])
            if old != new:
                found.append(Mutant(str(path.relative_to(ROOT)), before.lineno, old, new, ast.unparse(tree)))
    return sorted(found, key=lambda each: each.line)


def _difference(before: ast.stmt, after: ast.stmt) -> tuple[str, str]:
    """Return the first line that differs between the texts of two statements."""
    pairs = zip(ast.unparse(before).splitlines(), ast.unparse(after).splitlines(), strict=False)
    return next(((old.strip(), new.strip()) for old, new in pairs if old != new), ("", ""))


def _mutable(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield the nodes that may be changed, always in the same order."""
    for _, node in _walk(tree, tree.body[0]):
        yield node


def _statements(tree: ast.Module) -> list[ast.stmt]:
    """Return the innermost statement of each mutable node."""
    return [statement for statement, _ in _walk(tree, tree.body[0])]


def _walk(node: ast.AST, statement: ast.stmt) -> Iterator[tuple[ast.stmt, ast.AST]]:
    for child in _children(node):
        inner = child if isinstance(child, ast.stmt) else statement
        yield inner, child
        yield from _walk(child, inner)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Raise) or _for_type_checking(node):
        return
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "keywords" if isinstance(node, ast.ClassDef) else ""):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_docstring(child):
                yield child


def _for_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _changes(node: ast.AST) -> Iterator[Change]:
    """Yield the changes of one node."""
    match node:
        case ast.Compare():
            yield from (_swapped(node.ops, place) for place in range(len(node.ops)) if type(node.ops[place]) in SWAPS)
        case ast.BinOp() | ast.BoolOp() | ast.UnaryOp() if type(node.op) in SWAPS:
            yield _set(node, "op", SWAPS[type(node.op)]())
        case ast.AugAssign() if type(node.op) in SWAPS:
            yield _set(node, "op", SWAPS[type(node.op)]())
        case ast.If() | ast.While() | ast.IfExp() if not _for_type_checking(node):
            yield _set(node, "test", ast.UnaryOp(ast.Not(), node.test))
        case ast.Constant():
            yield from (_set(node, "value", value) for value in _other_values(node.value))
        case ast.Return(value=ast.AST()):
            yield _set(node, "value", ast.Constant(None))
        case ast.Assign():
            yield _set(node, "value", ast.Constant(None))
        case ast.Expr(value=ast.Call()):
            yield _set(node, "value", ast.Constant(None))
        case ast.Break() | ast.Continue():
            yield _set(node, "__class__", ast.Continue if isinstance(node, ast.Break) else ast.Break)


def _other_values(value: object) -> list[object]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1]
    if isinstance(value, bytes):
        return [value + b"X"]
    return [value + "X"] if isinstance(value, str) else []


def _set(node: ast.AST, name: str, value: Any) -> Change:
    return lambda: setattr(node, name, value)


def _swapped(operators: list[ast.cmpop], place: int) -> Change:
    def change() -> None:
        operators[place] = SWAPS[type(operators[place])]()  # type: ignore[call-overload]

    return change
