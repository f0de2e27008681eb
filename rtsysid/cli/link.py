"""Commands for live sources: run a bundle with one, record one, describe one, and simulate a board."""

from __future__ import annotations

import math
import os
import secrets
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click
import msgspec

from rtsysid.cli import console, running
from rtsysid.cli.options import PATH, as_json, backend_option, deadline_option, max_gap, time_column, within
from rtsysid.cli.outputs import output
from rtsysid.cli.running import run_options
from rtsysid.cli.sources import map_alone, map_of_model, map_option, open_source, publishing
from rtsysid.cli.views import ViewOptions, opened_views, view_options
from rtsysid.errors import LinkError, TraceError
from rtsysid.guards import ranges
from rtsysid.storage.products import LIVE_RECORDING, PORT

if TYPE_CHECKING:
    from firmware_bridge.recorder import Recorder
    from firmware_bridge.schema import Schema
    from rtsysid.live.service import StopSignal
    from rtsysid.source import Source, SourceHealth
    from rtsysid.spec import Floats

baud = click.option(
    "--baud", type=within(ranges.Baud), help="Speed of a UART; a load above 70 % is refused.  [default: 921600]"
)
seconds_ = click.option(
    "--seconds", type=within(ranges.SomeSeconds),
    help="Stop after this time.  [default: at ^C, or when the board ends]",
)  # fmt: skip


@click.command()
@click.argument("bundle", type=PATH)
@click.argument("port")
@run_options
@output(
    "--record",
    product=LIVE_RECORDING,
    help="Write every byte, sample and prediction to this .mcap file, or to files in this folder.",
)
@click.option(
    "--budget-ms", type=within(ranges.Milliseconds), help="Age above which an answer is stale.  [default: one tick]"
)
@deadline_option
@backend_option
@max_gap
@map_option
@click.option(
    "--fifo", type=within(ranges.Priority), default=0, metavar="PRIORITY", help="Ask for SCHED_FIFO, 1 to 98."
)
@click.option(
    "--cpu", "cpus", type=within(ranges.Processor), multiple=True, help="Stay on this processor; may be given again."
)
@view_options
@baud
@seconds_
@as_json
def run(
    bundle: Path, port: str, record: Path | None, overwrite: bool, budget_ms: float | None, deadline_ms: float | None,
    backend: Any, max_gap: int, map_: Path | None, fifo: int, cpus: tuple[int, ...], baud: int | None,
    seconds: float | None, json_: bool, more: running.RunOptions, views: ViewOptions,
) -> None:  # fmt: skip
    """Run a bundle with a live source: feed every sample, and answer the newest one in time.

    PORT is a path, hwgrep://PATTERN, socket://HOST:PORT, or the address of another source, as udp://:9000. A line of
    health each second goes to stderr, the summary to stdout. A cable that is pulled is waited for. ^C, SIGTERM and a
    closed terminal stop the board and close the recording.

    Example: rtsysid run bundle /dev/serial/by-id/usb-robot --record flight.mcap
    """
    from firmware_bridge.held_tap import HeldTap
    from rtsysid.live.loop import LiveLoop
    from rtsysid.live.service import Service, StopSignal

    begun = running.begun(bundle, more, backend, budget_ms, max_gap)
    mapping = map_of_model(begun.bundle, map_)
    deadline_s = math.inf if deadline_ms is None else deadline_ms * 1e-3
    with StopSignal(seconds) as stop, _Conclusion(json_) as conclusion, ExitStack() as stack:
        enter = stack.enter_context
        tap = enter(HeldTap())
        updates = running.updates_of(enter(running.bundle_watch(bundle, begun, more)), begun.bundle, tap, more)
        stderr = enter(console.StderrLines())
        console.stage(f"waiting for {port}")
        tapped = None if record is None else tap
        source = enter(open_source(port, spec=begun.bundle.spec, mapping=mapping, baudrate=baud, tap=tapped))
        loop = LiveLoop(source, begun.session, service=Service(), deadline_s=deadline_s, follower=updates)
        loop.add_sink(publishing(loop))
        enter(opened_views(views, loop, begun.bundle, port, stderr.write))
        source.describe()  # waits for the board
        console.rest()
        recorder = tap.begin(running.recording(record, begun, overwrite, more))  # not before: nothing is left, or lost
        loop.add_sink(recorder)
        conclusion.of(lambda: running.session_summary(loop, recorder, updates, json_), recorder)
        _make_punctual(fifo, cpus, source, stderr, lock=not more.no_mlock)
        for report in loop.run(stop):
            stderr.write(*running.events(source, updates), report.line())
        stderr.write(*running.events(source, updates))
    counts = msgspec.structs.replace(source.health(), samples=loop.session.health.samples)
    _require_samples(port, stop, counts, running.answered(loop))
    loop.require_met()


