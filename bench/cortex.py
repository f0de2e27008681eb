"""The model on a Cortex-M4F: instructions of one step, exact and emulated, and what it occupies, beside a vendor's.

Published for the STM32F405 at 168 MHz (M. Busetto et al., arXiv 2512.14450, ST Edge AI in float32): LSTM of 64 units, 4
inputs, 12 outputs; the paper counts 23,946 multiply-accumulates with initial state and activations, ours are the
weights of one step. Its figure is in cycles. Ours are instructions: they bound cycles from below, and are no cycles.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
import numpy as np
import torch

from bench.reference import reference_spec
from export import firmware
from export.to_c import c_sources
from firmware_bridge import emulator
from rtsysid.cli.console import table
from rtsysid.spec import Channel, ModelSpec, unit_scaling
from rtsysid.train.network import Network
from rtsysid.train.run import state_arrays

PUBLISHED = ("vendor tool, published", "23,946", "328,382 cycles", "13.71", "116.0", "7.3")
GOAL = {"strict": 4.0, "fast": 3.0}


def paper_spec() -> ModelSpec:
    """The paper's LSTM as ours: it sees the 12 outputs too, with which the paper makes its initial state."""
    channels = tuple(Channel(f"c{i}", "", "input" if i < 4 else "output") for i in range(16))
    blank = ModelSpec(channels=channels, rate_hz=100.0, taps=1, encoder=(), hidden=64)
    return msgspec.structs.replace(blank, scaling=unit_scaling(blank, 4.0))


def random_model(spec: ModelSpec, *, int8: bool = False) -> dict[str, str]:
    """Its C with random weights: what they are does not change the cost."""
    torch.manual_seed(0)
    sources = c_sources(spec, state_arrays(Network(spec).state_dict()), int8=int8)
    return {name.replace("-int8", ""): text.replace("model-int8.h", "model.h") for name, text in sources.items()}


def step_cost(spec: ModelSpec, build: firmware.Build, *, int8: bool = False) -> tuple[int, firmware.Image]:
    """Instructions of a step with the delay line full, and the image that took them."""
    with tempfile.TemporaryDirectory() as folder:
        image = firmware.build_image("replay", random_model(spec, int8=int8), Path(folder) / "image.elf", build=build)
        width = spec.width + bool(spec.age_changes)
        rows = np.random.default_rng(0).standard_normal((spec.taps + 3, width)).astype(np.float32)
        return int(emulator.replay_image(image.path, rows, spec.n_outputs).instructions[-1]), image


def main() -> None:
    if not (firmware.available() and emulator.emulator_available()):
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
