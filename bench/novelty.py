"""Cost of novelty: a session with and without the detector, on every backend, in one run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from bench.latency import timed
from bench.reference import Reference
from export.compile import compile_library
from export.to_c import c_sources
from rtsysid.cli.console import table
from rtsysid.live.calibration import Calibration, look_every
from rtsysid.live.exceedance import ExceedanceModel
from rtsysid.live.novelty import Novelty
from rtsysid.live.session import Session
from rtsysid.model.backends.c_backend import CBackend, machines
from rtsysid.model.predictor import Predictor
from rtsysid.spec import Sample
from rtsysid.train.run import state_arrays


def main() -> None:
    torch.set_num_threads(1)
    reference = Reference()
    spec = reference.spec
    with tempfile.TemporaryDirectory() as folder:
        sources = c_sources(spec, state_arrays(reference.network.state_dict()))
        library = compile_library(sources, Path(folder) / "model.so", machines()[0]).read_bytes()
        backends = {
            "c": lambda: CBackend(spec, library),
            "onnx": lambda: Reference().onnx,
            "numpy": lambda: Reference().numpy,
        }
        plain = {(name, "without"): feeder(Predictor(spec, backend()), None) for name, backend in backends.items()}
        weighing = {
            (name, "with"): feeder(Predictor(spec, backend()), calibration(spec.n_outputs, look_every(spec)))
            for name, backend in backends.items()
        }
        found = timed({**plain, **weighing})
        c = CBackend(spec, library)
        look = timed({"look": lambda: c.reconstruction_error})["look"]
    rows = []
    for name in backends:
        without, with_ = found[name, "without"], found[name, "with"]
        rows.append([name, f"{without:.2f}", f"{with_:.2f}", f"{with_ / without:.3f}"])
    print(f"reference size, {spec.macs:,} multiply-accumulates; a reconstruction error each {look_every(spec)} ticks\n")
    print(table(["backend", "session p50 us", "with novelty p50 us", "ratio"], rows))
    share = look / look_every(spec) / found["c", "without"]
    print(
        f"\nc: a reconstruction error takes {look:.2f} us, {100 * share:.1f} % of a step on average, not in the median"
    )


def calibration(outputs: int, every: int) -> Calibration:
    """Return a calibration that never gives an alarm."""
    calm = ExceedanceModel(3600.0, 50, 1e6, 1.0, 0.0)
    return Calibration(
        false_alarms_per_hour=1.0, spread=(1.0,) * outputs, innovation=calm, every=every, reconstruction=calm,
        recordings="nothing",
    )  # fmt: skip


def feeder(predictor: Predictor, calibrated: Calibration | None) -> Callable[[], object]:
    """Return a function that feeds the next sample of an endless stream."""
    novelty = None if calibrated is None else Novelty(calibrated, predictor)
    session, tick = Session(predictor, novelty=novelty), iter(range(10**9))
    rate, values = predictor.spec.rate_hz, np.full(predictor.spec.width, 0.1, np.float32)
    for _ in range(2 * predictor.settling_samples):
        session.feed(Sample(next(tick) / rate, values))
    return lambda: session.feed(Sample(next(tick) / rate, values))
