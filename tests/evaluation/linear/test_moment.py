"""The model at one moment as a linear system: responses, poles, and models of lower order."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.robots import plant
from support.shell import command

from rtsysid.errors import SpecError
from rtsysid.evaluation.linear.moment import frequency_response, held_gains, impulse_response, reduced, rise_ticks
from rtsysid.model.linearised import Linearised


@pytest.fixture
def lagging() -> Linearised:
    """A first-order lag behind three ticks of delay, and two states that nothing reaches."""
    a = np.diag([0.9, 0, 0, 0, 0.5, 0.2]) + np.diag([1.0, 1, 1, 0, 0], 1)
    return Linearised(a, np.array([[0.0, 0, 0, 1, 0, 0]]).T, np.eye(1, 6), np.zeros((1, 1)))


def test_responses_of_a_known_system(lagging: Linearised) -> None:
    """The impulse response, when it rises, the frequency response as its transform, and the poles."""
    impulse = impulse_response(lagging, 200)
    np.testing.assert_allclose(impulse[:5, 0, 0], [0, 0, 0, 1, 0.9])
    assert rise_ticks(impulse) == 4
    np.testing.assert_allclose(held_gains(impulse, 200), 1 / (1 - 0.9), rtol=1e-8)
    np.testing.assert_allclose(held_gains(impulse, 5), 1 + 0.9)
    assert rise_ticks(0 * impulse) == 0
    hz = np.array([1.0, 7.0, 20.0])
    z = np.exp(2j * np.pi * hz / 100)
    transform = (impulse[:, 0, 0] * z[:, None] ** -np.arange(1, 201)).sum(1)
    np.testing.assert_allclose(frequency_response(lagging, hz, 100.0)[:, 0, 0], transform, atol=1e-8)
    np.testing.assert_allclose(lagging.poles[:3], [[0.9, 0], [0.5, 0], [0.2, 0]], atol=1e-12)


def test_a_model_of_lower_order_has_the_same_response(lagging: Linearised) -> None:
    """What nothing reaches is left out without error; an order beyond what the response supports is refused."""
    small = reduced(lagging, 4)
    np.testing.assert_allclose(impulse_response(small), impulse_response(lagging), atol=1e-9)
    with pytest.raises(SpecError, match="order: 5, and this moment has 1 to 4; give another one"):
        reduced(lagging, 5)


def test_the_command_prints_a_moment(bundle_folder: Path, recording: Path, tmp_path: Path) -> None:
    """`rtsysid linearise`: text, a page with a line for each output and input, and JSON."""
    html = tmp_path / "moment.html"
    told = command("linearise", bundle_folder, recording, "--at", "1s", "--html", html).stdout
    assert "poles" in told
    assert "one second after" in told
    text = html.read_text("utf-8")
    assert text.count('class="line s1"') == 1 + 2 * 2  # the legend, then gain and phase of two outputs
    assert {f'id="{name}"' for name in ("bode", "gains", "delays", "poles")} <= set(text.replace(">", " ").split())
    found = json.loads(command("linearise", bundle_folder, recording, "--at", "1s", "--order", 2, "--json").stdout)
    assert np.shape(found["bode"]["gain"]) == (30, 2, 1)
    assert np.shape(found["gains"]) == (2, 1)
    assert np.shape(found["reduced"]["a"]) == (2, 2)
    assert len(found["poles"]) == found["states"] == 4 * 3 + 2 + 12
    refused = command("linearise", bundle_folder, recording, "--at", "0.02s", check=1)
    assert "linearise: 2 of 5 samples; step more samples first" in refused.stderr


def test_a_moment_beyond_the_training_is_named(bundle_folder: Path, tmp_path: Path) -> None:
    """Where inputs left the trained range, the text says which and by how much, and JSON has it for each input."""
    trace = plant(1, 200, seed=5)
    trace.write(tmp_path / "known.csv")
    trace.episodes[0].values[:, 0] = 100.0
    trace.write(tmp_path / "far.csv")
    words = "the model extrapolates; inputs are outside the trained range, in widths of it: u by"
    known, far = (("linearise", bundle_folder, tmp_path / f"{name}.csv", "--at", "1s") for name in ("known", "far"))
    assert words not in command(*known).stdout
    assert words in command(*far).stdout
    assert json.loads(command(*known, "--json").stdout)["extrapolation"] == {"u": 0.0}
    assert json.loads(command(*far, "--json").stdout)["extrapolation"]["u"] > 10
