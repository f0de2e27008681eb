"""Test the causes that correlations do not show in a closed loop: late inputs, and inputs that are missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rtsysid.evaluation.report.causes import causes_of
from rtsysid.evaluation.report.explained import added_share, explained_share
from rtsysid.evaluation.report.lags import LateInput
from rtsysid.evaluation.report.missing_input import UnusedColumn, missing_share
from rtsysid.evaluation.report.observed import observe
from rtsysid.evaluation.report.study import Study
from rtsysid.model.bundle import Bundle
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Episode, Trace

HORIZON = 20


def disturbed(bundle: Bundle) -> tuple[Trace, list[np.ndarray]]:
    """The plant of the model under a force that the model does not know, and that force [n] of each recording."""
    rng, episodes, forces = np.random.default_rng(3), [], []
    for number in range(4):
        rows, y, v = np.zeros((400, 3), np.float32), 0.0, 0.0
        torque, force = (np.repeat(rng.uniform(-2, 2, 40), 10) for _ in range(2))
        for k in range(400):
            rows[k] = torque[k], y, v
            v += 0.02 * (torque[k] + force[k] - 4.0 * np.sin(y) - 0.5 * v)
            y += 0.02 * v
        episodes.append(Episode(f"run{number}", np.arange(400) / 50, rows))
        forces.append(force)
    return Trace(bundle.spec.channels, tuple(episodes)), forces


@pytest.fixture(scope="module")
def study(bundle_folder: Path) -> tuple[Bundle, Study, list[np.ndarray]]:
    bundle = Bundle.open(bundle_folder)
    trace, forces = disturbed(bundle)
    every, _ = observe(bundle, trace, HORIZON, 2)
    return bundle, Study.of(bundle.spec, every, 2), forces


def test_what_is_added_counts_next_to_many_features() -> None:
    """A feature that causes a third of an error is found next to 150 others in 300 forecasts; noise is not."""
    rng = np.random.default_rng(0)
    many, cause, noise = rng.standard_normal((300, 150)), rng.standard_normal((300, 1)), rng.standard_normal((300, 2))
    errors = cause + 1.4 * noise[:, :1]
    assert added_share(many, cause, errors)[0] == pytest.approx(0.33, abs=0.1)
    assert added_share(many, noise[:, 1:], errors)[0] < 0.03
    assert explained_share(np.column_stack((many, cause)), errors)[0] < 0.2  # without a choice of its own


def test_what_the_window_tells_is_no_share_of_a_column() -> None:
    """A column that follows what the model is given adds nothing to it, however much it correlates with the error."""
    rng = np.random.default_rng(0)
    known = rng.standard_normal((600, 3))
    errors = known[:, :1] + 0.5 * rng.standard_normal((600, 1))
    follows = known[:, :1] + 0.1 * rng.standard_normal((600, 1))
    assert explained_share(follows, errors)[0] > 0.6
    assert added_share(known, follows, errors)[0] < 0.03


def test_a_cause_is_told_from_a_consequence(study: tuple[Bundle, Study, list[np.ndarray]]) -> None:
    """The force explains the error of the speed; a noisy late copy of the speed, which any error reaches, does not."""
    _, made, forces = study
    speed = [each.episode.values[:, 2].astype(float) for each in made.every]
    noise = np.random.default_rng(1).standard_normal(400)
    late = [np.concatenate((np.zeros(3), each[:-3])) + 0.2 * noise for each in speed]
    assert missing_share(made, UnusedColumn("force", forces))[1] > 0.3
    assert missing_share(made, UnusedColumn("late copy", late)).max() == 0
    other = [np.random.default_rng(k).standard_normal(400) for k in range(4)]
    assert missing_share(made, UnusedColumn("noise", other)).max() == 0


def test_a_late_input_of_the_recordings_is_the_first_cause(study: tuple[Bundle, Study, list[np.ndarray]]) -> None:
    """With 5 taps an input that acts 28 to 31 ticks late is named with its shift; a filter, or 4 to 6 ticks, is not."""
    bundle, made, forces = study
    predictor, column = Predictor.load(bundle, "numpy"), UnusedColumn("force", forces)
    found = causes_of(bundle, predictor, made, [column], late=[LateInput("u", 30, 28, 31, 0.05)])
    first = found[0]
    assert (first.fault, first.names, first.taps) == ("dead time", ("u",), 33)
    assert "shift_s = 0.6 " in first.remedy
    assert "model.taps from 5 to 33" in first.remedy
    assert "95 %: 28 to 31 ticks" in first.evidence
    assert "missing input" in {each.fault for each in found}
    for other in (LateInput("u", 5, 4, 6, 0.05), LateInput("u", 30, 28, 31, 0.6)):
        assert "dead time" not in {each.fault for each in causes_of(bundle, predictor, made, [column], late=[other])}
