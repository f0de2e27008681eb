"""Advise delays and taps for a new configuration, by linear models of its recordings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from rtsysid.checking.check import is_late
from rtsysid.checking.delays import Delay, delays
from rtsysid.circle import unwrapped
from rtsysid.config import Config
from rtsysid.errors import RtsysidError
from rtsysid.evaluation.baselines import LinearArx
from rtsysid.guards.stages import say_stage
from rtsysid.recordings.trace import Trace
from rtsysid.spec import Floats, rotation_columns

LAGS = (2, 5, 10, 20, 40)  # rows of the linear models that are compared
HORIZON, SHORTEST = 20, 80  # ticks of their forecasts, and rows of a piece
ROWS, FEATURES = 20_000, 800  # of the recordings that are looked at, and of a model
AFTER = 4  # rows of a window behind the longest delay


def linear_advice(trace: Trace, config: Config) -> str:
    """Write what linear models advise as commented lines of a configuration; "" where the recordings do not tell."""
    try:
        say_stage("looking for delays and taps")
        late = [each for each in delays(trace, config) if is_late(each)]
        lags = _best_lags(trace, config)
    except RtsysidError:
        return ""  # a check says what is wrong with the recordings
    lines = [*_delay_lines(late, config), *_taps_lines(late, lags)]
    return "".join(["\n# Advised by linear models of the log:\n", *(f"# {line}\n" for line in lines)]) if lines else ""


def _delay_lines(late: Sequence[Delay], config: Config) -> Iterator[str]:
    for each in late:
        shift = f"shift_s = {each.seconds:.3g}"
        mapped = each.input in config.data.sources
        remedy = f"add {shift} to data.sources.{_table_key(each.input)}" if mapped else "taps must reach it"
        yield f"{each.input} acts {each.ticks} ticks (95 %: {each.low} to {each.high}) after its row: {remedy}"


def _taps_lines(late: Sequence[Delay], lags: int | None) -> Iterator[str]:
    if lags is None:
        return
    reach = [each.high + AFTER for each in late]
    why = f"the best linear model has {lags}" + (f", the delays need {max(reach)}" if reach else "")
    yield "[model]"
    yield f"taps = {max([lags, *reach])}  # rows of a window: {why}; training chooses them where they are left out"


def _table_key(name: str) -> str:
    return name if name.isidentifier() else json.dumps(name, ensure_ascii=False)


def _best_lags(trace: Trace, config: Config) -> int | None:
    """Return the rows that the linear model with the best forecasts sees; None where pieces are too short or wide."""
    cut = trace.segments(config.data.rate_hz, nan="split", allow_none=True)
    cut = cut.with_continuous(rotation_columns(trace.channels)).with_feedthrough(config.data.feedthrough)
    pieces = [unwrapped(each.values, trace.channels) for each in cut.episodes if len(each) > SHORTEST]
    usable = [lags for lags in LAGS if lags * len(trace.channels) <= FEATURES]
    if not pieces or not usable:
        return None
    nu = sum(channel.role == "input" for channel in trace.channels)
    first, last = _halves(pieces)
    angles = [column for column, channel in enumerate(trace.channels) if channel.angle]
    return LinearArx.select(first, last, nu, horizon=HORIZON, lags=usable, ridges=(1e-6,), relative=angles).lags


def _halves(pieces: Sequence[Floats]) -> tuple[list[Floats], list[Floats]]:
    """Cut the beginning of pieces [n, C] into blocks; return every second one, and the others."""
    blocks: list[Floats] = []
    for piece in pieces:
        size = max(SHORTEST, min(len(piece), ROWS) // 10)
        ends = np.arange(0, min(len(piece), ROWS) + 1, size).tolist()
        blocks += [piece[start:stop] for start, stop in pairwise(ends)]
    return (blocks[::2], blocks[1::2]) if len(blocks) > 1 else (blocks, blocks)
