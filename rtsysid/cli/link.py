"""Verbs for live boards: run a bundle beside one, record one, ask one who it is, and play one."""

from __future__ import annotations

import stat
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rtsysid.cli import console

if TYPE_CHECKING:
    from firmware_bridge.link import Link
    from firmware_bridge.recorder import Recorder
    from firmware_bridge.schema import Schema
    from rtsysid.live.loop import LiveLoop
    from rtsysid.live.reproduce import Settings
    from rtsysid.model.bundle import Bundle
    from rtsysid.spec import Floats

PATH = click.Path(path_type=Path)
baud = click.option("--baud", type=int, help="Speed of a UART; more than 70 % of it is refused.  [default: 921600]")
seconds_ = click.option("--seconds", type=float, help="Stop after so long.  [default: at ^C, or when the board ends]")


@click.command()
@click.argument("bundle", type=PATH)
@click.argument("port")
@click.option("--record", type=PATH, help="Write everything heard and said to this .mcap file.")
@click.option("--budget-ms", type=float, help="Age from which an answer is stale.  [default: one tick]")
@click.option("--backend", type=click.Choice(["auto", "onnx", "numpy"]), default="auto", show_default=True)
@click.option("--max-gap", default=5, show_default=True, help="Missing samples to hold before a reset.")
@click.option("--fifo", default=0, metavar="PRIORITY", help="Ask for SCHED_FIFO, 1 to 98.")
@click.option("--cpu", "cpus", type=int, multiple=True, help="Stay on this processor; may be given again.")
@baud
@seconds_
@console.as_json
def run(
    bundle: Path, port: str, record: Path | None, budget_ms: float | None, backend: Any, max_gap: int, fifo: int,
    cpus: tuple[int, ...], baud: int | None, seconds: float | None, json_: bool,
) -> None:  # fmt: skip
    """Run a bundle beside a board: every sample in, a prediction for the newest one out, in time.

    PORT is a path, hwgrep://PATTERN or socket://HOST:PORT. A line of health each second goes to stderr, the summary to
    stdout. A cable that is pulled is waited for; ^C and SIGTERM end the session in good order.

    Example: rtsysid run bundle /dev/serial/by-id/usb-robot --record flight.mcap
    """
    from firmware_bridge.link import Link
    from rtsysid.live.loop import LiveLoop
    from rtsysid.live.novelty import Novelty
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
        link = stack.enter_context(Link(port, spec=opened.spec, baudrate=baud, tap=recorder))
        session = Session(predictor, max_gap=max_gap, novelty=Novelty.of(opened, predictor))
        loop = LiveLoop(link, session, budget_s=budget_s, recorder=recorder, service=Service())
        link.board()
        _prepare(fifo, cpus, link, stderr)
        for report in loop.run(stop):
            stderr.write(*link.events(), report.line())
        stderr.write(*link.events())
    console.report(_summary(loop, link, recorder, json_), json_)
    if recorder is not None and recorder.error is not None:
        raise recorder.error


@click.command()
@click.argument("port")
@click.option("-o", "--out", type=PATH, required=True, help="The .mcap file.")
@click.option("--divider", default=1, show_default=True, help="Ask for each so-manieth sample.")
@baud
@seconds_
@console.as_json
def record(port: str, out: Path, divider: int, baud: int | None, seconds: float | None, json_: bool) -> None:
    """Record what a board streams, without a model: every byte, and every sample by its channels.

    Example: rtsysid record /dev/ttyACM0 -o flight.mcap --seconds 60
    """
    from firmware_bridge.link import Link
    from firmware_bridge.recorder import Recorder
    from rtsysid.live.service import StopSignal

    with Link(port, divider=divider, baudrate=baud) as link:
        board = link.board()  # its channels stand at the start of the file
    about = {key: str(value) for key, value in board.about().items()}
    with (
        StopSignal(seconds) as stop,
        console.StderrLines() as stderr,
        Recorder.open(out, channels=board.schema.spec_channels, metadata={"rtsysid.board": about}) as recorder,
        Link(port, divider=divider, baudrate=baud, tap=recorder) as link,
    ):
        _record_all(link, recorder, stop, stderr)
    counts = link.health()
    shown = {name: counts[name] for name in ("samples", "gaps", "dropped", "corrupt", "losses", "reboots")}
    console.report({"to": str(out), **shown, "not_recorded": recorder.dropped}, json_)
    if recorder.error is not None:
        raise recorder.error


