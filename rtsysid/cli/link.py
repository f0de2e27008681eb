"""Commands for live sources: run a bundle with one, record one, describe one, and simulate a board."""

from __future__ import annotations

import stat
import time
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rtsysid.cli import console
from rtsysid.cli.options import PATH, as_json, backend_option, max_gap, time_column

if TYPE_CHECKING:
    from firmware_bridge.recorder import Recorder
    from firmware_bridge.schema import Schema
    from rtsysid.live.loop import LiveLoop
    from rtsysid.live.reproduce import Settings
    from rtsysid.model.bundle import Bundle
    from rtsysid.source import Source
    from rtsysid.spec import Floats

SERIAL = ("firmware_bridge.link", "Link")
SOURCES: dict[str, tuple[str, str]] = {"socket": SERIAL, "hwgrep": SERIAL}  # URL scheme -> module and class of a source

baud = click.option("--baud", type=int, help="Speed of a UART; a load above 70 % is refused.  [default: 921600]")
seconds_ = click.option("--seconds", type=float, help="Stop after this time.  [default: at ^C, or when the board ends]")


def open_source(port: str, **options: Any) -> Source:
    """Return the source that a port names: by its URL scheme (see `SOURCES`), else the serial link.

    `options`: ``spec``, ``divider``, ``baudrate`` and ``tap``, as `firmware_bridge.link.Link` takes them.
    """
    module, name = SOURCES.get(port.partition("://")[0], SERIAL)
    source: Source = getattr(import_module(module), name)(port, **options)
    return source


@click.command()
@click.argument("bundle", type=PATH)
@click.argument("port")
@click.option("--record", type=PATH, help="Write every byte, sample and prediction to this .mcap file.")
@click.option("--budget-ms", type=float, help="Age above which an answer is stale.  [default: one sample period]")
@backend_option
@max_gap
@click.option("--fifo", default=0, metavar="PRIORITY", help="Ask for SCHED_FIFO, 1 to 98.")
@click.option("--cpu", "cpus", type=int, multiple=True, help="Stay on this processor; may be given again.")
@baud
@seconds_
@as_json
def run(
    bundle: Path, port: str, record: Path | None, budget_ms: float | None, backend: Any, max_gap: int, fifo: int,
    cpus: tuple[int, ...], baud: int | None, seconds: float | None, json_: bool,
) -> None:  # fmt: skip
    """Run a bundle with a live source: feed every sample, and answer the newest one in time.

    PORT is a path, hwgrep://PATTERN or socket://HOST:PORT. A line of health each second goes to stderr, the summary to
    stdout. A cable that is pulled is waited for; ^C and SIGTERM stop the board and close the recording.

    Example: rtsysid run bundle /dev/serial/by-id/usb-robot --record flight.mcap
    """
    from rtsysid.live.loop import LiveLoop
    from rtsysid.live.reproduce import Settings
    from rtsysid.live.service import Service, StopSignal
    from rtsysid.live.session import Session
    from rtsysid.model.bundle import Bundle
    from rtsysid.model.predictor import Predictor

    opened = Bundle.open(bundle)
    opened.require_live()
    predictor = Predictor.load(opened, backend)
    budget_s = 1 / opened.spec.rate_hz if budget_ms is None else budget_ms * 1e-3
    settings = Settings(bundle=opened.id, backend=predictor.backend.name, budget_s=budget_s, max_gap=max_gap)
    with ExitStack() as stack:
        recorder = None if record is None else stack.enter_context(_recording(record, opened, settings))
        stderr, stop = stack.enter_context(console.StderrLines()), stack.enter_context(StopSignal(seconds))
        source = stack.enter_context(open_source(port, spec=opened.spec, baudrate=baud, tap=recorder))
        loop = LiveLoop(source, Session(predictor, settings), recorder=recorder, service=Service())
        source.describe()  # waits for the board
        _make_punctual(fifo, cpus, source, stderr)
        for report in loop.run(stop):
            stderr.write(*source.events(), report.line())
        stderr.write(*source.events())
    console.report(_session_summary(loop, recorder, json_), json_)
    if recorder is not None and recorder.error is not None:
        raise recorder.error


@click.command()
@click.argument("port")
@click.option("-o", "--out", type=PATH, required=True, help="The .mcap file.")
@click.option("--divider", default=1, show_default=True, help="Keep every N-th sample.", metavar="N")
@baud
@seconds_
@as_json
def record(port: str, out: Path, divider: int, baud: int | None, seconds: float | None, json_: bool) -> None:
    """Record a live source without a model: every byte, and every sample by its channels.

    Example: rtsysid record /dev/ttyACM0 -o flight.mcap --seconds 60
    """
    from firmware_bridge.recorder import Recorder
    from rtsysid.live.service import StopSignal

    with open_source(port, divider=divider, baudrate=baud) as source:
        channels = source.channels()  # the file begins with them
        facts = {key: str(value) for key, value in source.describe().items()}
    with (
        StopSignal(seconds) as stop,
        console.StderrLines() as stderr,
        Recorder.open(out, channels=channels, metadata={"rtsysid.board": facts}) as recorder,
        open_source(port, divider=divider, baudrate=baud, tap=recorder) as source,
    ):
        _record_all(source, recorder, stop, stderr)
    counts = source.health()
    shown = {
        "samples": counts.samples, "gaps": counts.gaps, "dropped": counts.dropped, "corrupt": counts.corrupt,
        "losses": counts.losses, "reboots": counts.reboots,
    }  # fmt: skip
    console.report({"to": str(out), **shown, "not_recorded": recorder.dropped}, json_)
    if recorder.error is not None:
        raise recorder.error


