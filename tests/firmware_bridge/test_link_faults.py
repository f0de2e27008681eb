"""Everything a cable, a board or a host can do wrong, on the simulated device; the counters tell what was done.

`test_cli_link.py` has the faults of disks and of killed processes, `test_conversation.py` those of a bad line in
simulated time.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from support.live_parts import PATIENCE_S, board_schema, numbered, streaming, take, until
from support.shim import FAULTS, Fault, Shim

from firmware_bridge.device import SimulatedDevice
from firmware_bridge.health import LinkHealth
from firmware_bridge.link import Link
from rtsysid.errors import LinkError
from rtsysid.source import reading
from rtsysid.spec import Arrival

ROWS = 20_000
STREAMING, SAFE = "2", "3"  # states of the board
Y = np.array([1.0, 2.0], np.float32)


@pytest.fixture
def device() -> Iterator[SimulatedDevice]:
    with SimulatedDevice(board_schema(), numbered(ROWS), repeat=True) as running:
        yield running


@pytest.fixture
def shim(device: SimulatedDevice, tmp_path: Path) -> Iterator[Shim]:
    with Shim(device.port, tmp_path) as cable:
        yield cable
        assert not cable.carried["overflow"]


def faults_of(health: LinkHealth) -> dict[str, int]:
    """What is not zero of the counters of the wire, and of the gaps."""
    wire = {name: getattr(health.wire, name) for name in health.wire.__struct_fields__}
    counts = {**wire, "gaps": health.gaps, "dropped": health.dropped, "losses": health.losses}
    return {name: count for name, count in counts.items() if count and name not in ("ok", "unverified", "foreign")}


def corrupt(counts: dict[str, int]) -> int:
    """However a piece was found to be no frame."""
    return sum(counts.pop(name, 0) for name in ("crc", "cobs", "oversize", "runt", "schema"))


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_on_the_way_to_the_host(device: SimulatedDevice, shim: Shim, fault: Fault) -> None:
    """Each fault of a sample's frame is counted once by its name, what it costs is a gap of as many samples, and no
    sample comes out changed."""
    with Link(shim.port) as link:
        values = take(link, 20)
        shim.to_host.start(fault)
        values += take(link, 200)
        shim.to_host.on = False
        values += take(link, 20)
        link.close()
        values += [float(arrival.sample.values[0]) for arrival in link]
        health = link.health()
    counts, done = faults_of(health), shim.to_host.done
    assert done > 20
    assert all(value == round(value) for value in values)
    bad = corrupt(counts)
    if fault in ("flip bit", "drop byte", "add byte"):
        assert (bad, counts) == (done, {"lost": done, "gaps": done})
    elif fault == "join":
        assert (bad, counts) == (done, {"lost": 2 * done, "gaps": counts["gaps"]})
        assert done < counts["gaps"] <= 2 * done  # the frame joined to may be a heartbeat
    elif fault == "drop":
        assert (bad, counts) == (0, {"lost": done, "gaps": done})
    elif fault == "double":
        assert (bad, counts) == (0, {"duplicate": done})
    else:
        assert (bad, counts) == (0, {"reordered": done})
    assert sorted(values) != values if fault == "swap" else sorted(values) == values
    assert len(values) == len(set(values)) == health.samples


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_on_the_way_to_the_board(device: SimulatedDevice, shim: Shim, fault: Fault) -> None:
    """The board counts each fault of a prediction's frame by its name, and tells with its heartbeats; the host's own
    counters stay clean."""
    with Link(shim.port) as link:
        streaming(link)
        shim.to_board.start(fault, every=3)
        predict(link, lambda: shim.to_board.done >= 20)
        shim.to_board.on = False
        left = iter(range(5))
        predict(link, lambda: next(left, None) is None)
        beats = [link.health().device]
        for _ in range(2):  # the second one is later than everything that was sent
            until(lambda: link.health().device != beats[-1], "a heartbeat")
            beats.append(link.health().device)
        health = link.health()
    counts = {name: getattr(beats[-1], f"rx_{name}") for name in health.wire.__struct_fields__ if name != "ok"}
    counts = {name: count for name, count in counts.items() if count}
    done, bad = shim.to_board.done, corrupt(counts)
    expected = {
        "flip bit": (done, {"lost": done}), "drop byte": (done, {"lost": done}), "add byte": (done, {"lost": done}),
        "join": (done, {"lost": 2 * done}), "drop": (0, {"lost": done}), "double": (0, {"duplicate": done}),
        "swap": (0, {"reordered": done}),
    }  # fmt: skip
    assert (bad, counts) == expected[fault]
    assert faults_of(health) == {}


def predict(link: Link, enough: Callable[[], bool]) -> None:
    """Answer every sample until it is enough."""
    for arrival in link:
        link.predict(arrival.seq, "ok", 0.0, 0.002, Y)
        if enough():
            return


def test_a_cut_is_survived_and_accounted_for(device: SimulatedDevice, shim: Shim) -> None:
    """After a cut the link comes back by itself; samples and gaps add up to every tick of the board, and neither its
    boot nor its clock has changed."""
    with Link(shim.port) as link:
        first = next(iter(link))
        shim.cut()
        until(lambda: link.health().losses == 1, "the loss")
        shim.plug()
        streaming(link)
        link.close()
        last = [arrival for batch in link.batches() for arrival in batch][-1]
        health = link.health()
    assert last.boot == first.boot
    assert (health.losses, health.reboots, health.clock_resets) == (1, 0, 0)  # a busy machine delays round trips
    assert health.opened >= 2
    assert health.samples + health.gaps == (last.device_t_us - first.device_t_us) / 2000 + 1
    assert health.gaps > 0
    assert health.wire.clean, health.wire


def test_a_hundred_times_unplugged(device: SimulatedDevice) -> None:
    """Pulled and plugged a hundred times the link comes back each time, with a hundred losses, no restart, and no error
    on the wire but what a cut leaves of the last frame."""
    with Link(device.port) as link:
        streaming(link)
        for count in range(1, 101):
            device.unplug()
            device.plug()
            until(lambda count=count: link.health().losses == count, f"loss {count}")  # type: ignore[misc]
            streaming(link)
        health = link.health()
    assert (health.losses, health.reboots, health.dropped) == (100, 0, 0)
    assert health.clock_resets == 0
    assert health.wire.clean, health.wire


def test_a_restarted_board_is_a_new_beginning(device: SimulatedDevice) -> None:
    """After a reset samples go on by themselves with another boot number. Their device time starts at 0, and their time
    on the host's clock goes on as soon as the clocks agree."""
    with Link(device.port) as link:
        before = next(arrival for arrival in link if not math.isnan(arrival.captured_s))
        take(link, 50)
        device.reset()
        until(lambda: link.health().reboots == 1, "the restart")
        after: list[Arrival] = []
        for batch in link.batches():
            after += [arrival for arrival in batch if arrival.boot != before.boot]
            if len(after) > 50 and not math.isnan(after[-1].captured_s):
                break
        health = link.health()
    assert after[0].sample.values[0] == 0
    assert after[0].device_t_us < PATIENCE_S * 1e6
    dated = itertools.dropwhile(lambda arrival: math.isnan(arrival.captured_s), after)
    assert all(before.captured_s < arrival.captured_s for arrival in dated)
    assert (health.losses, health.reboots, health.gaps) == (1, 1, 0)
    assert health.clock_resets == 0


