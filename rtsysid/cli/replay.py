"""The command that streams a recording through the live path."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from click.core import ParameterSource

from rtsysid.cli import console, reproducing
from rtsysid.cli.options import PATH, Speed, as_json, backend_option, deadline_option, max_gap, time_column, within
from rtsysid.cli.outputs import output
from rtsysid.errors import TraceError
from rtsysid.guards import ranges
from rtsysid.storage.products import PREDICTIONS

if TYPE_CHECKING:
    from rtsysid.live.replaying import ReplayEnd
    from rtsysid.model.bundle import Bundle

_OF_A_STREAM = ("speed", "out", "against", "deadline_ms", "max_gap", "time_")


@click.command("replay")
@click.argument("bundle", type=PATH)
@click.argument("trace", type=PATH)
@click.option(
    "--speed", type=within(ranges.Speed, Speed), default="max", show_default=True, metavar="max|FACTOR",
    help="max, or a factor of the recorded pace.",
)  # fmt: skip
@output("-o", "--out", product=PREDICTIONS, help="Write the predictions here (.csv, .csv.gz or .npz).")
@click.option("--against", type=PATH, help="Compare with predictions written earlier; exit code 2 if they differ.")
@click.option(
    "--then", type=PATH, multiple=True, metavar="BUNDLE",
    help="A bundle that took over during the recorded session; may be given again.",
)  # fmt: skip
@deadline_option
@backend_option
@max_gap
@time_column
@as_json
def replay_command(
    bundle: Path, trace: Path, then: tuple[Path, ...], speed: float | None, out: Path | None, overwrite: bool,
    against: Path | None, deadline_ms: float | None, backend: Any, max_gap: int, time_: str | None, json_: bool,
) -> None:  # fmt: skip
    """Stream a recording through the live path, one prediction per sample.

    A recorded live session (.mcap) is replayed from its bytes on the wire, and compared with the live predictions,
    unless an option other than --backend and --then asks for a stream. Bundles that took over in it (run --watch) are
    looked for next to BUNDLE, and are those of --then.

    Example: rtsysid replay bundle flight.csv --speed 1 -o predictions.csv
    """
    from rtsysid.api import Model
    from rtsysid.model.bundle import Bundle

    console.stage("opening the bundle")
    opened = Bundle.open(bundle)
    opened.require_live()
    if trace.suffix.lower() == ".mcap" and not _asks_for_a_stream():
        _reproduce(opened, then, trace, backend, json_)
    if then:
        raise TraceError(f"recording {trace.name}", "no bundle takes over in a stream", "leave --then out")
    budget_s = None if deadline_ms is None else deadline_ms * 1e-3
    replay = Model(opened).replay(
        trace, speed=speed or "max", max_gap=max_gap, budget_s=budget_s, backend=backend, time=time_
    )
    found = _end_as_fields(replay.run(out, against=against, inputs=(bundle, trace), overwrite=overwrite), out)
    console.report({**console.flat(replay.summary), **found}, json_)
    if found.get("equal") is False:
        sys.exit(2)
    if budget_s is not None and replay.session.deadline is not None:
        replay.session.deadline.require_met("answers")


def _reproduce(opened: Bundle, then: tuple[Path, ...], trace: Path, backend: Any, json_: bool) -> None:
    """Compute a recorded live session again, report it, and leave; return where the file is no live session."""
    console.stage("reproducing the live session")
    reproduced = reproducing.reproduced(opened, then, trace, backend)
    if reproduced is None:
        return
    console.report(reproduced.shown, json_)
    if reproduced.fault is not None:
        raise reproduced.fault
    sys.exit(0 if reproduced.equal else 2)


def _asks_for_a_stream() -> bool:
    """Whether an option was given that a reproduction has no use for: its settings are those of the live session."""
    context = click.get_current_context()
    sources = {name: context.get_parameter_source(name) for name in _OF_A_STREAM}
    return any(source is not ParameterSource.DEFAULT for source in sources.values())


def _end_as_fields(end: ReplayEnd, out: Path | None) -> dict[str, Any]:
    """Return what was written, and how it compares."""
    found: dict[str, Any] = {} if end.written is None else {"written": end.written, "to": str(out)}
    if end.comparison is None:
        return found
    same = end.comparison.equal and end.comparison.finite > 0
    return {**found, **msgspec.to_builtins(end.comparison), "equal": same}
