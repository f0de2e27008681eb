"""The table of tolerances: how far a backend may be off the golden trace.

Errors of predictions are in units of each output's standard deviation over the training recordings. Those of the code
are absolute, and those of the reconstruction are differences of its root mean square error, both in scaled units. The
reference is the trained network in float64. How much float32 rounding changes the results depends on the weights: the
exporter measures it with torch in float32. A backend may be off by `ROUNDING` times that, or by the floor of the table.
"""

from __future__ import annotations

from collections.abc import Mapping

TOLERANCE = {  # floor of the largest error
    "step": 1e-5,
    "forecast": 1e-4,
    "code": 1e-5,
    "reconstruction": 1e-5,
}
LARGEST = {  # a model that rounding changes by more is of no use in float32, and a bundle may not claim it
    "step": 0.05,
    "forecast": 0.5,
    "code": 0.05,
    "reconstruction": 0.05,
}
GRADIENT = 1e-5  # largest error of a float32 gradient of a forecast, as a share of its largest entry
ROUNDING = 8.0  # a sum in another order rounds differently, but by no more than this factor


def tolerances(measured: Mapping[str, float]) -> dict[str, float]:
    """Compute the bounds of a model from its measured float32 rounding; a forecast's is never below a step's."""
    bounds = {name: max(floor, ROUNDING * measured[name]) for name, floor in TOLERANCE.items()}
    return bounds | {"forecast": max(bounds["step"], bounds["forecast"])}


def excess(bounds: Mapping[str, float]) -> str:
    """Name the first bound above the table, with its value; empty where all are within it."""
    for name, largest in LARGEST.items():
        if not bounds[name] <= largest:
            return f"{name} {bounds[name]:.2g}, and the table allows {largest:g}"
    return ""
