"""Define the command `linearise`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rtsysid.cli import console
from rtsysid.cli.options import PATH, Moment, as_json, time_column, within
from rtsysid.cli.outputs import output
from rtsysid.guards import ranges
from rtsysid.storage.products import MOMENT_PAGE

if TYPE_CHECKING:
    from rtsysid.model.predictor import Predictor

SHOWN = 8  # poles in the text


@click.command("linearise")
@click.argument("bundle", type=PATH)
@click.argument("trace", type=PATH)
@click.option(
    "--at", type=within(ranges.Moment, Moment), required=True, metavar="SECONDS",
    help="Moment in the recording's time: 12.3s.",
)  # fmt: skip
@click.option("--order", type=within(ranges.Few), help="Also make a model of so many states.")
@output("--html", product=MOMENT_PAGE, help="HTML page to write: Bode plots, gains, delays, poles.")
@time_column
@as_json
def linearise_command(
    bundle: Path, trace: Path, at: float, order: int | None, html: Path | None, overwrite: bool, time_: str | None,
    json_: bool,
) -> None:  # fmt: skip
    """Print poles, gains, times to rise and the frequency response of the model at one moment of a recording.

    Example: rtsysid linearise bundle flight.csv --at 12.3s --order 12 --json
    """
    from rtsysid.evaluation.linear.moment import linearise_at, moment_content
    from rtsysid.evaluation.linear.moment_page import moment_page
    from rtsysid.model.bundle import Bundle
    from rtsysid.model.predictor import Predictor
    from rtsysid.recordings.reading import read_recordings
    from rtsysid.storage import replacing

    opened = Bundle.open(bundle)
    recordings = read_recordings((trace,), opened.data(time_), opened.spec.channels)
    console.notes(recordings.notes)
    predictor = Predictor.load(opened)
    found = {"at": at, **moment_content(opened.spec, linearise_at(predictor, recordings, at), order)}
    found["extrapolation"] = _extrapolation(predictor)
    if html is not None:
        with replacing(html, MOMENT_PAGE, inputs=(bundle, trace), overwrite=overwrite) as path:
            path.write_text(moment_page(f"{bundle.name} on {trace.name}", found, opened.spec.rate_hz), encoding="utf-8")
    if json_:
        return console.report(found, json_)
    console.block(_moment_text(found))


def _extrapolation(predictor: Predictor) -> dict[str, float]:
    """Tell by name how far the inputs of the window leave the trained range, in widths of it; 0 is within."""
    beyond = predictor.beyond_range(predictor.snapshot().window[:, : predictor.spec.n_inputs])
    return {channel.name: float(each) for channel, each in zip(predictor.spec.inputs, beyond, strict=True)}


def _moment_text(found: dict[str, Any]) -> str:
    """Write the largest poles, the times to rise and, where there is one, the error of the reduced model."""
    poles = [
        [f"{pole['size']:.4f}", f"{pole['hz']:.3g}", "" if pole["seconds"] is None else f"{pole['seconds']:.3g}"]
        for pole in found["poles"][:SHOWN]
    ]
    lags = [[name, *map(str, row)] for name, row in zip(found["outputs"], found["rise_ticks"], strict=True)]
    gains = [[name, *(f"{g:.4g}" for g in row)] for name, row in zip(found["outputs"], found["gains"], strict=True)]
    parts = [
        f"{found['states']} states at {found['at']:g} s; the {len(poles)} largest poles:",
        console.table(["size", "Hz", "falls in s"], poles),
        "\nchange of an output one second after an input was raised by 1 and held:",
        console.table(["output", *found["inputs"]], gains),
        "\nticks until an output has moved by a tenth of its largest response:",
        console.table(["output", *found["inputs"]], lags),
    ]
    far = {name: each for name, each in found["extrapolation"].items() if each}
    if far:
        each = ", ".join(f"{name} by {far[name]:.2g}" for name in far)
        parts.append(f"\nthe model extrapolates; inputs are outside the trained range, in widths of it: {each}")
    if "reduced" in found:
        parts.append(
            f"\n{len(found['reduced']['a'])} states leave an error of {found['reduced']['error']:.2g} of the peak"
        )
    return "\n".join(parts)
