"""Sampled futures in C next to as many deterministic plans, in one run, as ratios: `python -m bench.futures`."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np
import torch

from bench.c_model import PLANS, TICKS
from bench.reference import Reference
from export.compile import compile_library
from export.to_c import c_sources
from rtsysid.cli.console import table
from rtsysid.model.backends.c_backend import CBackend, machines
from rtsysid.model.predictor import Predictor
from rtsysid.schedule import GENERATIVE
from rtsysid.spec import ModelSpec
from rtsysid.train.network import Network
from rtsysid.train.run import state_arrays

ROUNDS, GOAL = 15, 1.3


def main() -> None:
    """Print the ratio of each distribution at the reference size, the medians of calls that take turns."""
    torch.set_num_threads(1)
    reference, rng = Reference(), np.random.default_rng(0)
    spec = reference.spec
    plans = rng.standard_normal((PLANS, TICKS, spec.n_inputs)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        made = {name: _stepped(spec, name, reference.window, Path(folder)) for name in ("", *GENERATIVE)}
        seconds: dict[str, list[float]] = {name: [] for name in made}
        for _ in range(ROUNDS):
            for name, predictor in made.items():
                begun = time.process_time()
                predictor.sample_futures(plans[0], PLANS) if name else predictor.forecast(plans)
                seconds[name].append(time.process_time() - begun)
    plain = np.median(seconds[""])
    rows = [[name, f"{np.median(each) / plain:.2f}"] for name, each in seconds.items() if name]
    print(f"{PLANS} futures of {TICKS} ticks in C, in ratio to {PLANS} deterministic plans ({spec.macs:,} MACs a tick)")
    print(table(["distribution", "ratio"], rows))
    ratio = np.median(seconds["gaussian"]) / plain
    print(f"gaussian: {ratio:.2f}, the goal is at most {GOAL}: {'reached' if ratio <= GOAL else 'MISSED'}")


def _stepped(spec: ModelSpec, distribution: str, window: np.ndarray, folder: Path) -> Predictor:
    """Compile the reference model with a distribution and random weights, and step the first window through it."""
    torch.manual_seed(0)
    chosen = msgspec.structs.replace(spec, distribution=distribution)
    sources = c_sources(chosen, state_arrays(Network(chosen).state_dict()))
    library = compile_library(sources, folder / f"futures-{distribution}.so", machines()[0])
    predictor = Predictor(chosen, CBackend(chosen, library.read_bytes()))
    for row in window:
        predictor.step(row)
    return predictor


if __name__ == "__main__":
    main()
