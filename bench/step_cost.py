"""Step cost against taps, code size and hidden size: a table, and with a file name a plot.

`python -m bench.step_cost docs/step_cost.png`
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from bench import arguments
from bench.latency import timed
from bench.reference import reference_spec
from export.compile import compile_library
from export.to_c import c_sources
from rtsysid.cli.console import table
from rtsysid.model.backends.c_backend import CBackend, machines
from rtsysid.spec import ModelSpec
from rtsysid.train.network import Network
from rtsysid.train.run import state_arrays

SWEEPS: dict[str, tuple[int, ...]] = {
    "taps": (4, 8, 16, 32, 64),
    "code": (4, 8, 16, 32, 64),
    "hidden": (16, 32, 64, 128),
}


def main(plot: Path | None = None) -> None:
    """Time one step of every model of the sweeps, all in turns; sizes that are not swept are the reference's."""
    specs = {(axis, value): changed(axis, value) for axis, values in SWEEPS.items() for value in values}
    with tempfile.TemporaryDirectory() as folder:
        steps = {key: stepper(spec, Path(folder) / f"{key[0]}{key[1]}.so") for key, spec in specs.items()}
        found = timed(steps)
    rows = [
        [axis, str(value), f"{specs[axis, value].macs:,}", f"{us:.2f}", f"{us * 1e3 / specs[axis, value].macs:.3f}"]
        for (axis, value), us in found.items()
    ]
    print("\n" + table(["swept", "size", "MAC", "p50 us", "ns/MAC"], rows))
    if plot is not None:
        draw(plot, specs, found)


def changed(axis: str, value: int) -> ModelSpec:
    """The reference with one size changed."""
    if axis == "taps":
        return reference_spec(taps=value)
    change: dict[str, Any] = {"encoder": (64, value)} if axis == "code" else {"hidden": value}
    return msgspec.structs.replace(reference_spec(), **change)


def stepper(spec: ModelSpec, library: Path) -> Any:
    torch.manual_seed(0)
    sources = c_sources(spec, state_arrays(Network(spec).state_dict()))
    backend = CBackend(spec, compile_library(sources, library, machines()[0]).read_bytes())
    sample = np.full(spec.width, 0.1, np.float32)
    for _ in range(spec.taps):
        backend.step(sample)
    return lambda: backend.step(sample)


def draw(path: Path, specs: dict[tuple[str, int], ModelSpec], found: dict[tuple[str, int], float]) -> None:
    """Microseconds against each size."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(SWEEPS), figsize=(9, 3), sharey=True, layout="constrained")
    for axis, (name, values) in zip(axes, SWEEPS.items(), strict=True):
        axis.plot(values, [found[name, value] for value in values], "o-")
        axis.set(xlabel=name, xscale="log", xticks=values, xticklabels=[str(v) for v in values])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].set(ylabel="one step from Python, p50 us", ylim=(0, 1.05 * max(found.values())))
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    given = arguments(__doc__)
    main(Path(given[0]) if given else None)
