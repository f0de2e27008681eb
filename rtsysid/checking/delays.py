"""Estimate by how many ticks each input acts later than it was logged.

A linear model predicts the next outputs from the last two rows of outputs and from two successive rows of the inputs.
The delay is the place of those two rows at which the model errs least: first of all inputs together, then of each one
with the others at their places. Delayed recordings thus give estimates that differ by what they were delayed. The
interval comes from blocks of the recordings, sampled with replacement.

Ref: L. Ljung, System Identification, 2nd ed., 1999, section 4.3; delays by the loss of ARX models of many delays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from rtsysid.circle import unwrapped
from rtsysid.config import Config
from rtsysid.recordings.trace import Trace
from rtsysid.spec import Doubles, Floats, rotation_columns

PAST = 2  # rows of outputs
ROWS = 2  # successive rows of an input
HIGHEST = (300, 200, 150, 100, 60, 40, 25, 15, 10, 5)  # ticks that may be tried, as far as pieces are long enough
LOWEST = 40  # ticks that an input may be logged too late
MOST = 40_000  # rows
BLOCKS, FEW = 20, 10  # parts of the recordings; of many channels few
WIDE = 100  # inputs times outputs
SHARE = 0.7  # of the rows that must be left
ROOM = 60e6  # bytes of products at a time
MANY = 32  # inputs, of which the delay of each is not looked for
WORK = 3e9  # multiplications of one pass over the lags
DRAWS = 200
SURE = 0.95  # coverage of the interval
NEARLY = 0.9  # of what the best place gains
WIDEST = 15  # ticks of an interval from which a delay is not known
CLEAR = 10.0  # of the logarithm of a likelihood, for each output
RIDGE = 1e-9


class Delay(msgspec.Struct, frozen=True):
    """State the delay of an input: ``ticks`` between its row and the first row of outputs that may depend on it.

    0: u_k acts on y_{k+1}. Below 0 its effect comes before it: it was logged late, or the outputs were filtered with
    rows of the future. ``low`` and ``high``: interval of 95 %. ``found``: the recordings tell; otherwise the interval
    is as wide as what was tried. ``seconds``: the same as ticks. ``undelayed``: share of what the input explains there
    that it explains without a delay.
    """

    input: str
    ticks: int
    low: int
    high: int
    found: bool
    seconds: float
    undelayed: float


def delays(trace: Trace, config: Config) -> list[Delay]:
    """Estimate the delay of each input from recordings without gaps.

    Returns nothing where there is no input, or the recordings are too short. Raises TraceError where times do not
    increase, or have another rate than the configuration.
    """
    data = config.data
    cut = trace.segments(data.rate_hz, nan="split", allow_none=True)
    cut = cut.with_continuous(rotation_columns(trace.channels)).with_feedthrough(data.feedthrough)
    pieces = [unwrapped(each.values, trace.channels) for each in cut.episodes]
    inputs = [channel.name for channel in trace.channels if channel.role == "input"]
    scan = _Scan.of(pieces, len(inputs)) if inputs else None
    return [] if scan is None else [
        Delay(name, each.place, each.low, each.high, each.found, float(each.place / data.rate_hz), each.undelayed)
        for name, each in zip(inputs, scan.estimates(), strict=True)
    ]  # fmt: skip


class Estimate(NamedTuple):
    """Hold the place of an input, its interval, and the share of its gain that it has at the places -1 to 1."""

    place: int
    low: int
    high: int
    found: bool
    undelayed: float


class DelayBlock(NamedTuple):
    """Hold sums over the rows of a block: products of what is always known, the next outputs, and inputs of any row.

    ``fixed`` [K, K]: of 1, the outputs of the last rows, and the next outputs. ``moving`` [L, K, nu]: of those with the
    inputs at each of L places. ``inputs`` [2, L, nu, nu]: of the inputs at a place with those there, and one place on.
    """

    fixed: Doubles
    moving: Doubles
    inputs: Doubles


class _Scan:
    """Find the places of the inputs at which a linear model errs least."""

    def __init__(self, rows: Sequence[tuple[Doubles, Doubles]], ny: int, lowest: int, highest: int) -> None:
        self.places, self._ny, self._rows = np.arange(-lowest, highest - ROWS + 2), ny, rows
        self._blocks = [_block(fixed, windows_of(inputs, len(fixed))) for fixed, inputs in rows]

    @classmethod
    def of(cls, pieces: Sequence[Floats], nu: int) -> _Scan | None:
        """Choose the range of delays and the blocks from pieces [n, C]; None where they are too short."""
        rows = sum(map(len, pieces))
        for highest in HIGHEST if rows else ():
            lowest = min(LOWEST, highest)
            kept = sum(max(0, len(piece) - (highest + lowest + PAST + 2)) for piece in pieces)
            work = (highest + lowest) * min(kept, MOST) * nu * 3 * pieces[0].shape[1]
            if kept >= max(rows * SHARE, 60) and work < WORK:
                blocks = list(_blocks_of(pieces, nu, lowest, highest, kept))
                return cls(blocks, pieces[0].shape[1] - nu, lowest, highest)
        return None

    def estimates(self) -> list[Estimate]:
        """Estimate the place of each input; one that does not tell its own has that of all together."""
        nu = self._blocks[0].moving.shape[2]
        parts = self._parts(1 + ROWS * nu + 3 * self._ny)
        losses = np.concatenate([self._losses([_all_inputs(b, part) for b in self._blocks]) for part in parts])
        place = int(_log_loss(losses.sum(1)).argmin())
        common = self._judged(losses, place)
        if nu == 1 or nu > MANY:
            return [common] * nu
        every = [self._judged(self._losses_of(own, [place] * nu), place) for own in range(nu)]
        return [each if each.found else common for each in every]

    def _losses_of(self, own: int, at: Sequence[int]) -> Doubles:
        """Return errors [D, B, ny] with one input at each place, and the others at `at`."""
        windows = [windows_of(inputs, len(fixed)) for fixed, inputs in self._rows]
        pairs = list(zip(self._blocks, windows, strict=True))
        parts = self._parts(1 + ROWS * len(at) + 3 * self._ny)
        return np.concatenate([self._losses([_one_input(*each, own, at, part) for each in pairs]) for part in parts])

    def _parts(self, width: int) -> list[slice]:
        """Cut the places into parts, of which the products [D, `width`, `width`] of all blocks fit in memory."""
        size = max(1, int(ROOM / (len(self._blocks) * 2 * 8 * width**2)))
        return [slice(start, min(start + size, len(self.places))) for start in range(0, len(self.places), size)]

    def _judged(self, losses: Doubles, common: int) -> Estimate:
        """Choose a place by the errors [D, B, ny] at each place.

        The gain of a place is measured from the usual error: most places are wrong ones. Where the place of all inputs
        together, `common`, gains nearly as much, it is taken.
        """
        gains = _gains(losses.sum(1))
        best, rows = int(gains.argmax()), sum(len(fixed) for fixed, _ in self._rows)
        low, high = _interval(losses)
        found = bool(gains[best] * rows > CLEAR * losses.shape[2] and high - low < min(WIDEST, len(self.places) / 3))
        # not where it lies within the interval: delayed recordings would then differ by more than they were delayed
        place = common if gains[common] > NEARLY * gains[best] or not found else best
        low, high, at = (int(self.places[each]) for each in (min(low, place), max(high, place), place))
        without = gains[np.searchsorted(self.places, -1) :][:3].max() / max(gains[best], 1e-30)
        return Estimate(at, low, high, found, float(np.clip(without, 0, 1)))

    def _losses(self, grams: Sequence[Doubles]) -> Doubles:
        """Return squared errors [D, B, ny] of models fitted to all blocks, from their products [D, P + ny, P + ny]."""
        ny = self._ny
        whole = np.sum(grams, 0)
        x = whole[:, :-ny, :-ny].copy()
        diagonal = np.arange(x.shape[1])
        x[:, diagonal, diagonal] += RIDGE * x[:, diagonal, diagonal] + 1e-9
        weights = np.linalg.solve(x, whole[:, :-ny, -ny:])
        errors = [
            np.einsum("dkk->dk", gram[:, -ny:, -ny:])
            + (weights * (gram[:, :-ny, :-ny] @ weights - 2 * gram[:, :-ny, -ny:])).sum(1)
            for gram in grams
        ]
        return np.stack(errors, 1)


def windows_of(inputs: Doubles, rows: int) -> Doubles:
    """Return a view of inputs [m, nu] at each place: [L, nu, rows], the latest rows first."""
    return sliding_window_view(inputs, rows, axis=0)[::-1]


def _block(fixed: Doubles, windows: Doubles) -> DelayBlock:
    """Sum up products of rows [n, K] with inputs at every place [L, nu, n]."""
    moving = np.matmul(windows, fixed).transpose(0, 2, 1)
    same = [np.matmul(windows[row:], windows[: len(windows) - row].transpose(0, 2, 1)) for row in range(ROWS)]
    padded = np.concatenate((same[1], np.zeros_like(same[1][:1])))
    return DelayBlock(fixed.T @ fixed, moving, np.stack((same[0], padded.transpose(0, 2, 1))))


def _all_inputs(block: DelayBlock, part: slice) -> Doubles:
    """Return the products of a model with all inputs at the same place, for a part of them: [D, P + ny, P + ny]."""
    places, on = part.stop - part.start, slice(part.start + 1, part.stop + 1)
    here, there, across = block.inputs[0][part], block.inputs[0][on], block.inputs[1][part]
    own = np.concatenate((np.concatenate((here, across), 2), np.concatenate((across.transpose(0, 2, 1), there), 2)), 1)
    mixed = np.concatenate((block.moving[part], block.moving[on]), 2)
    return _joined_products(np.broadcast_to(block.fixed, (places, *block.fixed.shape)), mixed, own)


def _one_input(block: DelayBlock, windows: Doubles, own: int, at: Sequence[int], part: slice) -> Doubles:
    """Return the same with one input at each place, and the others at `at`. `windows`: inputs [L, nu, n]."""
    rows = slice(part.start, part.stop + 1)
    others = [(i, place + row) for i, place in enumerate(at) if i != own for row in range(ROWS)]
    held = np.stack([windows[place, i] for i, place in others], 1)
    between = np.matmul(windows[rows, own], held)
    mixed = np.stack([block.moving[place, :, i] for i, place in others], 1)
    fixed = np.block([[held.T @ held, mixed.T], [mixed, block.fixed]])
    moving = np.concatenate((between, block.moving[rows, :, own]), 1)
    inputs = block.inputs[:, rows, own, own]
    pair = np.stack((inputs[0, :-1], inputs[1, :-1], inputs[1, :-1], inputs[0, 1:]), 1).reshape(-1, 2, 2)
    both = np.stack((moving[:-1], moving[1:]), 2)
    return _joined_products(np.broadcast_to(fixed, (len(both), *fixed.shape)), both, pair)


def _joined_products(fixed: Doubles, mixed: Doubles, own: Doubles) -> Doubles:
    """Put products together: of moving inputs first, then of what is fixed, whose last are the next outputs."""
    upper = np.concatenate((own, mixed.transpose(0, 2, 1)), 2)
    return np.concatenate((upper, np.concatenate((mixed, fixed), 2)), 1)


def _log_loss(errors: Doubles) -> Doubles:
    """Return the loss of errors [..., ny], each output in its own unit: [...]."""
    return np.asarray(np.log(np.maximum(errors, 1e-300)).sum(-1))


def _interval(losses: Doubles) -> tuple[int, int]:
    """Return the range of places with the least loss, over resampled blocks, from errors [D, B, ny]."""
    rng, blocks = np.random.default_rng(0), losses.shape[1]
    weights = rng.multinomial(blocks, np.full(blocks, 1 / blocks), DRAWS)
    drawn = _log_loss(np.einsum("wb,dby->wdy", weights, losses)).argmin(1)
    low, high = np.quantile(drawn, ((1 - SURE) / 2, (1 + SURE) / 2), method="nearest")
    return int(low), int(high)


def _gains(errors: Doubles) -> Doubles:
    """Return by how much the loss of errors [D, ny] is lower at a place than usual, [D]."""
    loss = _log_loss(errors)
    return np.asarray(np.median(loss) - loss)


def _blocks_of(
    pieces: Sequence[Floats], nu: int, lowest: int, highest: int, kept: int
) -> Iterator[tuple[Doubles, Doubles]]:
    """Cut pieces [n, C] into 10 or 20 blocks of `MOST` rows in all, evenly spread.

    Yields what is always known and the next outputs [n, K], and the inputs [n + lowest + highest, nu].
    """
    blocks = BLOCKS if nu * (pieces[0].shape[1] - nu) < WIDE else FEW
    before, size = highest + PAST, max(20, min(kept, MOST) // blocks)
    stride = max(size, kept // blocks)
    units = _Units.of(
        [piece[:: max(1, kept // MOST)] for piece in pieces], [piece[: MOST // 10] for piece in pieces], nu
    )
    for piece in pieces:
        for start in range(before, len(piece) - lowest - 1, stride):
            stop = min(start + size, len(piece) - lowest - 1)
            if stop - start >= 10:
                yield units.block(piece[start - before : stop + lowest + 1], PAST, highest, lowest)


class _Units(NamedTuple):
    """Hold mean [C] and spread [C] of channels, and the usual change [ny] of outputs in spreads; 1 without motion."""

    mean: Doubles
    spread: Doubles
    change: Doubles
    nu: int

    @classmethod
    def of(cls, levels: Sequence[Floats], rows: Sequence[Floats], nu: int) -> _Units:
        """Measure some rows [n, C] of pieces, and successive rows [n, C] of them."""
        every = np.concatenate(levels).astype(np.float64)
        spread = _or_one(every.std(0))
        steps = np.concatenate([np.diff(each[:, nu:].astype(np.float64), axis=0) for each in rows])
        return cls(every.mean(0), spread, _or_one(np.sqrt(np.mean(steps**2, 0)) / spread[nu:]), nu)

    def block(self, rows: Floats, past: int, highest: int, lowest: int) -> tuple[Doubles, Doubles]:
        """Return what is always known and the next outputs [n, K], and the inputs [m, nu], from rows [m, C]."""
        scaled = (rows.astype(np.float64) - self.mean) / self.spread
        start, stop, outputs = past + highest, len(rows) - lowest - 1, scaled[:, self.nu :]
        now, before, after = outputs[start:stop], outputs[start - 1 : stop - 1], outputs[start + 1 : stop + 1]
        # changes, not levels: the next row of a smooth output hardly differs from the line through the last two
        known = np.ones((stop - start, 1)), now, (now - before) / self.change, (after - 2 * now + before) / self.change
        return np.concatenate(known, 1), scaled[start - highest : stop + lowest, : self.nu]


def _or_one(x: Doubles) -> Doubles:
    return np.where(x > 0, x, 1.0)