@click.command("sim-device")
@click.argument("trace", type=PATH)
@click.option("--like", type=PATH, metavar="BUNDLE", help="Take channels, their order and the rate from this bundle.")
@click.option("--rate", type=float, help="Play at this rate, in Hz.  [default: the model's, or the recording's own]")
@click.option("--loop", is_flag=True, help="Repeat the recording at its end, instead of ending the session.")
@click.option("--port", type=PATH, help="Name of the port; a symbolic link is made there.  [default: a temporary name]")
@time_column
@seconds_
@as_json
def sim_device(
    trace: Path, like: Path | None, rate: float | None, loop: bool, port: Path | None, time_: str,
    seconds: float | None, json_: bool,
) -> None:  # fmt: skip
    """Simulate a board: the real firmware as a process, with a recording for its sensors. Needs a C compiler.

    Prints the name of its port. Every host that connects there gets the recording from its first row, until ^C.

    Example: rtsysid sim-device unseen.csv --like bundle
    """
    from firmware_bridge.device import SimulatedDevice
    from firmware_bridge.messages import State
    from rtsysid.live.service import StopSignal

    schema, rows = _to_play(trace, like, rate, time_)
    with SimulatedDevice(schema, rows, repeat=loop, port=port) as device, StopSignal(seconds) as stop:
        facts = {"port": device.port, "rate_hz": schema.rate_hz, "rows": len(rows), "channels": schema.width}
        console.report(facts, json_)
        streamed = False
        while not stop.requested:
            state = int(device.status().split()[0])
            if streamed and state == State.idle:
                device.reset()  # the host has gone: the next one finds a board that was just switched on
            streamed = state == State.streaming or (streamed and state != State.idle)
            time.sleep(0.1)


def is_port(text: str) -> bool:
    """Return whether `text` names a port and not a file: a URL, or a character device."""
    if "://" in text:
        return True
    try:
        return stat.S_ISCHR(Path(text).stat().st_mode)
    except (OSError, ValueError):
        return False


def describe_port(port: str) -> dict[str, Any]:
    """Describe the device at a port as plain values. Raises LinkError where none answers."""
    with open_source(port) as source:
        return {"port": port, **source.describe()}


def _recording(path: Path, bundle: Bundle, settings: Settings) -> Recorder:
    from firmware_bridge.recorder import Recorder

    spec = bundle.spec
    return Recorder.open(path, channels=spec.channels, outputs=spec.outputs, metadata=settings.metadata())


def _make_punctual(fifo: int, cpus: tuple[int, ...], source: Source, stderr: console.StderrLines) -> None:
    from rtsysid.live.realtime import make_punctual

    stderr.write(*map(str, make_punctual(fifo, cpus, source.thread_ids)))


def _record_all(source: Source, recorder: Recorder, stop: Any, stderr: console.StderrLines) -> None:
    """Record until the board or the user ends it, with a line each second."""
    due_s, before = time.monotonic() + 1.0, 0
    for batch in source.batches(0.1):
        for arrival in batch:
            recorder.sample(arrival)
        if time.monotonic() >= due_s:
            due_s += 1.0
            counts = source.health()
            recorder.health(counts.plain())
            lost = f"dropped {counts.dropped} gaps {counts.gaps} corrupt {counts.corrupt}"
            stderr.write(*source.events(), f"{counts.state} {counts.samples - before} samples  {lost}")
            before = counts.samples
        if stop.requested:
            source.close()
    stderr.write(*source.events())


def _session_summary(loop: LiveLoop, recorder: Recorder | None, json_: bool) -> dict[str, Any]:
    """Summarise a whole session: every figure as JSON, the important ones as text."""
    report = loop.summary()
    recorded = {} if recorder is None else {"to": str(recorder.path), "not_recorded": recorder.dropped}
    if json_:
        return {**report.plain(), "session": loop.session.summary(), **recorded}
    ages = {f"age_{name}_ms": getattr(report, name) * 1e3 for name in ("p50", "p99", "worst")}
    return {
        "samples": report.samples, "rate_hz": report.rate_hz, **ages, "stale": report.stale,
        "skipped": report.skipped, "dropped": report.link.dropped, "gaps": report.link.gaps,
        "corrupt": report.link.corrupt, "losses": report.link.losses, "reboots": report.link.reboots,
        "answers": report.statuses, **recorded,
    }  # fmt: skip


def _to_play(trace: Path, like: Path | None, rate: float | None, time_: str) -> tuple[Schema, Floats]:
    """Return the channel table of a simulated board, and the rows [n, C] of the longest episode of a recording."""
    from firmware_bridge.schema import Schema
    from rtsysid.errors import TraceError
    from rtsysid.model.bundle import Bundle
    from rtsysid.recordings.trace import Trace, clock

    spec = None if like is None else Bundle.open(like).spec
    channels, even = (None, rate) if spec is None else (spec.channels, spec.rate_hz)
    found = Trace.read(trace, channels, **clock(time_, even))
    rate_hz = rate or (found.describe()["rate_hz"] if spec is None else spec.rate_hz)
    if not rate_hz or not rate_hz > 0:
        raise TraceError(f"recording {trace}", "it has no rate of its own", "give one with --rate")
    return Schema.of(found.channels, rate_hz), max(found.episodes, key=len).values
