"""Check how much the recordings tell: rows, pieces, moving outputs, and what only validation shows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rtsysid.checking.findings import Finding, time_text
from rtsysid.config import Config
from rtsysid.errors import RtsysidError
from rtsysid.recordings.held_out import shortest_piece, unscaled_spec
from rtsysid.recordings.trace import Episode, Trace

SHORTEST = 8  # rows of a piece of which anything is learned
LAGS = 20  # rows that a usual linear model sees
ENOUGH = 10.0  # rows for each parameter of one output
BEYOND, OFTEN = 0.02, 0.01  # of the range of training, and share of the validation rows beyond it


def amount_findings(whole: Trace, cut: Trace, config: Config) -> Iterator[Finding]:
    """Check the recordings before and after they are cut at gaps. `whole`: those as aligned; `cut`: their pieces."""
    yield from _constant_outputs(whole)
    yield from _cut_pieces(cut, config)
    yield from _row_counts(cut, config)
    yield from _unseen(cut, config)
    yield from _copies(cut)


def _constant_outputs(trace: Trace) -> Iterator[Finding]:
    for column, channel in enumerate(trace.channels):
        values = [episode.values[:, column] for episode in trace.episodes]
        finite = [each[np.isfinite(each)] for each in values]
        known = [each for each in finite if len(each)]
        if channel.role == "output" and all((each == known[0][0]).all() for each in known):
            level = f"{known[0][0]:.6g} in all {len(trace)} rows" if known else "without any value"
            yield Finding(
                "constant", (channel.name,), f"it never moves: {level}", "leave it out of data.outputs", grave=True
            )


def _cut_pieces(cut: Trace, config: Config) -> Iterator[Finding]:
    needed = _needed(config, cut)
    short = [len(episode) for episode in cut.episodes if len(episode) < needed]
    if short and len(short) < len(cut.episodes):
        pieces = f"{len(short)} of {len(cut.episodes)} pieces without a gap"
        found = f"{pieces} are shorter than {needed} rows, {sum(short)} rows in all"
        yield Finding("too short", (), found, "they are left out; record without gaps, or set data.resample = true")


def _needed(config: Config, cut: Trace) -> int:
    """Return the rows that a piece needs in order to be of use."""
    if config.auto:
        return max(SHORTEST, (config.model.taps or 0) + (config.model.warmup or 0) + 2)
    try:
        return shortest_piece(config, unscaled_spec(config, cut.channels))
    except RtsysidError:
        return SHORTEST  # training says what is wrong with the configuration


def _row_counts(cut: Trace, config: Config) -> Iterator[Finding]:
    width, usable = len(cut.channels), sum(len(e) for e in cut.episodes if len(e) >= SHORTEST)
    least = 2 * width + 2  # a linear model of two rows
    if usable < least:
        linear = f"a linear model of two rows has {least - 1} parameters for each output"
        rows = sum(map(len, cut.episodes))
        more = f", of {rows} rows," if rows > usable else ""
        found = f"{usable} rows{more} in pieces of {SHORTEST} rows or more; {linear}"
        yield Finding("too short", (), found, "record without gaps" if rows >= least else "record longer", grave=True)
        return
    lags = config.model.taps or LAGS
    parameters = lags * width + 1
    if usable < ENOUGH * parameters:
        found = f"{usable} rows for {parameters} parameters of each output, in a linear model of {lags} rows"
        yield Finding("little data", (), found, "record longer, or leave channels out; fewer taps need less")


def _unseen(cut: Trace, config: Config) -> Iterator[Finding]:
    """Find the channels whose range in validation exceeds the one in training."""
    try:
        training, validation = cut.split(config.data.validation)
    except RtsysidError:
        return  # training says so
    free = {*config.data.angles} | ({*config.model.rigid_body.position} if config.model.rigid_body else set())
    shares = {}
    for column, channel in enumerate(cut.channels):
        seen, shown = (np.concatenate([e.values[:, column] for e in half.episodes]) for half in (training, validation))
        margin = BEYOND * float(np.ptp(seen))
        share = float(((shown < seen.min() - margin) | (shown > seen.max() + margin)).mean())
        if share > OFTEN and channel.name not in free:
            shares[channel.name] = (
                f"{channel.name} {share:.0%} ({shown.min():.4g} to {shown.max():.4g}, "
                f"training {seen.min():.4g} to {seen.max():.4g})"
            )
    if shares:
        found = f"validation rows beyond the range of training: {'; '.join(list(shares.values())[:4])}"
        yield Finding(
            "unseen range",
            tuple(shares),
            found,
            "record this range for training, or choose other recordings: data.validation",
        )


def _copies(cut: Trace) -> Iterator[Finding]:
    """Find the recordings whose pieces are copies of another recording's, or of the beginning of one."""
    begun: dict[bytes, Episode] = {}
    for piece in cut.episodes:
        if len(piece) < SHORTEST or not np.ptp(piece.values, axis=0).any():
            continue
        first = begun.setdefault(piece.values[:SHORTEST].tobytes(), piece)
        rows = min(len(first), len(piece))
        if first.recording != piece.recording and np.array_equal(first.values[:rows], piece.values[:rows]):
            found = f"its {rows} rows from {time_text(piece.t[0])} s on are those of {first.recording}"
            remedy = "leave one of them out: the same rows would train a model and judge it"
            yield Finding("duplicated rows", (), found, remedy, piece.recording, float(piece.t[0]), grave=True)
