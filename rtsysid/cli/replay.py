"""The command that streams a recording through the live path."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from rtsysid.cli import console, recording
from rtsysid.cli.options import PATH, as_json, backend_option, max_gap, time_column

if TYPE_CHECKING:
    from rtsysid.model.bundle import Bundle


@click.command("replay")
@click.argument("bundle", type=PATH)
@click.argument("trace", type=PATH)
@click.option("--speed", default="max", show_default=True, help="max, or a factor of the recorded pace.")
@click.option("-o", "--out", type=PATH, help="Write the predictions here (.csv, .csv.gz or .npz).")
@click.option("--against", type=PATH, help="Compare with predictions written earlier; exit code 2 if they differ.")
@backend_option
@max_gap
@time_column
@as_json
def replay_command(
    bundle: Path, trace: Path, speed: str, out: Path | None, against: Path | None, backend: Any, max_gap: int,
    time_: str, json_: bool,
) -> None:  # fmt: skip
    """Stream a recording through the live path, one prediction per sample.

    A recorded live session (.mcap) is replayed from its bytes on the wire, and compared with the live predictions.

    Example: rtsysid replay bundle flight.csv --speed 1 -o predictions.csv
    """
    from rtsysid.errors import SpecError
    from rtsysid.live.deadline import Deadline
    from rtsysid.live.replay import replay
    from rtsysid.live.session import Session
    from rtsysid.model.bundle import Bundle
    from rtsysid.model.predictor import Predictor
    from rtsysid.recordings.trace import Trace, clock

    try:
        pace = None if speed == "max" else float(speed)
    except ValueError:
        raise SpecError("--speed", repr(speed), "give max or a number") from None
    opened = Bundle.open(bundle)
    opened.require_live()
    if trace.suffix.lower() == ".mcap" and pace is None and out is None and against is None:
        reproduced = recording.reproduced(opened, trace, backend)
        if reproduced is not None:
            console.report(reproduced, json_)
            sys.exit(0 if reproduced["equal"] else 2)
    predictor, deadline = Predictor.load(opened, backend), Deadline(1.0 / opened.spec.rate_hz)
    session = Session(predictor, max_gap=max_gap, deadline=deadline)
    samples = Trace.stream(trace, opened.spec.channels, **clock(time_, opened.spec.rate_hz))
    found = _consume(opened, replay(session, samples, speed=pace), out, against)
    console.report({**console.flat(session.summary()), **found}, json_)
    if found.get("equal") is False:
        sys.exit(2)


def _consume(bundle: Bundle, predictions: Iterator[Any], out: Path | None, against: Path | None) -> dict[str, Any]:
    """Write the predictions of a replay, compare them, or only let them pass."""
    from rtsysid.live.replay import compare, read_predictions, write_predictions

    if against is not None:
        comparison = compare(predictions, read_predictions(against))
        return {**msgspec.to_builtins(comparison), "equal": comparison.equal}
    if out is not None:
        return {"written": write_predictions(out, bundle.spec.outputs, predictions), "to": str(out)}
    for _ in predictions:
        pass
    return {}
