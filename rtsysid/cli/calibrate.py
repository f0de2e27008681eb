"""The verb that tells a bundle what is normal: calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rtsysid.cli import console

if TYPE_CHECKING:
    from rtsysid.model.bundle import Bundle

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("bundle", type=PATH)
@click.argument("traces", type=PATH, nargs=-1, required=True)
@click.option("-o", "--out", type=PATH, help="Write the calibrated bundle here.  [default: in the place of BUNDLE]")
@click.option("--false-alarms", type=float, metavar="PER_HOUR", help="[default: 1, or the least there is data for]")
@click.option("--horizon", default=50, show_default=True, help="Ticks that the intervals reach.")
@console.as_json
def calibrate(
    bundle: Path, traces: tuple[Path, ...], out: Path | None, false_alarms: float | None, horizon: int, json_: bool
) -> None:
    """Calibrate novelty and intervals of a bundle on recordings that training never saw.

    Of the very recordings of the training run, their validation part is taken, as `rtsysid export` does by itself.

    Example: rtsysid calibrate bundle unseen/*.csv --false-alarms 2
    """
    from rtsysid.evaluation.calibrate import HeldOut, recalibrated
    from rtsysid.evaluation.calibrate import calibrate as calibrate_on
    from rtsysid.evaluation.horizon import stretches
    from rtsysid.evaluation.report.judge import recordings_to_judge
    from rtsysid.model.bundle import Bundle
    from rtsysid.model.predictor import Predictor

    opened = Bundle.open(bundle)
    trace, words = recordings_to_judge(opened, traces)
    episodes = [HeldOut(each.values, each.values) for each in stretches(opened, trace).episodes]
    found = calibrate_on(Predictor.load(opened), episodes, words, false_alarms_per_hour=false_alarms, horizon=horizon)
    stored = recalibrated(opened, *found, bundle if out is None else out)
    console.report({"bundle": str(stored.folder), "id": stored.id, **about(stored)}, json_)


def about(bundle: Bundle) -> dict[str, Any]:
    """What a bundle's calibrations say."""
    from rtsysid.live.novelty import Calibration
    from rtsysid.model.intervals import Intervals

    calibration, intervals = Calibration.of(bundle), Intervals.of(bundle)
    if calibration is None or intervals is None:
        return {"calibrated": "no: rtsysid calibrate BUNDLE TRACE..."}
    return {
        "calibrated": f"on {calibration.recordings}",
        "false_alarms_per_hour": calibration.false_alarms_per_hour,
        "intervals": f"{intervals.horizon} ticks, coverage up to {intervals.max_coverage:.4g}",
    }


def said(bundle: Bundle) -> str:
    """A line on what a fresh bundle's calibration is worth."""
    from rtsysid.live.exceedance import minutes_for
    from rtsysid.live.novelty import FALSE_ALARMS, Calibration

    calibration = Calibration.of(bundle)
    if calibration is None:
        return "not calibrated: no recordings were held out, or too short ones; rtsysid calibrate BUNDLE TRACE..."
    rate = calibration.false_alarms_per_hour
    line = f"calibrated on {calibration.recordings}: {rate:.3g} false alarms an hour"
    if rate <= FALSE_ALARMS:
        return line
    needed = f"{minutes_for(FALSE_ALARMS):.3g} min or more"
    return f"{line}, the least that it supports; for {FALSE_ALARMS:g}: rtsysid calibrate BUNDLE with {needed}"
