"""The simulated device: the real firmware in a real process on a real pseudo-terminal."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import serial

from firmware_bridge import messages as m
from firmware_bridge.build import FIRMWARE, SANITIZERS, compile_c
from firmware_bridge.device import SimulatedDevice
from firmware_bridge.layout import Message
from firmware_bridge.schema import Schema, WireChannel
from firmware_bridge.wire import Frame, FrameDecoder, FrameEncoder
from rtsysid.errors import LinkError, StorageError

ROOT = Path(__file__).parents[2]
SCHEMA = Schema((WireChannel("u", "V", "input"), WireChannel("y", "m", kind="i16", scale=0.001)), 500.0)
ROWS = np.stack([np.arange(300), np.arange(300) / 1000], axis=1).astype(np.float32)
HELLO = m.Hello(m.MAGIC, m.MAJOR, m.MINOR, 5, m.MAX_PAYLOAD)
START = m.Start(1, 1, SCHEMA.hash)
M = TypeVar("M", bound=Message)


class Host:
    """The host: sends messages, and waits for an answer of one kind."""

    def __init__(self, port: str) -> None:
        self.line = serial.Serial(port, timeout=0, exclusive=True)
        self.decoder, self.encoder = FrameDecoder(SCHEMA.hash), FrameEncoder(5, SCHEMA.hash)
        self.samples: list[Frame] = []
        self.latest: Frame | None = None  # the frame that `wait` returned

    def say(self, message: Message) -> None:
        self.line.write(self.encoder.encode(message, time.monotonic_ns() // 1000))

    def wait(self, kind: type[M], where: Callable[[M], bool] = lambda _: True) -> M:
        """The next message of this kind; samples on the way are kept."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            select.select([self.line], [], [], 0.1)
            frames = self.decoder.feed(self.line.read(4096))
            self.samples += [f for f in frames if f.type == m.Sample.CODE]
            for self.latest in frames:
                message = self.latest.message()
                if isinstance(message, kind) and where(message):
                    return message
        pytest.fail(f"no {kind.__name__} within 20 s")

    def greet(self) -> m.HelloAck:
        self.say(HELLO)
        return self.wait(m.HelloAck, lambda a: a.session == 5)


@pytest.fixture
def device() -> Iterator[SimulatedDevice]:
    with SimulatedDevice(SCHEMA, ROWS, flags=SANITIZERS) as running:
        yield running
        running._order("status")  # no sanitizer has ended it


def test_a_trace_is_played_at_its_own_rate(device: SimulatedDevice) -> None:
    """From START on each row comes as one SAMPLE, 2,000 us of device time apart, none missing, and then BYE, which is
    not sent before the device's clock has reached the last sample."""
    host = Host(device.port)
    host.greet()
    host.say(START)
    assert host.wait(m.Bye).reason == m.Reason.finished
    assert host.latest is not None
    assert host.latest.t_us >= host.samples[-1].t_us
    assert np.diff([f.t_us for f in host.samples]).tolist() == [2000] * 299
    got = np.stack([SCHEMA.unpack(f.payload) for f in host.samples])
    np.testing.assert_allclose(got, ROWS, atol=0.0005)
    assert host.decoder.counters.clean


def test_a_board_tells_what_it_is(device: SimulatedDevice) -> None:
    """The identity and the channel table over the port are those that the device was made with."""
    host = Host(device.port)
    ack = host.greet()
    assert (ack.schema_hash, ack.channels, ack.sample_size, ack.period_us) == (SCHEMA.hash, 2, 6, 2000)
    assert (ack.boot_id, ack.reset_reason) == (1, m.Reason.power_on)
    host.say(m.SchemaGet(0))
    assert Schema.decompress(host.wait(m.SchemaData).data) == SCHEMA


def test_a_reset_shows() -> None:
    """After a reset the board says so, with another boot id and a clock from 0, and plays from its first row."""
    with SimulatedDevice(SCHEMA, ROWS, clock_us=2**31) as device:
        host = Host(device.port)
        host.greet()
        host.say(START)
        host.wait(m.Sample)
        device.reset()
        ack = host.wait(m.HelloAck)
        assert (ack.session, ack.boot_id, ack.reset_reason) == (0, 2, m.Reason.reset)
        host.samples.clear()
        host.greet()
        host.say(START)
        host.wait(m.Bye)
    assert len(host.samples) == 300
    assert host.samples[0].t_us < 2**31


