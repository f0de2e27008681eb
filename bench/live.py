"""The live loop with the simulated device: age of the answered samples at three rates, with and without SCHED_FIFO and
busy neighbours; how soon the age is normal after a stop; and the cost of the reading thread.

The loop is a separate process, as `rtsysid run` is; so is the device; neighbours keep every processor busy.
"""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
import tty
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bench.reference import Reference, reference_spec
from firmware_bridge.device import SimulatedDevice
from firmware_bridge.link import Link
from firmware_bridge.schema import Schema, WireChannel
from rtsysid.cli.console import table
from rtsysid.live.loop import Answer, Arrival, LiveLoop
from rtsysid.live.realtime import make_punctual
from rtsysid.live.service import StopSignal
from rtsysid.live.session import Session
from rtsysid.model.backends.onnx_backend import OnnxBackend
from rtsysid.model.predictor import Predictor
from rtsysid.spec import ModelSpec

SECONDS, STOPPED_S, AFTER_S = 5.0, 1.0, 1.0
PRIORITY = 50
HEADER = (
    *("rate Hz", "scheduling", "neighbours", "p50 ms", "p99 ms", "worst ms", "stale", "reader", "fresh after stop ms"),
)

WRITER = """
import os, time
due_s = time.monotonic()
for _ in range({count}):
    due_s += 1e-3
    time.sleep(max(0.0, due_s - time.monotonic()))
    os.write({fd}, b"x" * 78)
"""


def main() -> None:
    folder = Reference().folder
    rows = [
        row(folder, rate_hz, fifo, busy)
        for rate_hz in (100, 500, 1000)
        for busy in (False, True)
        for fifo in (0, PRIORITY)
    ]
    warm_up = spec_at(1).taps + spec_at(1).warmup
    print("age of the answered samples; stale: older than a tick; reader: of a core; the host stops for 1 s; where")
    print(f"that loses samples, the warm-up of {warm_up} ticks starts again\n")
    print(table(HEADER, rows))
    ours, bare = reader_share(), bare_share()
    print(f"\nreader alone, 1 kHz x 64 B: {ours:.1%} of a core; poll and read of the same bytes only: {bare:.1%}")


def row(folder: Path, rate_hz: int, fifo: int, busy: bool) -> list[str]:
    """Run one session: some seconds, then a second of SIGSTOP, then another second."""
    spec = spec_at(rate_hz)
    values = np.random.default_rng(0).standard_normal((rate_hz * 10, spec.width)).astype(np.float32)
    with SimulatedDevice(Schema.of(spec.channels, rate_hz), values, repeat=True) as device, neighbours(busy):
        command = [sys.executable, "-m", "bench.live", str(folder), device.port, str(rate_hz), str(fifo)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as host:
            assert host.stdout is not None
            host.stdout.readline()  # it streams
            time.sleep(SECONDS)
            stopped_s = time.monotonic()
            host.send_signal(signal.SIGSTOP)
            time.sleep(STOPPED_S)
            host.send_signal(signal.SIGCONT)
            continued_s = time.monotonic()
            time.sleep(AFTER_S)
            host.terminate()
            found = json.loads(host.communicate()[0])
    at, age = (np.array(found[name]) for name in ("at", "age"))
    usual = age[at < stopped_s]
    fresh = at[(at > continued_s) & (age <= 1 / rate_hz)]
    figures = [*(np.quantile(usual, [0.5, 0.99, 1.0]) * 1e3)]
    return [
        str(rate_hz), "FIFO" if found["fifo"] else "refused" if fifo else "ordinary", "busy" if busy else "none",
        *(f"{figure:.2f}" for figure in figures), f"{(usual > 1 / rate_hz).mean():.2%}", f"{found['reader']:.1%}",
        f"{(fresh[0] - continued_s) * 1e3:.1f}" if len(fresh) else "never",
    ]  # fmt: skip


def spec_at(rate_hz: float) -> ModelSpec:
    return msgspec.structs.replace(reference_spec(), rate_hz=float(rate_hz))


@contextmanager
def neighbours(busy: bool) -> Iterator[None]:
    """Run a busy process on every processor."""
    count = os.cpu_count() or 1
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count if busy else 0)]
    try:
        yield
    finally:
        for each in spinning:
            each.kill()
            each.wait()


class Ages:
    """A recorder that keeps the time of each answer and the age of its sample, also in warm-up."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self.age: list[float] = []

    def sample(self, arrival: Arrival) -> None: ...

    def prediction(self, answer: Answer) -> None:
        if answer.sent:
            self.at.append(answer.arrival.captured_s + answer.age_s)
            self.age.append(answer.age_s)

    def health(self, figures: Mapping[str, Any]) -> None: ...


def host(folder: Path, port: str, rate_hz: float, fifo: int) -> None:
    """Run the loop; print when it streams, and at the end the measurements."""
    spec = spec_at(rate_hz)
    backend = OnnxBackend(reference_spec(), {path.name: path.read_bytes() for path in folder.glob("*.onnx")})
    predictor = Predictor(spec, backend)  # the graph does not depend on the rate
    ages = Ages()
    with Link(port, spec=spec) as link, StopSignal() as stop:
        link.board()
        outcomes = {each.name: each.done for each in make_punctual(fifo, threads=link.thread_ids)}
        before: tuple[float, float] | None = None
        for report in LiveLoop(link, Session(predictor, novelty=None), recorder=ages).run(stop, every_s=0.5):
            if before is None and report.samples and link.health().clock_converged:
                print("streaming", flush=True)
                before = time.monotonic(), link.health().reader_s
                ages.at.clear()
                ages.age.clear()
    assert before is not None
    seconds = time.monotonic() - before[0] - STOPPED_S
    share = (link.health().reader_s - before[1]) / seconds
    print(json.dumps({"at": ages.at, "age": ages.age, "reader": share, "fifo": outcomes.get("SCHED_FIFO", False)}))


def reader_share() -> float:
    """Return the reader's share of a core at 1 kHz x 64 B, with a consumer that takes every sample."""
    schema = Schema(tuple(WireChannel(f"c{i}") for i in range(16)), 1000.0)
    with SimulatedDevice(schema, np.zeros((10_000, 16), np.float32), repeat=True) as device, Link(device.port) as link:
        next(iter(link))
        begun_s, spent_s = time.monotonic(), link.health().reader_s
        for _ in link.batches():
            if time.monotonic() - begun_s > SECONDS:
                break
        return (link.health().reader_s - spent_s) / (time.monotonic() - begun_s)


def bare_share() -> float:
    """Return the share of a core for poll and read only, of frames of the same size at the same rate."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    code = WRITER.format(count=int(SECONDS * 1000), fd=ours)
    poll = select.poll()
    poll.register(theirs, select.POLLIN)
    with subprocess.Popen([sys.executable, "-c", code], pass_fds=[ours]) as writer:
        begun_s, spent_s = time.monotonic(), time.thread_time()
        while writer.poll() is None:
            if poll.poll(20):
                os.read(theirs, 65536)
        share = (time.thread_time() - spent_s) / (time.monotonic() - begun_s)
    os.close(ours)
    os.close(theirs)
    return share


if __name__ == "__main__":
    host(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