def test_a_board_that_stands_still_shortly(device: SimulatedDevice) -> None:
    """A board whose main loop stalls for 0.3 s is not lost; what its interrupt could not keep is missed, by its own
    count and by our gaps alike."""
    with Link(device.port) as link:
        streaming(link)
        device.stall(0.3)
        until(lambda: link.health().gaps > 0, "the gap")
        streaming(link)
        gaps = link.health().gaps
        until(lambda: (d := link.health().device) is not None and d.missed_samples > 0, "the board's count")
        health = link.health()
    assert health.device is not None
    assert health.gaps == gaps == health.device.missed_samples > 100
    assert health.losses == 0
    assert health.wire.clean


def test_a_board_that_stands_still_for_long(device: SimulatedDevice) -> None:
    """A board that is halted is stale at first, then lost; when it goes on it is greeted again as the same board."""
    with Link(device.port) as link:
        streaming(link)
        device.pause()
        until(lambda: link.health().state == "stale", "stale")
        until(lambda: link.health().state in ("lost", "hello"), "lost")
        device.resume()
        streaming(link)
        health = link.health()
    assert (health.losses, health.reboots) == (1, 0)
    assert corrupt(faults_of(health)) == 0


def test_a_consumer_that_stalls_loses_the_oldest_and_they_are_counted(
    device: SimulatedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the consumer stalls the newest samples are kept, and taken and dropped add up to what was received."""
    monkeypatch.setattr(reading, "_BACKLOG", 64)
    with Link(device.port) as link:
        taken = take(link, 10)
        until(lambda: link.health().dropped > 100, "a full backlog")
        burst = next(link.batches())
        assert len(burst) == 64
        link.close()
        taken += [float(a.sample.values[0]) for a in burst] + [float(a.sample.values[0]) for a in link]
        health = link.health()
    assert len(taken) + health.dropped == health.samples
    assert taken == sorted(taken)
    assert (health.backlog, health.gaps, health.losses) == (64, 0, 0)


def test_a_board_whose_table_lies_is_refused() -> None:
    """A channel table that does not hash to what the board announces ends the session with one line."""
    lying = SimulatedDevice(board_schema(), numbered(10), reported_hash=0x12345678)
    with lying as device, Link(device.port) as link, pytest.raises(LinkError, match="not 12345678; build its firmware"):
        next(iter(link))


def test_a_board_of_another_age_is_refused() -> None:
    """Firmware of another protocol is refused by name of both versions, and told what to do about it."""
    old = SimulatedDevice(board_schema(), numbered(10), major=0x01020304)
    with (
        old as device,
        Link(device.port) as link,
        pytest.raises(LinkError, match=r"speaks protocol 01020304\.0.*reflash"),
    ):
        next(iter(link))


@pytest.mark.parametrize("until_safe", [False, True])
def test_a_host_that_is_stopped_works_its_backlog_off_in_one_go(device: SimulatedDevice, until_safe: bool) -> None:
    """After SIGSTOP for a while, or until the board gave its host up, the whole backlog is fed in order. It gets few
    answers for many samples; then samples captured after SIGCONT are answered. Every tick is a sample or a gap."""
    command = [sys.executable, "-m", "support.live_host", device.port]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as host,
        ended_with(host),
    ):
        answered(device, 100)
        os.kill(host.pid, signal.SIGSTOP)
        stopped_s = time.monotonic()
        if until_safe:
            until(lambda: device.status().split()[0] == SAFE, "the board to give its host up")
        else:
            time.sleep(0.5)
        os.kill(host.pid, signal.SIGCONT)
        continued_s = time.monotonic()
        answered(device, 100)
        host.terminate()
        found = json.loads(host.communicate(timeout=PATIENCE_S)[0])
    answers, health = found["answers"], found["health"]
    times = [device_us for _, _, device_us in answers]
    backlog = [sent for sent, captured_s, _ in answers if stopped_s < captured_s < continued_s]
    assert len(backlog) > 50
    assert sum(backlog) <= len(backlog) / 10  # at most one for each read of the port
    assert sum(sent for sent, captured_s, _ in answers if captured_s > continued_s) >= 50
    assert times == sorted(times)
    assert health["samples"] == len(answers)
    assert health["samples"] + health["gaps"] == (times[-1] - times[0]) / 2000 + 1
    assert (health["losses"], health["dropped"]) == (0, 0)


@contextmanager
def ended_with(process: subprocess.Popen[str]) -> Iterator[None]:
    """Kill the process where the test fails: leaving `Popen` would wait for it without end."""
    try:
        yield
    finally:
        process.kill()


def answered(device: SimulatedDevice, count: int) -> None:
    """Wait until the board streams and has taken `count` more predictions, seen by the numbers of their samples."""
    seen: set[str] = set()

    def enough() -> bool:
        state, _, *latest = device.status().split()
        seen.update(latest[:1] if state == STREAMING else ())
        return len(seen) >= count

    until(enough, f"{count} predictions")