def test_a_trace_can_begin_again() -> None:
    """With `repeat` the first row follows the last, for as long as anyone listens."""
    with SimulatedDevice(SCHEMA, ROWS[:3], repeat=True) as device:
        host = Host(device.port)
        host.greet()
        host.say(START)
        for _ in range(8):
            host.wait(m.Sample)
    first = [SCHEMA.unpack(f.payload)[0] for f in host.samples[:8]]
    assert first == [0, 1, 2, 0, 1, 2, 0, 1]


def test_the_port_is_raw_before_anyone_sets_it() -> None:
    """Bytes pass as they are to a reader that sets nothing: no echo, no line editing, no translation."""
    with SimulatedDevice(SCHEMA, ROWS) as device:
        line = os.open(device.port, os.O_RDWR | os.O_NOCTTY)
        assert select.select([line], [], [], 10)[0]
        [frame] = FrameDecoder().feed(os.read(line, 4096))
        os.close(line)
        assert frame.type == m.HelloAck.CODE


def test_a_stall_is_counted(device: SimulatedDevice) -> None:
    """While the main loop is stopped for 100 ms, 8 samples are kept and the others reported as missed."""
    host = Host(device.port)
    host.greet()
    host.say(START)
    host.wait(m.Ack)
    device.stall(0.1)
    beat = host.wait(m.Heartbeat)
    host.wait(m.Bye)
    assert beat.missed_samples == 300 - len(host.samples) >= 40
    assert beat.loop_max_us >= 100_000
    assert np.unique(np.diff([f.t_us for f in host.samples])).tolist() == [2000, 2000 * (beat.missed_samples + 1)]


def test_a_pause_only_delays(device: SimulatedDevice) -> None:
    """A process that was halted goes on with every sample, each with the time at which it was due."""
    host = Host(device.port)
    host.greet()
    host.say(START)
    host.wait(m.Ack)
    device.pause()
    time.sleep(0.2)
    device.resume()
    host.wait(m.Bye)
    assert np.diff([f.t_us for f in host.samples]).tolist() == [2000] * 299


def test_a_pulled_cable_hangs_up_and_comes_back() -> None:
    """Unplugged, the port is gone and reading it fails; plugged, the same name leads to the same running board."""
    with SimulatedDevice(SCHEMA, ROWS, repeat=True) as device:
        files = Path(f"/proc/{device.pid}/fd")
        before = len(list(files.iterdir()))
        for _ in range(3):
            host = Host(device.port)
            assert host.greet().boot_id == 1
            device.unplug()
            assert not os.path.lexists(device.port)
            with pytest.raises((OSError, serial.SerialException)):
                host.line.read(host.line.in_waiting or 1)
            host.line.close()
            device.plug()
        assert len(list(files.iterdir())) == before


def test_the_latest_prediction_arrives(device: SimulatedDevice) -> None:
    """A PREDICTION ends in the board's mailbox, and BYE makes the board safe."""
    host = Host(device.port)
    host.greet()
    host.say(START)
    host.wait(m.Ack)
    host.say(m.Prediction(7, m.Status.ok, 100, 2000, (0.5, -1.25)))
    host.say(m.TimeReq(1))
    host.wait(m.TimeRsp)
    state, safes, *latest = device.status().split()
    assert (int(state), latest) == (m.State.streaming, ["7", "0", "0.5", "-1.25"])
    host.say(m.Bye(m.Reason.finished))
    host.say(m.TimeReq(2))
    host.wait(m.TimeRsp)
    assert device.status().split() == [str(int(m.State.idle)), str(int(safes) + 1)]


def test_the_clock_may_begin_anywhere() -> None:
    """A device whose 32-bit clock is about to wrap plays over the wrap without a break."""
    with SimulatedDevice(SCHEMA, ROWS, clock_us=2**32 - 200_000) as device:
        host = Host(device.port)
        host.greet()
        host.say(START)
        host.wait(m.Bye)
    times = np.array([f.t_us for f in host.samples], np.uint32)
    assert times[0] > times[-1]
    assert np.unique(np.diff(times)).tolist() == [2000]


