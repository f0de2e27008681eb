"""The model on a Cortex-M4F: exact emulated instructions of one step, and its memory, next to a vendor's figures.

Published for the STM32F405 at 168 MHz (M. Busetto et al., arXiv 2512.14450, ST Edge AI in float32): LSTM of 64 units, 4
inputs, 12 outputs; the paper counts 23,946 multiply-accumulates with initial state and activations, ours are the
weights of one step. Its figure is in cycles. Ours are instructions: they bound cycles from below, and are no cycles.
"""

from __future__ import annotations

import msgspec

from bench.reference import reference_spec
from export.step_cost import can_count, step_cost
from rtsysid.cli.console import table
from rtsysid.spec import Channel, ModelSpec, unit_scaling

PUBLISHED = ("vendor tool, published", "23,946", "328,382 cycles", "13.71", "116.0", "7.3")
GOAL = {"strict": 4.0, "fast": 3.0}


def paper_spec() -> ModelSpec:
    """The paper's LSTM as ours: it sees the 12 outputs too, with which the paper makes its initial state."""
    channels = tuple(Channel(f"c{i}", "", "input" if i < 4 else "output") for i in range(16))
    blank = ModelSpec(channels=channels, rate_hz=100.0, taps=1, encoder=(), hidden=64)
    return msgspec.structs.replace(blank, scaling=unit_scaling(blank, 4.0))


def main() -> None:
    if not can_count():
        print("left out: wants the packages that `make hil` installs")
        return
    rows = [list(PUBLISHED)]
    for name, spec in {"paper's LSTM": paper_spec(), "reference size": reference_spec()}.items():
        for build in ("strict", "fast"):
            for int8 in (False, True):
                spent, image = step_cost(spec, build, int8=int8)
                each = f"{spent / spec.macs:.2f}" + ("" if int8 else f" (goal {GOAL[build]:.1f})")
                title = f"ours, {name}, {build}{', int8' if int8 else ''}"
                sizes = [f"{image.flash / 1e3:.1f}", f"{image.ram / 1e3:.1f}"]
                rows.append([title, f"{spec.macs:,}", f"{spent:,} instr", each, *sizes])
    print("STM32F405 emulated by QEMU at -icount shift=0. Instructions are not cycles.\n")
    print(table(["one step", "MAC", "cost", "per MAC", "flash kB", "RAM kB"], rows))
