"""Compute arithmetic written in a configuration, as ``9.81/2048``. Nothing else is evaluated."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable

from rtsysid.errors import ConfigError

_LONGEST = 100  # characters
_OPERATIONS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: math.pow,
}  # fmt: skip
_NAMES = {"pi": math.pi}


def computed(expression: str | float) -> float:
    """Return the value of numbers, + - * / ** and pi.

    Raises ConfigError where the expression is anything else, or its value is not finite.
    """
    if not isinstance(expression, str):
        return float(expression)
    remedy = "write numbers, + - * / ** and pi"
    try:
        value = _node_value(ast.parse(expression[: _LONGEST + 1].strip(), mode="eval").body)
    except (SyntaxError, ValueError, OverflowError, ZeroDivisionError, RecursionError, MemoryError):
        raise ConfigError(f"scale {expression[:40]!r}", "it is not arithmetic", remedy) from None
    if len(expression) > _LONGEST or not math.isfinite(value):
        raise ConfigError(f"scale {expression[:40]!r}", "it has no finite value", remedy)
    return value


def _node_value(node: ast.expr) -> float:
    """Compute a node. Raises ValueError where it is no arithmetic."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return float(node.value)
    if isinstance(node, ast.Name) and node.id in _NAMES:
        return _NAMES[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        return -_node_value(node.operand) if isinstance(node.op, ast.USub) else _node_value(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        return _OPERATIONS[type(node.op)](_node_value(node.left), _node_value(node.right))
    raise ValueError("not arithmetic")