def test_a_firmware_of_another_age_refuses() -> None:
    """A board built for another protocol version answers HELLO with ERROR and its version."""
    with SimulatedDevice(SCHEMA, ROWS, major=0x1234) as device:
        host = Host(device.port)
        host.say(HELLO)
        error = host.wait(m.Error)
        assert (error.fault, error.detail) == (m.Fault.version, 0x1234)


def test_a_board_that_lies_about_its_channels_is_found_out() -> None:
    """Samples seeded with another hash than the table's are counted as `schema`, and none is delivered."""
    with SimulatedDevice(SCHEMA, ROWS, reported_hash=SCHEMA.hash ^ 0xFF) as device:
        host = Host(device.port)
        assert host.greet().schema_hash == SCHEMA.hash ^ 0xFF
        host.say(m.Start(1, 1, SCHEMA.hash ^ 0xFF))
        host.wait(m.Bye)
        assert (host.samples, host.decoder.counters.schema) == ([], 300)


def test_it_never_outlives_who_started_it(tmp_path: Path) -> None:
    """Where the process that owns a device is killed, the device ends by itself."""
    code = (
        "import sys, os, numpy as np; from firmware_bridge.device import SimulatedDevice\n"
        "from firmware_bridge.schema import Schema, WireChannel\n"
        "d = SimulatedDevice(Schema((WireChannel('y'),), 100.0), np.zeros((1, 1), np.float32)).__enter__()\n"
        "print(d.pid, flush=True); sys.stdin.read()"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    pipe = subprocess.PIPE
    owner = subprocess.Popen(
        [sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True, env=environment, cwd=ROOT
    )
    with owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        watch = os.pidfd_open(pid)
        owner.kill()
        assert select.select([watch], [], [], 10)[0], "it lives on"
        os.close(watch)


def test_nothing_stays_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a device ended, also by an error or a power failure, there is no process, no port and no file of it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    name = tmp_path / "robot"
    device = SimulatedDevice(SCHEMA, ROWS, port=name)
    with pytest.raises(ZeroDivisionError), device:
        _ = os.lstat(device.port).st_size // 0
    assert device.port == str(name)
    assert device._process.returncode == 0
    with SimulatedDevice(SCHEMA, ROWS) as device:
        device.kill()
        with pytest.raises(LinkError, match="ended"):
            device.status()
    assert list(tmp_path.iterdir()) == []


def test_without_a_compiler_there_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No compiler, a compiler that refuses, and a cache that cannot be written are one line each, with a remedy."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LinkError, match="none of cc, gcc, clang is not on the PATH; install"):
        compile_c("x", [])
    monkeypatch.setenv("CC", "nowhere-cc")
    with pytest.raises(LinkError, match="nowhere-cc"):
        compile_c("x", [])
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "wrong.c").write_text("int main(void) { return nothing; }\n")
    with pytest.raises(LinkError, match=r"wrong\.c.*nothing"):
        compile_c("x", [tmp_path / "wrong.c"])
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "taken"))
    with pytest.raises(StorageError, match="XDG_CACHE_HOME"):
        compile_c("x", [FIRMWARE / "wire.c"])


def test_a_program_is_built_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The same sources and flags give the program in the cache, and a change of either another one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = tmp_path / "main.c"
    source.write_text("int main(void) { return 0; }\n")
    built = compile_c("x", [source])
    when = built.stat().st_mtime_ns
    assert compile_c("x", [source]).stat().st_mtime_ns == when
    assert compile_c("x", [source], ("-O1",)) != built
    source.write_text("int main(void) { return 1; }\n")
    assert subprocess.run([compile_c("x", [source])], check=False).returncode == 1


def test_rows_must_fit_the_table() -> None:
    """Rows of another width than the channel table are refused before anything is built."""
    with pytest.raises(LinkError, match="rows of 2 values"):
        SimulatedDevice(SCHEMA, np.zeros((4, 3), np.float32))


def test_the_wheel_carries_the_firmware(tmp_path: Path) -> None:
    """A wheel holds every source that a device is built from."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    subprocess.run(build, check=True, capture_output=True, cwd=ROOT)
    [wheel] = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {str(p.relative_to(ROOT)) for p in [*FIRMWARE.rglob("*.[ch]"), FIRMWARE / "README.md"]}
    assert wanted <= names