@click.command()
@click.argument("port")
@output("-o", "--out", product=LIVE_RECORDING, required=True, help="The .mcap file.")
@click.option(
    "--divider", type=within(ranges.Divider), default=1, show_default=True, metavar="N", help="Keep every N-th sample."
)
@map_option
@baud
@seconds_
@as_json
def record(
    port: str, out: Path, overwrite: bool, divider: int, map_: Path | None, baud: int | None, seconds: float | None,
    json_: bool,
) -> None:  # fmt: skip
    """Record a live source without a model: every byte, and every sample by its channels.

    Example: rtsysid record /dev/ttyACM0 -o flight.mcap --seconds 60
    """
    from firmware_bridge.recorder import Recorder
    from rtsysid.live.service import StopSignal

    mapping = map_alone(map_)
    console.stage(f"waiting for {port}")
    with open_source(port, mapping=mapping, divider=divider, baudrate=baud) as source:
        channels = source.channels()  # the file begins with them
        facts = {key: str(value) for key, value in source.describe().items()}
    console.rest()
    with (
        StopSignal(seconds) as stop,
        _Conclusion(json_) as conclusion,
        console.StderrLines() as stderr,
        Recorder.open(out, channels=channels, metadata={"rtsysid.board": facts}, overwrite=overwrite) as recorder,
        open_source(port, mapping=mapping, divider=divider, baudrate=baud, tap=recorder, names=channels) as source,
    ):
        conclusion.of(lambda: _record_summary(source, recorder, json_), recorder)
        _record_all(source, recorder, stop, stderr)
    counts = source.health()
    _require_samples(port, stop, counts, counts.samples)


@click.command("sim-device")
@click.argument("trace", type=PATH)
@click.option("--like", type=PATH, metavar="BUNDLE", help="Take channels, their order and the rate from this bundle.")
@click.option(
    "--rate", type=within(ranges.RateHz),
    help="Play at this rate, in Hz.  [default: the model's, or the recording's own]",
)  # fmt: skip
@click.option("--loop", is_flag=True, help="Repeat the recording at its end, instead of ending the session.")
@output("--port", product=PORT, help="Name of the port; a symbolic link is made there.  [default: a temporary name]")
@time_column
@seconds_
@as_json
def sim_device(
    trace: Path, like: Path | None, rate: float | None, loop: bool, port: Path | None, time_: str | None,
    seconds: float | None, json_: bool,
) -> None:  # fmt: skip
    """Simulate a board: the real firmware as a process, with a recording for its sensors. Needs a C compiler.

    Prints the name of its port. Every host that connects there gets the recording from its first row, until ^C.

    Example: rtsysid sim-device unseen.csv --like bundle
    """
    from firmware_bridge.device import SimulatedDevice
    from firmware_bridge.messages import State
    from rtsysid.live.service import StopSignal

    schema, rows, left_out = _to_play(trace, like, rate, time_)
    boot = 1 + secrets.randbelow(2**31)  # as a board does, after each reset another one
    with SimulatedDevice(schema, rows, repeat=loop, port=port, boot_id=boot) as device, StopSignal(seconds) as stop:
        facts = {
            "port": device.port,
            "rate_hz": schema.rate_hz,
            "rows": len(rows),
            "left_out": left_out,
            "channels": schema.width,
        }
        console.rest()
        console.report(facts, json_)
        if seconds is None:
            console.say("plays to every host that connects, until ^C")
        streamed = False
        while not stop.requested:
            state = int(device.status().split()[0])
            if streamed and state == State.idle:
                device.reset()  # the host has gone: the next one finds a board that was just switched on
            streamed = state == State.streaming or (streamed and state != State.idle)
            time.sleep(0.1)


