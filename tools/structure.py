"""Check the size and order of the source: `python -m tools.structure`.

The bounds are those of `CONTRIBUTING.md`: short functions, files that fit on a few screens, few names that occur in
two modules, and no import circle, imports for type checking included.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping

from tools.source import ROOT, Function, Module, functions, modules

MEDIAN, P90, FILE = 7, 16, 350  # lines
FLAT, SHARED = 14, 25  # modules directly in rtsysid/; top-level names in two modules


def measures(every: list[Module]) -> dict[str, tuple[float, float]]:
    """Return each measure with its bound."""
    lengths = sorted(each.end_lineno - each.lineno + 1 for m in every for each in functions(m) if each.end_lineno)
    flat = sum(path.suffix == ".py" for path in (ROOT / "rtsysid").iterdir())
    return {
        "function median": (statistics.median(lengths), MEDIAN),
        "function p90": (lengths[int(0.9 * len(lengths))], P90),
        "longest file": (max(each.lines for each in every), FILE),
        "modules flat in rtsysid": (flat, FLAT),
        "top-level names in two modules": (len(shared_names(every)), SHARED),
        "import circles": (len(circles(imports(every))), 0),
    }


def shared_names(every: list[Module]) -> dict[str, list[str]]:
    """Return the top-level functions and classes whose name occurs in two modules or more, with these modules."""
    homes: dict[str, list[str]] = defaultdict(list)
    for module in every:
        for node in module.tree.body:
            if isinstance(node, Function | ast.ClassDef):
                homes[node.name].append(module.name)
    return {name: where for name, where in sorted(homes.items()) if len(set(where)) > 1}


def imports(every: list[Module]) -> dict[str, set[str]]:
    """Return the modules that each module imports, anywhere in its text."""
    names = {module.name for module in every}
    return {module.name: {each for each in imported(module, names) if each != module.name} for module in every}


def imported(module: Module, names: set[str]) -> Iterator[str]:
    """Yield the modules among `names` that one module imports."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in names or node.module in names:
                    yield inner if inner in names else node.module


def circles(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """Return the groups of modules that import each other in a loop."""
    reached = {name: reachable(graph, name) for name in graph}
    loops = {frozenset(b for b in reached[a] if a in reached[b]) for a in graph if a in reached[a]}
    return [set(loop) for loop in loops]


def reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    """Return what a module imports, directly or through others."""
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        fresh = graph.get(waiting.pop(), set()) - reached
        reached |= fresh
        waiting += fresh
    return reached


def main() -> None:
    """Print the measures with their bounds, and what breaks them; exit with 1 where one is broken."""
    every = modules()
    table = measures(every)
    for name, (value, bound) in table.items():
        print(f"{name:32} {value:6g}  of {bound}{'' if value <= bound else '  TOO MUCH'}")
    if table["top-level names in two modules"][0] > SHARED or "-v" in sys.argv:
        print("\n".join(f"  {name}: {', '.join(where)}" for name, where in shared_names(every).items()))
    for loop in circles(imports(every)):
        print(f"  circle: {', '.join(sorted(loop))}")
    print("\n".join(f"  {m.path.relative_to(ROOT)}: {m.lines} lines" for m in every if m.lines > FILE))
    sys.exit(any(value > bound for value, bound in table.values()))


if __name__ == "__main__":
    main()
