"""Check that docstrings say which errors are raised and which shapes arrays have: `python -m tools.docstrings`.

Two rules for public functions and methods:

1. A function that raises an error of the project, itself or through a private function of its module, names that
   error or says "Raises".
2. A function with an array among its arguments or results gives a shape in brackets, as in `[n, C]`.

A class docstring speaks for its constructor, its properties, and protocol members without a body. Commands are left
out: their docstring is the help.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping

from tools.source import Function, Module, Public, functions, modules, public_functions

ARRAYS = {"Arrays", "Doubles", "Floats", "Integers", "NDArray", "Tensor", "Tensors", "ndarray"}
SHAPE = re.compile(r"\[[A-Za-z0-9_.*+\- ]+(, ?[A-Za-z0-9_.*+\- ]+)*\]")
NAMED = {"Arrays", "Tensors"}  # dicts of arrays: their names say more than one shape


def missing(module: Module) -> Iterator[str]:
    """Yield one line for each public function of a module that breaks a rule."""
    private = {each.name: each for each in functions(module) if each.name.startswith("_") and each.name != "__init__"}
    for public in public_functions(module):
        if is_help(public.function) or is_overload(public.function):
            continue
        text = docstring(public)
        errors = raised(public.function, private)
        if errors and not re.search(r"\bRaises?\b", text) and not all(name in text for name in errors):
            yield f"{public.name} raises {', '.join(sorted(errors))}; its docstring does not say so"
        if has_arrays(public.function) and not SHAPE.search(text):
            yield f"{public.name} takes or returns arrays; its docstring gives no shape"


def docstring(public: Public) -> str:
    """Return the docstring of a function, joined with the one of its class for a constructor."""
    text = ast.get_docstring(public.function) or ""
    if public.owner is not None and (public.function.name == "__init__" or is_short(public.function)):
        text += ast.get_docstring(public.owner) or ""
    return text


def is_help(function: Function) -> bool:
    """Return whether a function is a command: its docstring is the help text that users read."""
    return any(".command(" in ast.unparse(each) for each in function.decorator_list)


def is_overload(function: Function) -> bool:
    """Return whether a function is a typing overload, which has no docstring of its own."""
    return any(ast.unparse(each) == "overload" for each in function.decorator_list)


def is_short(function: Function) -> bool:
    """Return whether a function is a property, or a protocol member without a body."""
    empty = [ast.unparse(node) for node in function.body] == ["..."]
    return empty or any("property" in ast.unparse(each) for each in function.decorator_list)


def raised(function: Function, private: Mapping[str, Function], seen: frozenset[str] = frozenset()) -> set[str]:
    """Return the project's errors that a function raises, itself or through private functions of its module."""
    names: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            names |= {name for name in [ast.unparse(node.exc.func)] if name.endswith("Error") and name[0].isupper()}
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func).removeprefix("self.").removeprefix("cls.")
            if called in private and called not in seen:
                names |= raised(private[called], private, seen | {called})
    return names & PROJECT


def has_arrays(function: Function) -> bool:
    """Return whether an annotation of a function names an array type."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    notes = [each.annotation for each in arguments if each.annotation is not None]
    notes += [function.returns] if function.returns is not None else []
    names = {node.id for note in notes for node in ast.walk(note) if isinstance(node, ast.Name)}
    names |= {node.attr for note in notes for node in ast.walk(note) if isinstance(node, ast.Attribute)}
    return bool(names & (ARRAYS - NAMED))


def project_errors() -> set[str]:
    """Return the names of the classes in `rtsysid/errors.py`."""
    (module,) = (each for each in modules() if each.name == "rtsysid.errors")
    return {node.name for node in module.tree.body if isinstance(node, ast.ClassDef)}


PROJECT = project_errors()


def main() -> None:
    """Print what is missing; exit with 1 where anything is."""
    lines = [f"{module.path}: {line}" for module in modules() for line in missing(module)]
    print("\n".join(lines) or "docstrings: errors and shapes are said")
    sys.exit(bool(lines))


if __name__ == "__main__":
    main()
