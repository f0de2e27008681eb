"""Test that recordings and configurations of every kind end in a model or in one line, and prove nothing wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.robots import DATA_ALONE, plant

from rtsysid.config import parse_config
from rtsysid.errors import RtsysidError
from rtsysid.evaluation.linear import choice
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Floats
from rtsysid.train.auto import plan
from rtsysid.train.auto.begin import begin_auto
from rtsysid.train.auto.trainer import AutoTrainer, Updates
from rtsysid.train.run import Run

LONG = [episode.values for episode in plant(4, 300, seed=3).episodes]
ROWS = 110  # of a recording, unless said otherwise


@pytest.fixture(autouse=True)
def few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose among four linear maps in place of twenty: what is tested here does not depend on which is the best."""
    monkeypatch.setattr(plan, "LAGS", (2, 10))
    monkeypatch.setattr(choice, "RIDGES", (1e-8, 1e-3))


def cut(*lengths: int) -> list[Floats]:
    """Recordings of these lengths."""
    return [values[:rows].copy() for values, rows in zip(LONG * 2, lengths, strict=False)]


def changed(column: int, change: Any) -> list[Floats]:
    """Three recordings with one channel that is a function of the rows."""
    made = cut(ROWS, ROWS, ROWS)
    for values in made:
        values[:, column] = change(values)
    return made


def with_nans(*rows: int) -> list[Floats]:
    made = cut(ROWS + 40, ROWS + 40, ROWS + 40)
    for values in made:
        values[list(rows), 1] = np.nan
    return made


def scales(*factors: float) -> list[Floats]:
    return [(values * (1.0, *factors)).astype(np.float32) for values in cut(ROWS, ROWS, ROWS)]


def walks(width: int = 3) -> list[Floats]:
    rng = np.random.default_rng(0)
    return [np.cumsum(rng.standard_normal((ROWS, width)), 0).astype(np.float32) for _ in range(3)]


def turning(values: Floats) -> Floats:
    """An angle in rad that comes back after a turn."""
    return (np.cumsum(values[:, 2]) * 0.2 + np.pi) % (2 * np.pi) - np.pi


def trainer_of(folder: Path, values: list[Floats], said: str = "", **asked: Any) -> AutoTrainer:
    """Begin a default training of these recordings; `said`: further lines of the configuration, of [data] first."""
    text = DATA_ALONE.partition("[data.groups]")[0] + said
    if "angles" in said:
        text = text.replace("y [m]", "y [rad]")
    config = parse_config(text)
    episodes = (Episode(f"run{k}", np.arange(len(each)) / 50, each) for k, each in enumerate(values))
    trace = Trace(config.data.channels, tuple(episodes))
    return begin_auto(config, trace, folder / "run", text, updates=Updates(1, 1), **asked)


