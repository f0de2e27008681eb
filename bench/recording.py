"""Cost of recording on the control thread per sample, compared with lines of JSON, and the size of the files."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from firmware_bridge.recorder import Recorder
from rtsysid.cli.console import table
from rtsysid.live.loop import Answer
from rtsysid.live.session import Prediction
from rtsysid.spec import Arrival, Channel, Sample

RATE_HZ, SECONDS, WIDTH, OUTPUTS = 1000, 5, 12, 6
CHANNELS = tuple(Channel(f"c{i}", "m/s") for i in range(WIDTH))
WIRE = bytes(range(64))


class Cost(NamedTuple):
    """Microseconds of the control thread per sample; share of a core of the process; bytes per sample."""

    p50: float
    p99: float
    share: float
    size: float


def main() -> None:
    print(f"{WIDTH} channels, {OUTPUTS} outputs, {len(WIRE)} bytes of the wire, at {RATE_HZ} Hz for {SECONDS} s")
    with tempfile.TemporaryDirectory() as folder:
        nothing = paced(lambda answer: None)
        costs = {"lines of JSON": as_lines(Path(folder) / "a.jsonl"), "Recorder": as_mcap(Path(folder) / "a.mcap")}
    peer = costs["lines of JSON"].p50
    rows = [
        [name, f"{c.p50:.1f}", f"{c.p99:.1f}", f"{c.p50 / peer:.2f}", f"{c.share - nothing.share:.1%}", f"{c.size:.0f}"]
        for name, c in costs.items()
    ]
    print(table(["written as", "p50 us", "p99 us", "of JSON", "of a core, all threads", "bytes"], rows))


def as_lines(path: Path) -> Cost:
    """Write lines of JSON on the control thread, into the buffer of the file."""
    with open(path, "w") as stream:
        cost = paced(lambda answer: write_lines(stream, answer))
    return cost._replace(size=path.stat().st_size / (RATE_HZ * SECONDS))


def as_mcap(path: Path) -> Cost:
    with Recorder.open(path, channels=CHANNELS, outputs=CHANNELS[:OUTPUTS]) as recorder:

        def record(answer: Answer) -> None:
            recorder.wire("rx", time.monotonic_ns(), WIRE)
            recorder.sample(answer.arrival)
            recorder.prediction(answer)

        cost = paced(record)
    return cost._replace(size=path.stat().st_size / (RATE_HZ * SECONDS))


def write_lines(stream: IO[str], answer: Answer) -> None:
    """Write the same content as one line for each message."""
    (t, values), device_us, received_s, *rest = answer.arrival
    prediction = answer.prediction
    stream.write(json.dumps({"rx": time.monotonic_ns(), "data": WIRE.hex()}) + "\n")
    stream.write(json.dumps({"t": t, "us": device_us, "s": received_s, "rest": rest, "v": values.tolist()}) + "\n")
    said = {"t": prediction.t, "age": answer.age_s, "status": answer.status, "flags": prediction.flags}
    stream.write(json.dumps({**said, "sent": answer.sent, "y": prediction.y.tolist()}) + "\n")


def paced(record: Callable[[Answer], None]) -> Cost:
    """Record an answer at each tick; only the recording is timed."""
    rng = np.random.default_rng(0)
    us, begun, cpu_s = [], time.perf_counter(), time.process_time()
    for k in range(RATE_HZ * SECONDS):
        time.sleep(max(0.0, begun + k / RATE_HZ - time.perf_counter()))
        values = rng.standard_normal(WIDTH).astype(np.float32)
        arrival = Arrival(Sample(k / RATE_HZ, values), 1000 * k, 0.0, time.monotonic(), k % 65536, 1)
        answer = Answer(arrival, Prediction(k / RATE_HZ, values[:OUTPUTS], "ok", ("ok",)), 0.001, "ok", True)
        started = time.perf_counter()
        record(answer)
        us.append((time.perf_counter() - started) * 1e6)
    share = (time.process_time() - cpu_s) / (time.perf_counter() - begun)
    return Cost(float(np.median(us)), float(np.percentile(us, 99)), share, 0.0)
