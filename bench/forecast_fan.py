"""Draw the picture of the README: forecasts with their intervals over a measured channel.

`python -m bench.forecast_fan BUNDLE RECORDING CHANNEL docs/forecast_fan.svg --every 60`

The model gets the recording sample by sample. Every N ticks it forecasts from there on, with the inputs as they were
recorded. The picture follows the light or dark mode of the reader, and has a background of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rtsysid.model.bundle import Bundle
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Doubles

KEY = "Line: measured. Orange: forecast from each dot on, with the interval that should hold 90 % of the measurements."
WIDTH, HEIGHT = 860, 330
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 64, 46
STYLE = """
.card{fill:#fff} text{fill:#24292f;font:14px system-ui,sans-serif} .small{fill:#57606a;font-size:13px}
.grid{stroke:#d8dee4;stroke-width:1} .measured{stroke:#24292f} .forecast{stroke:#c2410c} .start{fill:#c2410c}
.interval{fill:#fb923c;opacity:.45} polyline{fill:none;stroke-width:2;stroke-linejoin:round}
@media (prefers-color-scheme:dark){
.card{fill:#0d1117} text{fill:#e6edf3} .small{fill:#9da7b3} .grid{stroke:#30363d}
.measured{stroke:#e6edf3} .forecast{stroke:#fdba74} .interval{fill:#f97316;opacity:.45} .start{fill:#fdba74}}
"""


class Fan(NamedTuple):
    """One forecast: the tick it starts from, and its values and interval [N] of one channel."""

    tick: int
    y: Doubles
    lower: Doubles
    upper: Doubles


class Axes(NamedTuple):
    """Map seconds and values to the picture."""

    seconds: float
    low: float
    high: float

    def x(self, seconds: Doubles) -> Doubles:
        """Return horizontal places of times [n]."""
        return LEFT + (WIDTH - LEFT - RIGHT) * np.asarray(seconds) / self.seconds

    def y(self, values: Doubles) -> Doubles:
        """Return vertical places of values [n]."""
        return TOP + (HEIGHT - TOP - BOTTOM) * (self.high - np.asarray(values)) / (self.high - self.low)


def fans(
    predictor: Predictor, episode: Episode, inputs: list[int], output: int, ticks: int, every: int
) -> Iterator[Fan]:
    """Yield a forecast every so many ticks of one episode."""
    for tick, row in enumerate(episode.values[:-ticks]):
        predictor.step(row)
        if predictor.ready and tick % every == 0:
            found = predictor.forecast(episode.values[tick : tick + ticks, inputs], interval=0.9)
            yield Fan(tick, *(np.asarray(each[:, output], np.float64) for each in found))


def steps(low: float, high: float, count: int = 5) -> Doubles:
    """Return round numbers between two values [n]."""
    rough = (high - low) / count
    power = 10 ** np.floor(np.log10(rough))
    size = power * min(each for each in (1, 2, 5, 10) if each * power >= rough)
    return np.arange(np.ceil(low / size), np.floor(high / size) + 1) * size


def line(kind: str, x: Doubles, y: Doubles) -> str:
    """Return one line as SVG."""
    return f'<polyline class="{kind}" points="{points(x, y)}"/>'


def points(x: Doubles, y: Doubles) -> str:
    """Return the corners of a line."""
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def drawn(fan: Fan, axes: Axes, rate: float, first: float) -> Iterator[str]:
    """Yield the interval, the line and the start of one forecast."""
    x = axes.x((fan.tick + 1 + np.arange(len(fan.y))) / rate)
    start = axes.x(np.array([fan.tick / rate]))
    x, y = np.r_[start, x], axes.y(np.r_[first, fan.y])
    lower, upper = axes.y(np.r_[first, fan.lower]), axes.y(np.r_[first, fan.upper])
    yield f'<polygon class="interval" points="{points(np.r_[x, x[::-1]], np.r_[lower, upper[::-1]])}"/>'
    yield line("forecast", x, y)
    yield f'<circle class="start" cx="{x[0]:.1f}" cy="{y[0]:.1f}" r="3.5"/>'


def grid(axes: Axes) -> Iterator[str]:
    """Yield grid lines with their numbers."""
    for value in steps(axes.low, axes.high):
        y = float(axes.y(value))
        yield f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
        yield f'<text class="small" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value + 0.0:.3g}</text>'
    for second in steps(0, axes.seconds, 8):
        x = float(axes.x(second))
        yield f'<text class="small" x="{x:.1f}" y="{HEIGHT - 24}" text-anchor="middle">{second:.3g}</text>'


def picture(title: str, key: str, episode: Episode, column: int, found: list[Fan], rate: float) -> str:
    """Return the whole picture as SVG."""
    measured = episode.values[:, column].astype(np.float64)
    every = np.concatenate([measured, *(np.r_[fan.lower, fan.upper] for fan in found)])
    room = 0.04 * (every.max() - every.min())
    axes = Axes(len(measured) / rate, every.min() - room, every.max() + room)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="card" width="{WIDTH}" height="{HEIGHT}" rx="8"/>',
        f'<text x="{LEFT}" y="26" font-weight="600">{escape(title)}</text>',
        f'<text class="small" x="{LEFT}" y="47">{escape(key)}</text>',
        f'<text class="small" x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 6}" text-anchor="middle">time [s]</text>',
        *grid(axes),
        *(part for fan in found for part in drawn(fan, axes, rate, measured[fan.tick])),
        line("measured", axes.x(np.arange(len(measured)) / rate), axes.y(measured)),
        "</svg>",
    ]
    return "\n".join(parts)


def main() -> None:
    """Read the command line, forecast and write the picture."""
    parser = argparse.ArgumentParser(prog="python -m bench.forecast_fan", description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("recording", type=Path)
    parser.add_argument("channel", help="name of an output")
    parser.add_argument("out", type=Path)
    parser.add_argument("--title", default="a recording that training never saw")
    parser.add_argument("--ticks", type=int, default=50, help="length of a forecast")
    parser.add_argument("--every", type=int, default=60, help="ticks from one forecast to the next")
    parser.add_argument("--seconds", type=float, default=1e9, help="length of the picture")
    given = parser.parse_args()
    bundle = Bundle.open(given.bundle)
    spec, rate = bundle.spec, bundle.spec.rate_hz
    episode = Trace.read(given.recording, spec.channels).episodes[0]
    episode = episode.piece(0, min(len(episode), int(given.seconds * rate)))
    names = [each.name for each in spec.channels]
    column, inputs = names.index(given.channel), [names.index(each.name) for each in spec.inputs]
    output = [each.name for each in spec.outputs].index(given.channel)
    found = list(fans(Predictor.load(bundle), episode, inputs, output, given.ticks, given.every))
    title = f"{given.channel} [{spec.channels[column].unit}], forecast {given.ticks / rate:g} s ahead: {given.title}"
    given.out.write_text(picture(title, KEY, episode, column, found, rate), "utf-8")
    print(f"{given.out}: {given.out.stat().st_size / 1000:.1f} kB, {len(found)} forecasts")


if __name__ == "__main__":
    main()
