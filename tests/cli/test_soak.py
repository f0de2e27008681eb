"""A long live session with something going wrong all the time: `make soak` lets it run for ten minutes."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from support.fast_bundle import RATE_HZ, make_fast_bundle
from support.live_parts import until
from support.robots import plant
from support.shell import ended, process, rtsysid
from support.shim import FAULTS, Fault, Shim

from firmware_bridge.device import SimulatedDevice
from firmware_bridge.schema import Schema
from rtsysid.model.bundle import Bundle

SECONDS = float(os.environ.get("RTSYSID_SOAK_SECONDS", "8"))


@pytest.fixture(scope="module")
def fast_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model at 500 Hz, hardly trained."""
    return make_fast_bundle(tmp_path_factory.mktemp("fast")).folder


class Body:
    """A process seen from outside: resident memory in MB, and open files."""

    def __init__(self, pid: int) -> None:
        self._status, self._files = Path(f"/proc/{pid}/status"), Path(f"/proc/{pid}/fd")

    def megabytes(self) -> float:
        lines = dict(line.split(":", 1) for line in self._status.read_text().splitlines())
        return int(lines["VmRSS"].split()[0]) / 1024

    def files(self) -> int:
        return len(list(self._files.iterdir()))


def answered(device: SimulatedDevice) -> None:
    """Wait until the board, streaming, holds another prediction than now."""
    before = device.status().split()[2:3]
    until(lambda: (now := device.status().split())[0] == "2" and now[2:3] not in (before, []), "another prediction")


@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 10 + 800)
def test_soak(fast_bundle: Path, tmp_path: Path) -> None:
    """Through unplugging, resets, stalls, pauses, stops and every fault of a bad line in turn, 500 Hz is held and
    answered again after each; losses and restarts are those that were made; samples that the board captured are samples
    fed and counted losses, exactly and over all boots; every sample received was recorded; memory and files do not
    grow, and the recording replays to equal predictions."""
    spec = Bundle.open(fast_bundle).spec
    rows = plant(1, 5000, seed=5).episodes[0].values
    made = dict.fromkeys(("unplug", "reset"), 0)
    with (
        SimulatedDevice(Schema.of(spec.channels, RATE_HZ), rows, repeat=True) as device,
        Shim(device.port, tmp_path) as cable,
        process("run", fast_bundle, cable.port, "--record", tmp_path / "f.mcap", "--json") as host,
    ):
        faults = faults_on(device, cable, host.pid, made)
        answered(device)
        body, begun_s = Body(host.pid), time.monotonic()
        marks = list[tuple[float, int]]()
        while time.monotonic() - begun_s < SECONDS or len(marks) < len(faults):
            faults[len(marks) % len(faults)]()
            answered(device)
            wait(min(SECONDS / 40, 5.0))
            marks.append((body.megabytes(), body.files()))
        host.terminate()
        report, said = ended(host)
        captured = device.captured()
    link = report["link"]
    reasons = [line for line in said.splitlines() if "lost:" in line or "restarted" in line]
    assert link["losses"] == len(reasons) >= sum(made.values()), reasons  # a busy machine may be silent for long, too
    assert link["reboots"] == made["reset"]
    assert report["samples"] == link["samples"] - link["dropped"], link
    assert captured == report["samples"] + link["dropped"] + link["refused"] + link["gaps"] - link["paused"], link
    assert (link["refused"], link["clock_jumps"], link["unknown_ends"]) == (0, 0, made["reset"])
    assert (link["dropped"], report["not_recorded"]) == (0, 0)
    assert min(link["corrupt"], link["wire"]["duplicate"], link["wire"]["reordered"]) > 0
    megabytes, files = zip(*marks[len(marks) // 4 :], strict=True)
    assert max(megabytes) - megabytes[0] < 16, marks
    assert max(files) <= files[0], marks
    replayed = json.loads(rtsysid("replay", fast_bundle, tmp_path / "f.mcap", "--json").stdout)
    assert (replayed["equal"], replayed["compared"]) == (True, report["samples"])
    seconds = report["seconds"]
    counts = f"{captured} captured, {report['samples']} fed, {link['gaps']} gaps, {link['paused']} of them paused"
    print(*sorted({f"{reasons.count(each)} x {each}" for each in reasons}), sep="\n")
    print(f"{seconds:.0f} s, {counts}, {len(marks)} faults, of them {made}, {megabytes[-1]:.0f} MB")


def faults_on(device: SimulatedDevice, cable: Shim, host: int, made: dict[str, int]) -> list[Callable[[], None]]:
    """What goes wrong, in turn: all that board, host and cable can do, but for the death of a board, which counts no
    more."""

    def unplug() -> None:
        made["unplug"] += 1
        cable.cut()
        wait(0.05)
        cable.plug()

    def reset() -> None:
        made["reset"] += 1
        device.reset()

    def pause() -> None:
        device.pause()
        wait(0.3)
        device.resume()

    def stop() -> None:
        os.kill(host, signal.SIGSTOP)
        wait(0.3)
        os.kill(host, signal.SIGCONT)

    def mangle(fault: Fault) -> None:
        ways = [(way, way.done + 10) for way in (cable.to_host, cable.to_board)]
        for way, _ in ways:
            way.start(fault)
        until(lambda: all(way.done >= enough for way, enough in ways), fault)
        for way, _ in ways:
            way.on = False

    board_and_host = [unplug, lambda: device.stall(0.05), reset, stop, pause]
    return [*board_and_host, *(partial(mangle, fault) for fault in FAULTS), reset, unplug]


def wait(seconds: float) -> None:
    """Let time pass."""
    begun_s = time.monotonic()
    until(lambda: time.monotonic() - begun_s > seconds, "a while")