def _require_samples(port: str, stop: StopSignal, counts: SourceHealth, answered: int) -> None:
    """Raise LinkError where a session got no sample, or answered none, unless the user stopped it."""
    if stop.interrupted or (counts.samples and answered):
        return
    if counts.refused > counts.samples:
        found = f"{counts.refused} messages were refused for their times, and {counts.samples} were taken"
        raise LinkError(f"source {port}", found, "give times in seconds, of one clock that does not go back")
    if not counts.samples:
        raise LinkError(f"source {port}", "no sample came", "check that the board samples, and give it more --seconds")
    found = f"none of {counts.samples} samples was answered, all were in warm-up, late, rejected or of unknown age"
    raise LinkError(f"source {port}", found, "run longer, or check the channels with rtsysid record")


def _make_punctual(
    fifo: int, cpus: tuple[int, ...], source: Source, stderr: console.StderrLines, *, lock: bool
) -> None:
    from rtsysid.live.realtime import make_punctual

    stderr.write(*map(str, make_punctual(fifo, cpus, source.thread_ids, lock=lock)))


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


def _record_summary(source: Source, recorder: Recorder, json_: bool) -> dict[str, Any]:
    counts = source.health()
    shown = counts.plain() if json_ else {"samples": counts.samples, **running.losses(counts)}
    return {"to": str(recorder.path), **shown, "not_recorded": recorder.dropped}


class _Conclusion:
    """`with _Conclusion(json_) as conclusion`: print the summary at the end of a session, however it ends.

    `of` says how to make it; without, nothing is printed. Leaving raises StorageError where the recording is not as it
    should be, unless another error is on its way.
    """

    def __init__(self, json_: bool) -> None:
        self._json = json_
        self._summary: Callable[[], dict[str, Any]] | None = None
        self._recorder: Recorder | None = None

    def of(self, summary: Callable[[], dict[str, Any]], recorder: Recorder | None) -> None:
        """Set what makes the summary: it is called when source and recording are closed."""
        self._summary, self._recorder = summary, recorder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._summary is not None:
            _print_summary(self._summary(), self._json)
        if kind is None and self._recorder is not None and self._recorder.fault is not None:
            raise self._recorder.fault


def _print_summary(summary: dict[str, Any], json_: bool) -> None:
    """Print the summary if anyone can still read it."""
    try:
        console.report(summary, json_)
        sys.stdout.flush()
    except OSError:  # the terminal or the pipe was closed: the recording counts
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what the interpreter flushes at its end


def _to_play(trace: Path, like: Path | None, rate: float | None, time_: str | None) -> tuple[Schema, Floats, int]:
    """Return the channel table of a simulated board, the rows [n, C] to play, and the number of rows left out.

    A board cannot skip: it plays the longest part of a recording without a gap and without NaN.
    """
    from firmware_bridge.schema import Schema
    from rtsysid.model.bundle import Bundle
    from rtsysid.recordings.reading import read_recordings
    from rtsysid.recordings.timeline import typical_rate
    from rtsysid.recordings.trace import Trace, clock

    bundle = None if like is None else Bundle.open(like)
    spec = None if bundle is None else bundle.spec
    if bundle is None:
        found = Trace.read(trace, None, **clock("t" if time_ is None else time_, rate))
    else:
        found = read_recordings([trace], bundle.data(time_), bundle.spec.channels)
    console.notes(found.notes)
    own = typical_rate(max(found.episodes, key=len).t)
    if own is None:
        raise TraceError(f"recording {trace}", "it has no rate of its own", "give one of two rows or more")
    recorded = spec.rate_hz if spec is not None and rate is None else own
    played = max(found.segments(recorded, nan="split").episodes, key=len).values
    return Schema.of(found.channels, rate or recorded), played, len(found) - len(played)
