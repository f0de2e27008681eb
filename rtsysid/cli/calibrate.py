"""Provide the command `calibrate`, and describe the calibration of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rtsysid.cli import console
from rtsysid.cli.options import PATH, as_json, horizon_option, time_column, within
from rtsysid.cli.outputs import output
from rtsysid.guards import ranges
from rtsysid.storage.products import BUNDLE

if TYPE_CHECKING:
    from rtsysid.model.bundle import Bundle


@click.command()
@click.argument("bundle", type=PATH)
@click.argument("traces", type=PATH, nargs=-1, required=True)
@output("-o", "--out", product=BUNDLE, help="Folder of the calibrated bundle.  [default: replace BUNDLE]")
@click.option(
    "--false-alarms",
    type=within(ranges.PerHour),
    metavar="PER_HOUR",
    help="Novelty flags per hour on normal data.  [default: 1, or the lowest rate that the data supports]",
)
@horizon_option
@time_column
@as_json
def calibrate(
    bundle: Path, traces: tuple[Path, ...], out: Path | None, overwrite: bool, false_alarms: float | None, horizon: int,
    time_: str | None, json_: bool,
) -> None:  # fmt: skip
    """Calibrate novelty detection and prediction intervals of a bundle on held-out recordings.

    Given the recordings of the training run, it uses their validation part, as `rtsysid export` does.

    Example: rtsysid calibrate bundle unseen/*.csv --false-alarms 2
    """
    from rtsysid.evaluation.calibrate import HeldOut, calibrate_predictor, calibration_files, calibration_notes
    from rtsysid.model.bundle import Bundle
    from rtsysid.model.predictor import Predictor
    from rtsysid.recordings.held_out import read_held_out
    from rtsysid.recordings.pieces import texts

    opened = Bundle.open(bundle)
    data = opened.manifest.training.config.data
    trace, description = read_held_out(traces, opened.spec.channels, opened.config(time_), opened.manifest.trained_on)
    episodes = [HeldOut(each.values, each.values) for each in trace.with_feedthrough(data.feedthrough).episodes]
    predictor = Predictor.load(opened)
    notes = (*trace.notes, *calibration_notes(predictor, episodes, horizon))
    console.notes(notes)
    with opened.rewriting(out, overwrite=overwrite) as folder:
        calibrations = calibrate_predictor(
            predictor, episodes, description, false_alarms_per_hour=false_alarms, horizon=horizon
        )
        for name, content in calibration_files(*calibrations).items():
            (folder / name).write_bytes(content)
    stored = Bundle.open(bundle if out is None else out)
    told = {"notes": texts(notes)} if json_ else {}
    console.report({"bundle": str(stored.folder), "id": stored.id, **calibration_summary(stored), **told}, json_)


def calibration_summary(bundle: Bundle) -> dict[str, Any]:
    """Summarise the calibrations of a bundle as plain values. Raises BundleError where a file is damaged."""
    from rtsysid.live.calibration import Calibration
    from rtsysid.model.intervals import Intervals

    calibration, intervals = Calibration.of(bundle), Intervals.of(bundle)
    if calibration is None or intervals is None:
        return {"calibrated": "no: rtsysid calibrate BUNDLE TRACE..."}
    return {
        "calibrated": f"on {calibration.recordings}",
        "false_alarms_per_hour": calibration.false_alarms_per_hour,
        "intervals": f"{intervals.horizon} ticks, coverage up to {intervals.max_coverage:.4g}",
    }


def calibration_line(bundle: Bundle) -> str | None:
    """Describe the calibration of a new bundle in one line; None without one, where the export has logged the reason.

    Raises BundleError where a file is damaged.
    """
    from rtsysid.live.calibration import FALSE_ALARMS, Calibration
    from rtsysid.live.exceedance import minutes_for

    calibration = Calibration.of(bundle)
    if calibration is None:
        return None
    rate = calibration.false_alarms_per_hour
    line = f"calibrated on {calibration.recordings}: {rate:.3g} false alarms an hour"
    if rate <= FALSE_ALARMS:
        return line
    needed = f"{minutes_for(FALSE_ALARMS):.3g} min or more"
    return f"{line}, the lowest that it supports; for {FALSE_ALARMS:g}, run rtsysid calibrate BUNDLE with {needed}"
