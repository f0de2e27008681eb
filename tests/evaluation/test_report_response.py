"""Test the responses of a report: of the linear path, against what recordings of a known law show."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from support.linear_robots import LAW, PUSH, plain_spec, recordings
from support.robots import make_spec
from support.shell import command

from rtsysid.evaluation.report.linear_path import LinearPath
from rtsysid.evaluation.report.observed import Observed
from rtsysid.evaluation.report.quantities import ShownOutputs
from rtsysid.evaluation.report.response import empirical, step_responses
from rtsysid.evaluation.report.response_section import unwrapped_degrees
from rtsysid.model.backends.protocol import Snapshot
from rtsysid.model.bundle import Bundle
from rtsysid.model.contents import weight_shapes
from rtsysid.recordings.trace import Episode
from rtsysid.spec import Doubles, ModelSpec

SPEC = plain_spec(age_bands=())


def law_path(spec: ModelSpec = SPEC) -> LinearPath:
    """The linear path that knows the law: the change of position and speed by the newest row, and none of `w`."""
    weights = np.zeros((spec.taps * spec.width + 1, spec.n_outputs))
    newest = weights[(spec.taps - 1) * spec.width :]
    newest[0, :2], newest[1:3, :2] = PUSH, LAW.T - np.eye(2)
    return LinearPath(spec, weights)


def law_response(cycles: Doubles) -> Doubles:
    """The response of position and speed that the law has: [F, 2]."""
    z = np.exp(2j * np.pi * cycles)
    return np.stack([np.linalg.solve(each * np.eye(2) - LAW, PUSH) for each in z])


def observed(spec: ModelSpec, rows: int = 4000) -> list[Observed]:
    """A long recording of the law, with the snapshots of some moments; predictions are not used here."""
    (values,) = recordings(1, rows)
    starts = np.arange(spec.taps, rows - 100, 50)
    windows = np.stack([values[k - spec.taps + 1 : k + 1] for k in starts])
    known = Snapshot(windows, np.zeros((len(starts), 0), np.float32), np.zeros(len(starts)), starts)
    none, episode = np.zeros((0, 3)), Episode("law", np.arange(rows) / spec.rate_hz, values)
    return [Observed(episode, 0.0, spec.taps, none, none, starts, known, none, none, none, none)]


def test_the_frequency_response_is_that_of_the_law() -> None:
    """A path that holds a known law has its response in gain and phase, up to half of the sample rate."""
    cycles = np.linspace(0.001, 0.49, 40)
    found = law_path().frequency_response(cycles)
    assert found is not None
    np.testing.assert_allclose(found[:, :2, 0], law_response(cycles), rtol=1e-6)
    assert np.abs(found[:, 2, 0]).max() < 1e-9


def test_recordings_of_a_law_show_the_same_response() -> None:
    """The empirical transfer function agrees with the exact one within 5 %, with a coherence near 1."""
    hz, measured, coherence, _ = empirical(SPEC, observed(SPEC), ShownOutputs(SPEC), 512)
    middle = slice(5, 50)  # a window of 512 rows smears the lowest frequencies
    exact = law_response(hz / SPEC.rate_hz)[middle]
    off = np.abs(measured[middle, :2, 0] - exact) / np.abs(exact)
    assert np.median(off) < 0.05
    assert np.median(coherence[middle, 1]) > 0.95


def test_a_step_moves_the_outputs_as_the_law_says() -> None:
    """The step response of the path, per unit of the input, is the sum of the impulse response of the law."""
    step = step_responses(SPEC, law_path().rollout, observed(SPEC), ShownOutputs(SPEC), 60)
    impulse = np.stack([np.linalg.matrix_power(LAW, k) @ PUSH for k in range(60)])
    np.testing.assert_allclose(step[:, :2, 0], np.cumsum(impulse, 0), atol=1e-5)


def test_coordinates_that_are_not_linear_have_no_exact_response() -> None:
    """With powers of the outputs among the features there is no one response: the caller transforms a step."""
    spec = make_spec(linear_path=True, degree=3)
    path = LinearPath(spec, np.zeros((spec.window_size + 1, spec.n_targets)))
    assert path.frequency_response(np.array([0.1])) is None


def test_phases_do_not_jump() -> None:
    """The phase of a delay of 7 ticks falls evenly; where there is no response there is no phase."""
    cycles = np.linspace(0.01, 0.5, 50)
    phase = unwrapped_degrees(np.exp(-2j * np.pi * 7 * cycles))
    np.testing.assert_allclose(phase, -360 * 7 * cycles, atol=1e-6)
    assert np.isnan(unwrapped_degrees(np.array([1.0, 0.0, np.nan], np.complex128))).tolist() == [False, True, True]


def test_a_path_that_no_forecast_uses_is_said() -> None:
    """A path is unused where each of its gains is 0; a model without a path has none to show."""

    def found(gain: float, *, path: bool = True) -> LinearPath | None:
        spec = make_spec(linear_path=path, age_bands=(2,))
        arrays = {name: np.zeros(shape, np.float32) for name, shape in weight_shapes(spec).items()}
        arrays |= {"linear_gain": np.full((2, 3), gain, np.float32)} if path else {}
        return LinearPath.of(cast(Bundle, SimpleNamespace(spec=spec, arrays=lambda name: arrays)))

    used, unused = found(0.5), found(0.0)
    assert used is not None
    assert not used.unused
    assert unused is not None
    assert unused.unused
    assert found(0.0, path=False) is None


@pytest.mark.torch
def test_the_page_shows_gain_phase_and_coherence(bundle_folder: Path, recording: Path, tmp_path: Path) -> None:
    """For each output of the page there are a gain, a phase and a coherence of the linear path and the recordings."""
    out = tmp_path / "r.html"
    command("report", bundle_folder, "--data", recording, "-o", out, "--horizon", 20)
    text = out.read_text()
    assert "the model's linear path, which is a linear ARX model" in text
    for title in ("u to y: gain", "u to y: phase [deg]", "y: coherence", "u to v: gain"):
        assert f'"title":"{title}"' in text
