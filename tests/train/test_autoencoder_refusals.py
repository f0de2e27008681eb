"""Contradictions of the autoencoder family are refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.autoencoders import JOINT, MODEL, config_of
from support.robots import make_spec

from rtsysid.config import parse_config
from rtsysid.errors import ConfigError, ScheduleError, SpecError
from rtsysid.recordings.trace import Trace
from rtsysid.schedule import preset, resolve
from rtsysid.train.fit import begin

PLAIN = '{ kind = "reconstruction" }'
FROZEN = '{ kind = "rollout", horizon = 6 }'
REFUSED = [  # what is written instead of what, and what is said of it
    ("encoder = [8, 3]", "encoder = [8, 16]", "a code of 16 for a window of 15"),
    ("encoder = [8, 3]", "encoder = []", "the model has no encoder"),
    ("variational = true", "", "no log_variance; set model.distribution"),
    (', "log_variance"', "", "a divergence loss, but its layer does not train"),
    (PLAIN, '{ kind = "contractive", layer = 3 }', "no layer for a contractive loss"),
    (FROZEN, FROZEN + ', { kind = "sparse_l1" }', "a sparse_l1 loss, but its layer does not train"),
    (PLAIN, '{ kind = "reconstruction", corruption = { channels = 4 } }', "4 channels, but the window has 3"),
    (PLAIN, '{ kind = "reconstruction", corruption = { mask = 1.0 } }', r"corruption\.mask = 1\.0.*< 1\.0"),
    (PLAIN, '{ kind = "reconstruction", corruption = { noize = 1.0 } }', "did you mean 'noise'"),
    (PLAIN, '{ kind = "sparse_kl", target = 0.0 }', r"target = 0\.0.*> 0\.0"),
    (FROZEN, '{ kind = "rollout", corruption = { noise = 1.0 } }', "set input_noise"),
]


@pytest.mark.parametrize(("old", "new", "said"), REFUSED)
def test_contradictions_are_refused_in_one_line(
    old: str, new: str, said: str, tmp_path: Path, tiny_trace: Trace
) -> None:
    """Each contradiction between model, losses and corruption gives one line with a remedy."""
    text = MODEL.replace("[model]", "[model]\nvariational = true") + JOINT
    assert old in text
    with pytest.raises((SpecError, ScheduleError, ConfigError), match=said) as refused:
        begin(parse_config(text.replace(old, new)), tiny_trace, tmp_path / "run")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("member", ["variational", "undercomplete"])
def test_the_old_spelling_is_named_in_one_line(
    member: str, tmp_path: Path, tiny_trace: Trace, caplog: pytest.LogCaptureFixture
) -> None:
    """A training with `variational = true` says once what to write for sampled futures; any other says nothing."""
    begin(config_of(member), tiny_trace, tmp_path / "run")
    said = [line for line in caplog.messages if 'distribution = "variational"' in line]
    assert len(said) == (member == "variational")
    assert not any("\n" in line for line in said)


def test_a_variational_code_needs_an_encoder() -> None:
    """A variational model without an encoder is refused by the specification itself."""
    with pytest.raises(SpecError, match="has no encoder"):
        make_spec("lstm-tdl", variational=True)


def test_a_variational_model_must_train_its_layer() -> None:
    """A schedule that never trains log_variance is refused for a variational model."""
    with pytest.raises(ScheduleError, match="no stage trains log_variance"):
        resolve(preset("two-stage"), make_spec(variational=True))


def test_a_member_without_an_encoder_is_refused() -> None:
    """A family preset on a variant without encoder names the missing groups instead of skipping the stages."""
    with pytest.raises(ScheduleError, match="has no encoder"):
        resolve(preset("sparse"), make_spec("lstm-tdl"))