@click.command("sim-device")
@click.argument("trace", type=PATH)
@click.option("--like", type=PATH, metavar="BUNDLE", help="Channels, in order, and rate of this model.")
@click.option("--rate", type=float, help="Play at this rate, in Hz.  [default: the model's, or the recording's own]")
@click.option("--loop", is_flag=True, help="Begin again at the end, instead of saying goodbye.")
@click.option("--port", type=PATH, help="Name of the port, a link that is made.  [default: a temporary one]")
@console.time_column
@seconds_
@console.as_json
def sim_device(
    trace: Path, like: Path | None, rate: float | None, loop: bool, port: Path | None, time_: str,
    seconds: float | None, json_: bool,
) -> None:  # fmt: skip
    """Be a board: the real firmware as a process, with a recording for its sensors. Wants a C compiler.

    Its port is printed; each host that starts it there is played the recording from its first row, until ^C.

    Example: rtsysid sim-device unseen.csv --like bundle
    """
    from firmware_bridge.device import SimulatedDevice
    from firmware_bridge.messages import State
    from rtsysid.live.service import StopSignal

    schema, rows = _to_play(trace, like, rate, time_)
    with SimulatedDevice(schema, rows, repeat=loop, port=port) as device, StopSignal(seconds) as stop:
        about = {"port": device.port, "rate_hz": schema.rate_hz, "rows": len(rows), "channels": schema.width}
        console.report(about, json_)
        streamed = False
        while not stop.requested:
            state = int(device.status().split()[0])
            if streamed and state == State.idle:
                device.reset()  # that host has gone: the next one finds a board that has just been switched on
            streamed = state == State.streaming or (streamed and state != State.idle)
            time.sleep(0.1)


def is_port(text: str) -> bool:
    """Whether this names a serial port rather than a file: a URL, or a character device."""
    if "://" in text:
        return True
    try:
        return stat.S_ISCHR(Path(text).stat().st_mode)
    except (OSError, ValueError):
        return False


def about_port(port: str) -> dict[str, Any]:
    """What the board at a port says of itself."""
    from firmware_bridge.link import Link

    with Link(port) as link:
        return {"port": port, **link.board().about()}


def _recording(path: Path, bundle: Bundle, settings: Settings) -> Recorder:
    from firmware_bridge.recorder import Recorder

    spec = bundle.spec
    return Recorder.open(path, channels=spec.channels, outputs=spec.outputs, metadata=settings.metadata())


def _prepare(fifo: int, cpus: tuple[int, ...], link: Link, stderr: console.StderrLines) -> None:
    from rtsysid.live import realtime

    stderr.write(*map(str, realtime.prepare(fifo, cpus, [link.thread_id])))


def _record_all(link: Link, recorder: Recorder, stop: Any, stderr: console.StderrLines) -> None:
    """Until the board or the user ends it; a line each second."""
    due_s, before = time.monotonic() + 1.0, 0
    for batch in link.batches():
        for arrival in batch:
            recorder.sample(arrival)
        if time.monotonic() >= due_s:
            due_s += 1.0
            counts = link.health()
            recorder.health(counts)
            shown = " ".join(f"{name} {counts[name]}" for name in ("dropped", "gaps", "corrupt"))
            stderr.write(*link.events(), f"{counts['state']} {counts['samples'] - before} samples  {shown}")
            before = counts["samples"]
        if stop.requested:
            link.close()
    stderr.write(*link.events())


def _summary(loop: LiveLoop, link: Link, recorder: Recorder | None, json_: bool) -> dict[str, Any]:
    """The whole session: everything as JSON, what a person wants to know as text."""
    report = loop.summary()
    recorded = {} if recorder is None else {"to": str(recorder.path), "not_recorded": recorder.dropped}
    if json_:
        return {**report.plain(), "session": loop.session.summary(), **recorded}
    ages = {f"age_{name}_ms": getattr(report, name) * 1e3 for name in ("p50", "p99", "worst")}
    counts = {name: report.link[name] for name in ("dropped", "gaps", "corrupt", "losses", "reboots")}
    return {
        "samples": report.samples, "rate_hz": report.rate_hz, **ages, "stale": report.stale,
        "skipped": report.skipped, **counts, "answers": report.statuses, **recorded,
    }  # fmt: skip


def _to_play(trace: Path, like: Path | None, rate: float | None, time_: str) -> tuple[Schema, Floats]:
    """The channel table of a simulated board and the rows [n, C] of the longest episode of a recording."""
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
