"""The commands that check a bundle: verify, against its golden trace; evaluate, on recordings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from rtsysid.cli import console
from rtsysid.cli.options import PATH, as_json, backend_option, horizon_option, time_column, within
from rtsysid.guards import ranges

if TYPE_CHECKING:
    from rtsysid.evaluation.probabilistic.evaluate import ProbabilisticEvaluation
    from rtsysid.model.bundle import Bundle
    from rtsysid.model.loading import BackendName
    from rtsysid.recordings.trace import Trace


@click.command("verify")
@click.argument("bundle", type=PATH)
@backend_option
@as_json
def verify_command(bundle: Path, backend: BackendName, json_: bool) -> None:
    """Run every backend of this machine, or the one that is named, over the golden trace of a bundle.

    The C library of a bundle that no trusted maker signed runs with --trust or --backend c alone.

    Example: rtsysid verify bundle
    """
    from rtsysid.errors import BundleError
    from rtsysid.model.bundle import Bundle
    from rtsysid.model.golden import Row
    from rtsysid.model.parity import measure_each, verify

    opened = Bundle.open(bundle)
    _require_readable(opened)
    all_of_them = backend in ("auto", "trusted")
    rows = verify(opened, trusted=backend == "trusted") if all_of_them else measure_each(opened, [backend])
    console.show_verification(opened, rows, json_)
    measured = [row for row in rows if isinstance(row, Row)]
    if not measured:
        raise BundleError(f"bundle {bundle}", "no backend of this machine runs it", "export it again with onnx")
    for row in measured:
        row.require(f"bundle {bundle}", "use a backend that passes, or export again")


def _require_readable(bundle: Bundle) -> None:
    """Raise BundleError where a file that no backend needs cannot be read: another command would refuse the bundle."""
    from rtsysid.evaluation.baselines import LinearArx
    from rtsysid.live.calibration import Calibration
    from rtsysid.model.history import history_of
    from rtsysid.model.intervals import Intervals

    for read in (Calibration.of, Intervals.of, LinearArx.of, history_of):
        read(bundle)


@click.command("evaluate")
@click.argument("bundle", type=PATH)
@click.argument("traces", type=PATH, nargs=-1, required=True)
@horizon_option
@click.option(
    "--stride", type=within(ranges.Count), default=1, show_default=True, help="Ticks between the starts of forecasts."
)
@click.option(
    "--probabilistic", is_flag=True, help="Score sampled futures, next to null models around the point forecast."
)
@click.option(
    "--futures", type=within(ranges.Futures), default=100, show_default=True, help="Futures of each forecast."
)
@time_column
@as_json
def evaluate_command(
    bundle: Path, traces: tuple[Path, ...], horizon: int, stride: int, probabilistic: bool, futures: int,
    time_: str | None, json_: bool,
) -> None:  # fmt: skip
    """Print the error per horizon, next to hold and linear ARX; or proper scores of sampled futures.

    With --probabilistic about 400 forecasts are scored, and --stride has no effect.

    Example: rtsysid evaluate bundle unseen/*.csv --horizon 50
    """
    from rtsysid.api import Model
    from rtsysid.model.bundle import Bundle

    model = Model(Bundle.open(bundle))
    trace = model.trace(list(traces), time_)
    console.notes(trace.notes)
    if probabilistic:
        return _show_scores(model.bundle, trace, horizon, futures, json_)
    result = model.evaluate(trace, horizon, stride)
    console.notes(result.notes)
    if json_:
        return console.report(msgspec.to_builtins(result), json_)
    console.block(console.evaluation(result))
    return None


def _show_scores(bundle: Bundle, trace: Trace, horizon: int, futures: int, json_: bool) -> None:
    """Print the scores of sampled futures and of the null models."""
    from rtsysid.evaluation.probabilistic.evaluate import evaluate_samples, sample_lines

    result = evaluate_samples(bundle, trace, horizon, futures=futures)
    if json_:
        return console.report(msgspec.to_builtins(result), True)
    console.block(_scores_table(result))
    console.echo(*sample_lines(result))
    if result.known is not None:
        console.block(f"\nwithout these recordings\n{_scores_table(result.known)}")
        console.echo(*([] if result.known.log_score is None else [result.known.log_score.line]))
    return None


def _scores_table(scores: ProbabilisticEvaluation) -> str:
    header, *rows = scores.table()
    return console.table(header, rows)
