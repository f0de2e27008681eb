"""A complete replay, from file to predictions: samples per second, and peak memory at 10^5 and 10^6 samples."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rtsysid.cli.console import table

SIZES = (100_000, 1_000_000)


def main() -> None:
    rows = []
    for size in SIZES:
        done = subprocess.run(
            [sys.executable, "-m", "bench.replaying", str(size)], capture_output=True, text=True, check=True
        )
        found = json.loads(done.stdout)
        rows.append([f"{size:,}", f"{found['rate']:,.0f}", f"{found['peak_mb']:.0f}"])
    print(table(["samples", "samples/s", "peak MB"], rows))


def one(size: int) -> None:
    """Replay a CSV of `size` rows to a CSV of predictions, in a separate process."""
    from bench.reference import Reference, reference_spec
    from rtsysid.live.predictions import write_predictions
    from rtsysid.live.replay import replay
    from rtsysid.live.session import Session
    from rtsysid.model.predictor import Predictor
    from rtsysid.recordings.trace import Trace

    spec = reference_spec()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.csv"
        write_log(log, spec.width, size)
        session = Session(Predictor(spec, Reference().onnx), novelty=None)
        begun = time.perf_counter()
        count = write_predictions(
            Path(folder) / "out.csv", spec.outputs, replay(session, Trace.stream(log, spec.channels))
        )
        seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rate": count / seconds, "peak_mb": peak}))


def write_log(path: Path, width: int, rows: int) -> None:
    """Write a CSV of noise row by row."""
    import numpy as np

    rng = np.random.default_rng(0)
    with open(path, "w") as stream:
        stream.write(",".join(["t", *(f"c{i}" for i in range(width))]) + "\n")
        for start in range(0, rows, 10_000):
            values = rng.standard_normal((min(10_000, rows - start), width))
            for k, row in enumerate(values, start):
                stream.write(f"{k / 100!r}," + ",".join(f"{v:.5g}" for v in row) + "\n")


if __name__ == "__main__":
    one(int(sys.argv[1]))