MODELS: dict[str, tuple[list[Floats], str]] = {
    "two recordings": (cut(ROWS, ROWS), ""),
    "one recording": (cut(300), ""),
    "200 rows": (cut(200), ""),
    "200 rows in four": (cut(50, 50, 50, 50), ""),
    "the shortest": (cut(8, 8, 8), ""),
    "an output that is a copy of an input": (changed(2, lambda rows: rows[:, 0]), ""),
    "two equal outputs": (changed(2, lambda rows: rows[:, 1]), ""),
    "an output far from 0": (changed(1, lambda rows: rows[:, 1] + 1e5), ""),
    "an output that explodes": (changed(1, lambda rows: 1e-3 * np.exp(np.arange(len(rows)) * 0.2)), ""),
    "an output of two values": (changed(2, lambda rows: (rows[:, 1] > 0.1).astype(float)), ""),
    "scales of 1e-6 and 1e6": (scales(1e-6, 1e6), ""),
    "random walks": (walks(), ""),
    "short recordings among long ones": (cut(ROWS, ROWS, 20, ROWS, 3), ""),
    "a short recording at the end": (cut(ROWS, ROWS, ROWS, 20), ""),
    "a short recording that validates": (cut(ROWS, ROWS, 20), 'validation = ["run2"]'),
    "short recordings that train": (cut(20, 20, ROWS), 'validation = ["run2"]'),
    "NaN": (with_nans(30, 31, 140), 'nan = "split"'),
    "NaN everywhere": (with_nans(*range(0, 150, 20)), 'nan = "split"'),
    "an angle": (changed(1, turning), 'angles = ["y"]'),
    "an angle that is found": (changed(1, turning), ""),
    "feedthrough": (cut(ROWS, ROWS, ROWS), "feedthrough = true"),
    "resampled": (cut(ROWS, ROWS, ROWS), "resample = true"),
    "no feedback": (cut(ROWS, ROWS, ROWS), "[model]\nfeedback = false"),
    "some feedback": (cut(ROWS, ROWS, ROWS), '[model]\nfeedback = ["v"]'),
    "absolute": (cut(ROWS, ROWS, ROWS), '[model]\noutput = "absolute"'),
    "integrate": (cut(ROWS, ROWS, ROWS), '[model]\nintegrate = [["y", "v"]]'),
    "friction": (cut(ROWS, ROWS, ROWS), '[model]\nfriction = [["v", 1e-3]]'),
    "degree": (cut(ROWS, ROWS, ROWS), "[model]\ndegree = 2"),
    "one tap": (cut(ROWS, ROWS, ROWS), "[model]\ntaps = 1"),
    "many taps": (cut(ROWS, ROWS, ROWS), "[model]\ntaps = 60"),
    "a warm-up": (cut(ROWS, ROWS, ROWS), "[model]\nwarmup = 60"),
    "ages": (cut(ROWS, ROWS, ROWS), "[model]\nnear_ticks = 5\nage_bands = [3]"),
    "an encoder that sees one row": (cut(ROWS, ROWS, ROWS), "[model]\nencoder_taps = 1"),
    "a long encoder": (cut(ROWS, ROWS, ROWS), "[model]\nencoder_taps = 30"),
    "a relative output": (cut(ROWS, ROWS, ROWS), '[model]\nrelative = ["y"]'),
}
REFUSED: dict[str, tuple[list[Floats], str, str]] = {
    "a constant output": (changed(2, lambda rows: 1.5), "", "channel v: always 1.5"),
    "an input that never moves": (changed(0, lambda rows: 0.0), "", "channel u: always 0"),
    "three rows": (cut(3, 3, 3), "", "3 rows, 8 are needed"),
    "one row": (cut(1, 1), "", "no segment of 2 rows"),
    "all recordings validate": (cut(ROWS, ROWS), 'validation = ["*"]', "takes 2 of 2"),
    "none validates": (cut(ROWS, ROWS), 'validation = ["other*"]', "no recording is named"),
    "NaN that nobody allowed": (with_nans(30), "", "not finite"),
    "nothing but NaN": (with_nans(*range(150)), 'nan = "split"', "no segment"),
    "taps that nothing has": (cut(ROWS, ROWS), "[model]\ntaps = 400", "402 are needed"),
    "a warm-up that nothing has": (cut(ROWS, ROWS), "[model]\nwarmup = 400", "404 are needed"),
    "no linear path": (cut(ROWS, ROWS), "[model]\nlinear_path = false", "model.linear_path: false"),
    "no gains": (cut(ROWS, ROWS), "[model]\nage_bands = []", r"model.age_bands: \[\]"),
    "noise of sensors": (cut(ROWS, ROWS), "[train.sensor_noise]\nrepeat = 0.1", "train.sensor_noise: said"),
    "cold starts": (cut(ROWS, ROWS), "[train]\nhistory = false", "train.history: said"),
    "a variational code": (cut(ROWS, ROWS), "[model]\nvariational = true", "model.variational: true"),
    "an unknown relative output": (cut(ROWS, ROWS), '[model]\nrelative = ["w"]', "relative: w"),
    "a rollout without a unit": (
        cut(ROWS, ROWS),
        '[train]\npreset = "auto"\n[[stage]]\nname="s"\ntrain = ["cell"]\nloss = [{ kind = "rollout", horizon = 80 }]',
        "80 ticks, and errors of the linear model for 50",
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_recordings_of_every_kind_give_a_model(name: str, tmp_path: Path) -> None:
    """The linear model of the run is finite, forecasts, and states what to expect."""
    values, said = MODELS[name]
    trainer = trainer_of(tmp_path, values, said, linear=True)
    assert list(trainer.epochs()) == []
    result = Run(tmp_path / "run").result()
    assert all(bool(weight.isfinite().all()) for weight in result.weights.values())
    assert trainer.plan is not None
    assert np.isfinite(trainer.plan.choice.judged.errors).all()
    assert trainer.plan.spec.settling_samples + trainer.plan.horizon <= max(map(len, values))
    assert trainer.run.expected().groups.keys() == {"y", "v"}


@pytest.mark.parametrize("name", REFUSED)
def test_what_gives_no_model_gives_one_line(name: str, tmp_path: Path) -> None:
    """What, found and remedy in one line, before anything is written."""
    values, said, line = REFUSED[name]
    with pytest.raises(RtsysidError, match=line) as refusal:
        list(trainer_of(tmp_path, values, said).epochs())
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "run" / "run.json").exists()


def test_short_recordings_are_left_out_with_a_note(tmp_path: Path) -> None:
    """Recordings without a forecast are left out and counted; a longer one may serve the linear model alone."""
    trainer = trainer_of(tmp_path, cut(ROWS, ROWS, 20, 70, ROWS, 3), linear=True)
    notes = [note.line for note in trainer.notes]
    assert list(trainer.epochs()) == []
    assert notes == [
        "training: 2 pieces, 23 rows left out: shorter than 51 rows without a gap",
        "the network, but not the linear model: 1 piece, 70 rows left out: shorter than 100 rows without a gap",
    ]


def test_short_recordings_of_a_pattern_are_left_out_with_a_note(tmp_path: Path) -> None:
    """Where the file says which recordings validate, those without a forecast are left out of both parts."""
    trainer = trainer_of(tmp_path, cut(ROWS, ROWS, 20, 30), 'validation = ["run1", "run3"]', linear=True)
    assert list(trainer.epochs()) == []
    assert [note.line for note in trainer.notes] == [
        f"{part}: 1 piece, {rows} rows left out: shorter than 51 rows without a gap"
        for part, rows in (("training", 20), ("validation", 30))
    ]
    assert list(map(len, trainer.parts.every)) == [ROWS, ROWS]


def test_the_network_trains_on_two_recordings(tmp_path: Path) -> None:
    """The whole training ends; of one validation recording with a dozen forecasts nothing is called better."""
    trainer = trainer_of(tmp_path, cut(ROWS, ROWS))
    assert len(list(trainer.epochs())) == trainer.total
    assert not trainer.run.weights()["head_gain"].any()
    assert any("the network adds nothing for v" in line for line in trainer.conclusions())
