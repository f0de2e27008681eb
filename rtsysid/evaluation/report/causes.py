"""Name what is wrong with a model, by what explains the error of its forecasts: the largest effect first.

Every cause is tested against forecasts that were left out of its fit. Its effect is the part of the error at the end of
the horizon that goes away with it, in units of the motion over the horizon.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from rtsysid.evaluation.report.lags import LateInput, MissedLags, missed_lags
from rtsysid.evaluation.report.missing_input import UnusedColumn, missing_share
from rtsysid.evaluation.report.offsets import SensorOffset, sensor_offset
from rtsysid.evaluation.report.ringing import Ringing, ringing_of
from rtsysid.evaluation.report.study import Study
from rtsysid.live.calibration import Calibration
from rtsysid.model.bundle import Bundle
from rtsysid.model.predictor import Predictor
from rtsysid.spec import Doubles, ModelSpec

OWN_FAULTS = (
    "ringing", "drifted sensor", "missing input", "dead time", "too few taps", "trained on too little",
)  # fmt: skip
SHARE, LOSS = 0.15, 0.04  # of an error, and of the motion: what is less is no cause
ALIKE = 0.6  # of what the window explains: as much
GRAVE_LOSS = 0.15  # of the motion
UNDELAYED = 0.5  # of what a late input explains, explained without a delay: a filter, and no time is dead
TAPS_SHARE = 0.9  # of what all older rows explain: so many taps are enough
SCARCE_S = 10.0  # of recordings to validate on
OUTSIDE = 0.05  # of the rows beyond the range of training
LATER = 0.1  # effect of a ringing beyond the horizon: no forecast that was judged has it
NEW_MOTION = 0.3  # of the rows beyond that range by other channels than a sensor: then no drift of it is named


class Cause(msgspec.Struct, frozen=True):
    """State one cause: one of `OWN_FAULTS`, or a fault of the recordings, as `rtsysid check` names it.

    ``names``: the channels that have it; ``outputs``: those whose forecasts suffer. ``share``: of their squared error;
    ``effect``: error that goes away with it, in units of the motion over the horizon.
    """

    fault: str
    names: tuple[str, ...]
    outputs: tuple[str, ...]
    share: float
    effect: float
    evidence: str
    remedy: str
    from_tick: int = 0  # of a ringing: ticks ahead from where on
    taps: int = 0  # that would do, where there are too few

    @property
    def grade(self) -> Literal["fair", "poor"]:
        """Grade it by its effect."""
        return "poor" if self.effect >= GRAVE_LOSS else "fair"


class _Older(NamedTuple):
    """Hold what rows from before the window explain beyond it: the share [nq] of the squared error at the end.

    ``needed`` [nq]: in the error of one tick they explain about as much as the window, or more. ``lags``: of inputs.
    """

    share: Doubles
    near: Doubles
    needed: NDArray[np.bool_]
    lags: list[MissedLags]


def causes_of(
    bundle: Bundle,
    predictor: Predictor,
    study: Study,
    columns: Sequence[UnusedColumn] = (),
    beyond: NDArray[np.bool_] | None = None,
    late: Sequence[LateInput] = (),
) -> list[Cause]:
    """Find the causes of the error, the largest effect first.

    `columns` are unused. `beyond` [n, C]: values of the rows that are outside the range of training. `late`: inputs
    that the recordings show to act late.
    """
    beyond = np.zeros((1, study.spec.width), np.bool_) if beyond is None else beyond
    late = [each for each in late if each.low >= study.spec.taps and each.undelayed <= UNDELAYED]
    drift, window = study.share([study.drift]), study.share([study.drift, study.window])
    older = _older_rows(study, window)
    drift = np.where(older.needed, 0.0, drift)  # without the speed of a slow motion an error is constant, too
    offset = sensor_offset(study, predictor) if _matters(study, drift).any() else None
    if offset is not None and is_new_motion(study.spec, beyond, offset.name):
        offset = None  # beyond its training a model has constant errors, too
    named = drift if offset else np.zeros_like(drift)  # without a sensor it may as well be the model
    found = [
        *(_drifted(study, drift, offset) if offset else ()),
        *_unused_columns(study, columns),
        *_missing_rows(study, older, np.where(older.needed, older.share + window - named, older.share), late),
        *_untrained(bundle, study, np.where(older.needed, 0.0, window - named), float(beyond.any(1).mean())),
    ]
    found = found or list(_drifted(study, drift, None))
    ringing = list(_ringing(study, ringing_of(study.spec, predictor, study.every, study.shown)))
    few = any(each.fault == "trained on too little" for each in found) and _is_scarce(bundle)
    ranked = sorted(found, key=lambda each: (not late or each.fault != "dead time", -each.effect))  # misleads the rest
    first = [] if few else [each for each in ringing if each.from_tick <= study.horizon]
    return [*first, *ranked, *(each for each in ringing if each not in first)]


def is_new_motion(spec: ModelSpec, beyond: NDArray[np.bool_], sensor: str) -> bool:
    """Tell whether other channels than a sensor leave the range of training in many rows of `beyond` [n, C].

    Quaternions do not count: a new direction alone is no new motion.
    """
    turning = {column for rotation in spec.rotations for column in rotation}
    others = [k for k, channel in enumerate(spec.channels) if channel.name != sensor and k not in turning]
    return bool(beyond[:, others].any(1).mean() > NEW_MOTION)


def _is_scarce(bundle: Bundle) -> bool:
    """Tell whether there was so little to validate on that the model could not be calibrated, or hardly."""
    calibration = Calibration.of(bundle)
    return calibration is None or calibration.innovation.seconds < SCARCE_S


def _matters(study: Study, share: Doubles) -> NDArray[np.bool_]:
    return (share >= SHARE) & (study.loss(share) >= LOSS)


def _cause(
    study: Study, fault: str, names: Sequence[str], share: Doubles, evidence: str, remedy: str
) -> Iterator[Cause]:
    """Yield the cause where it explains a part of the error that matters."""
    loss, matters = study.loss(share), _matters(study, share)
    if matters.any():
        worst = int(np.argmax(np.where(matters, loss, -1.0)))
        outputs = tuple(dict.fromkeys(q.name for q in study.shown.quantities if matters[list(q.columns)].any()))
        yield Cause(fault, tuple(names), outputs, float(share[worst]), float(loss[worst]), evidence, remedy)


def _ringing(study: Study, every: Sequence[Ringing]) -> Iterator[Cause]:
    if not every:
        return
    rate, names = study.spec.rate_hz, study.shown.names
    first = every[0]
    within = first.tick <= study.horizon
    where = f"from {first.tick / rate:.3g} s ahead on" if within else "beyond the horizon, in longer runs"
    swing = f" at {first.hz:.2g} Hz" if first.hz else ""
    unstable = "" if within else "; so does a robot that is unstable without its controller"
    how = f"swing{swing} with growing amplitude, {where}"
    evidence = f"forecasts of {names[first.column]} {how}; measurements do not{unstable}"
    remedy = (
        "train with a rollout loss over a longer horizon and more weight decay, or sample slower; "
        "do not use the model for longer forecasts until then"
    )
    ringing = tuple(names[each.column] for each in every)
    size = 1.0 if within else LATER
    yield Cause("ringing", ringing, ringing, size, size, evidence, remedy, first.tick)


def _drifted(study: Study, share: Doubles, offset: SensorOffset | None) -> Iterator[Cause]:
    matters = _matters(study, share)
    if not matters.any():
        return
    part = f"{share[matters].max():.0%} of the squared error is constant, or grows steadily, within a recording"
    if offset is None:
        names = [study.shown.names[k] for k in np.flatnonzero(matters)]
        remedy = "compare calibration, payload and trim with those of training, and train on recordings of several days"
        yield from _cause(study, "drifted sensor", names, share, part, remedy)
        return
    unit = f" {offset.unit}" if offset.unit else ""
    evidence = (
        f"{part}; {offset.name} reads {offset.mean:+.2g}{unit} too high on average, {offset.first:+.2g} at the start "
        f"and {offset.last:+.2g}{unit} at the end of a recording, against those of training"
    )
    remedy = f"calibrate {offset.name} again, or train on recordings of several days and calibrations"
    yield from _cause(study, "drifted sensor", [offset.name], share, evidence, remedy)


def _unused_columns(study: Study, columns: Sequence[UnusedColumn]) -> Iterator[Cause]:
    for column in _strongest(study, columns):
        share = missing_share(study, column)
        evidence = (
            f"the recordings have a column {column.name} that the model does not use; it explains {share.max():.0%}"
        )
        yield from _cause(
            study, "missing input", [column.name], share, f"{evidence} of the squared error",
            f"add it to data.inputs if it is a command or a disturbance, else to data.outputs: {column.name}",
        )  # fmt: skip


def _strongest(study: Study, columns: Sequence[UnusedColumn], most: int = 4) -> list[UnusedColumn]:
    """Choose the columns that correlate most with the first error, beyond what the window says of them."""
    if not columns:
        return []
    base = np.column_stack((study.window, np.ones(len(study.window))))
    now = [study.series([v[:, None] for v in column.values], [(0, 1)])[:, 0] for column in columns]
    left = _rest_of(base, np.column_stack((*now, study.near_errors)))
    x, e = left[:, : len(columns)], left[:, len(columns) :]
    scale = np.outer(np.linalg.norm(x, axis=0), np.linalg.norm(e, axis=0))
    r = np.abs(np.divide(x.T @ e, scale, out=np.zeros_like(scale), where=scale > 1e-12)).max(1)
    return [columns[k] for k in np.argsort(-r, kind="stable")[:most]]


def _rest_of(base: Doubles, series: Doubles) -> Doubles:
    """Return what a linear map of `base` [K, F] leaves of series [K, m]; nothing of one that it tells exactly."""
    series = np.nan_to_num(series - series.mean(0), posinf=0.0, neginf=0.0)
    rest = series - base @ np.linalg.lstsq(base, series, rcond=None)[0]
    exact = np.linalg.norm(rest, axis=0) < 1e-3 * np.linalg.norm(series, axis=0)
    return np.where(exact, 0.0, rest)


def _older_rows(study: Study, window: Doubles) -> _Older:
    base = [study.drift, study.window]
    known = study.share(base, first_tick=True)
    near = study.share([*base, study.older()], first_tick=True) - known
    far = study.share([*base, study.older()]) - window
    lags = missed_lags(study.spec, *study.surprises(), study.horizon)
    return _Older(far, near, (near >= SHARE / 2) & (near >= ALIKE * known), lags)


def _missing_rows(study: Study, older: _Older, share: Doubles, late: Sequence[LateInput]) -> Iterator[Cause]:
    """Yield what the window lacks: an input that acts late as a whole, or more rows."""
    spec = study.spec
    missed = [each for each in older.lags if each.dead_time(spec.taps)]
    found = list(_dead_time(study, missed, share)) if missed and late else []  # alone it may be a controller's doing
    found += [_known_dead_time(study, late, share)] if late and not found else []
    if missed or found:
        yield from found
        return
    if not _matters(study, share).any():
        return
    taps = _taps_for(study, older)
    evidence = f"rows from before the window of {spec.taps} taps explain {older.near.max():.0%} of the one-tick error"
    remedy = f"raise model.taps from {spec.taps} to {taps}"
    short = _cause(study, "too few taps", [each.input for each in older.lags], share, evidence, remedy)
    yield from (msgspec.structs.replace(each, taps=taps) for each in short)


def _dead_time(study: Study, late: Sequence[MissedLags], share: Doubles) -> Iterator[Cause]:
    each, taps = late[0], study.spec.taps
    ticks = each.first - 1  # an input of the row before acts without a delay
    evidence = (
        f"{_acts_late(study, each.input, ticks)}, and the window ends after {taps}; "
        f"correlation {each.strength:.2f} with the error of {study.shown.names[each.output]}"
    )
    names, remedy = [lag.input for lag in late], _shift(study, each.input, ticks, each.last + 1)
    found = _cause(study, "dead time", names, share, evidence, remedy)
    yield from (msgspec.structs.replace(cause, taps=each.last + 1) for cause in found)


def _known_dead_time(study: Study, late: Sequence[LateInput], share: Doubles) -> Cause:
    """Name the inputs that the recordings show to act late, whatever part of the error goes away with them.

    Inputs of a closed loop follow the outputs: rows that act later tell of them too, and hide the error.
    """
    each, taps = min(late, key=lambda late: late.high - late.low), study.spec.taps
    evidence = (
        f"{_acts_late(study, each.input, each.ticks)} (95 %: {each.low} to {each.high} ticks), and the window ends "
        f"after {taps}; without a delay it explains {each.undelayed:.0%} of that"
    )
    names, remedy = [one.input for one in late], _shift(study, each.input, each.ticks, each.high + 2)
    loss, matters = study.loss(share), _matters(study, share)
    worst = int(np.argmax(loss))
    shown = study.shown.quantities
    outputs = tuple(dict.fromkeys(q.name for q in shown if matters[list(q.columns)].any() or not matters.any()))
    least = float(max(share[worst], SHARE)), float(max(loss[worst], LOSS))
    return Cause("dead time", tuple(names), outputs, *least, evidence, remedy, taps=each.high + 2)


def _acts_late(study: Study, name: str, ticks: int) -> str:
    return f"{name} acts {ticks} ticks ({ticks / study.spec.rate_hz:.3g} s) after its row"


def _shift(study: Study, name: str, ticks: int, enough: int) -> str:
    return (
        f"shift the input by its dead time: shift_s = {ticks / study.spec.rate_hz:.3g} in the source of {name}, "
        f"or raise model.taps from {study.spec.taps} to {enough}"
    )


def _taps_for(study: Study, older: _Older) -> int:
    """Return the taps with which the window holds most of what older rows explain of the error of one tick."""
    base, output, last = [study.drift, study.window], int(np.argmax(older.near)), study.spec.taps
    known = study.share(base, first_tick=True)[output]
    while last < study.reach:
        last = min(study.reach, max(last + 2, int(1.4 * last)))
        if study.share([*base, study.older(last)], first_tick=True)[output] - known >= TAPS_SHARE * older.near[output]:
            break
    return last


def _untrained(bundle: Bundle, study: Study, share: Doubles, outside: float) -> Iterator[Cause]:
    count, calibration = len(bundle.manifest.training.sources), Calibration.of(bundle)
    beyond = f"; {outside:.0%} of the rows leave the range of training" if outside > OUTSIDE else ""
    trained = f" from {count} recording{'s' * (count != 1)}" if count else ""
    known = (
        "nothing could be calibrated" if calibration is None else f"validated on {calibration.innovation.seconds:.3g} s"
    )
    evidence = (
        f"a linear map of what the model is given explains {share.max():.0%} of the squared error, and the training "
        f"has not learned it{trained}, {known}{beyond}"
    )
    remedy = "record more of such motion for the training; if there is enough of it, train longer"
    yield from _cause(study, "trained on too little", [], share, evidence, remedy)
