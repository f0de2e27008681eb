"""Compare the errors of two trials on the same rows, with an interval by the bootstrap over blocks of them."""

from __future__ import annotations

import numpy as np
from optuna.trial import FrozenTrial, Trial

from rtsysid.evaluation.bootstrap import RatioInterval, geometric_interval
from rtsysid.experiments.sweep.objective import RESOLUTION
from rtsysid.spec import Doubles

ERRORS = "errors"  # of a trial, by block; see `Measure.errors`
DIGITS = 6  # of an error that is kept


def keep_errors(trial: Trial, errors: Doubles) -> None:
    """Keep the errors [B, R] of a finished trial with it."""
    trial.set_user_attr(ERRORS, [[float(f"{each:.{DIGITS}g}") for each in row] for row in errors])


def ratio_of_trials(trial: FrozenTrial, other: FrozenTrial) -> RatioInterval | None:
    """Divide the error of a trial by that of another one; None where there is a single block, which has no spread.

    The limits hold 90 % of the ratios in which the same blocks are drawn for both, with replacement. They do not know
    that the trial was chosen among many.
    """
    kept = [np.array(each.user_attrs.get(ERRORS, [])) for each in (trial, other)]
    if kept[0].shape != kept[1].shape or len(kept[0]) < 2:
        return None
    return geometric_interval(*kept, least=RESOLUTION)
