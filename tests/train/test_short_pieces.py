"""Test that pieces of any length end in a model, or in one line: training, export's calibration, evaluation, report."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.robots import TINY, plant

from rtsysid.config import Config, parse_config
from rtsysid.errors import RtsysidError, TraceError
from rtsysid.evaluation.calibrate import HeldOut, calibrate_predictor, calibration_notes
from rtsysid.evaluation.horizon import evaluate
from rtsysid.evaluation.report.observed import observe
from rtsysid.evaluation.residuals import one_step
from rtsysid.model.bundle import Bundle
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.train.fit import begin, prepare_recordings
from rtsysid.train.loop import poor_loss
from rtsysid.train.run import Run

LONG = plant(1, 500, seed=3).episodes[0]
CONFIG = parse_config(TINY)


def quick(taps: int, horizon: int, warmup: int = 4, linear_path: bool = True) -> Config:
    """The tiny configuration with other lengths, and one epoch per stage."""
    stages = tuple(
        msgspec.structs.replace(
            stage,
            epochs=1,
            loss=tuple(msgspec.structs.replace(loss, horizon=horizon) for loss in stage.loss),
        )
        for stage in CONFIG.stage
    )
    model = msgspec.structs.replace(CONFIG.model, taps=taps, warmup=warmup, linear_path=linear_path)
    data = msgspec.structs.replace(CONFIG.data, nan="split")
    return msgspec.structs.replace(CONFIG, model=model, data=data, stage=stages)


def cut(lengths: list[int], nans: list[int] = []) -> Trace:  # noqa: B006 - it is only read
    """Recordings of these lengths, from one long one, some with a row that is not finite."""
    episodes = []
    for k, rows in enumerate(lengths):
        values = LONG.values[k * 7 : k * 7 + rows].copy()
        values[[row for row in nans if row < rows]] = np.nan
        episodes.append(Episode(f"run{k}", LONG.t[:rows], values))
    return Trace(CONFIG.data.channels, tuple(each for each in episodes if len(each)))


@contextmanager
def one_line_or_success() -> Iterator[None]:
    """Accept an error of the project that is one line, and no other."""
    try:
        yield
    except RtsysidError as error:
        lines = str(error).count("\n") + 1
        assert lines == 1


def rows() -> st.SearchStrategy[list[int]]:
    return st.lists(st.one_of(st.integers(1, 200), st.integers(10, 40)), min_size=1, max_size=6)


@settings(max_examples=15)
@given(rows(), st.lists(st.integers(0, 199), max_size=2), st.integers(1, 24), st.integers(1, 40), st.integers(0, 5))
@example([30, 200, 200], [], 5, 6, 4)
@example([200, 200, 15], [], 5, 6, 4)
@example([16, 16], [], 5, 6, 4)
@example([15, 15], [], 5, 6, 4)
@example([11, 200, 11], [], 1, 10, 0)
def test_training_ends_in_a_model_or_in_one_line(
    lengths: list[int], nans: list[int], taps: int, horizon: int, warmup: int
) -> None:
    """Whatever the lengths of the pieces, taps, warm-up and horizon: a trained model, or an error of the project."""
    with tempfile.TemporaryDirectory() as folder, one_line_or_success():
        trainer = begin(quick(taps, horizon, warmup), cut(lengths, nans), Path(folder) / "run")
        assert np.isfinite([epoch.validation for epoch in trainer.epochs()]).all()
        used = sum(map(len, prepare_recordings(quick(taps, horizon, warmup), cut(lengths, nans)).train))
        assert 0 < used <= sum(lengths)


def test_an_aborted_recording_changes_nothing_but_a_note(tmp_path: Path) -> None:
    """A recording that is too short leaves the split, the scaling and the rows as they are without it."""
    with_it, without = (
        prepare_recordings(quick(5, 6), cut([200, 200, 9])),
        prepare_recordings(quick(5, 6), cut([200, 200])),
    )
    assert with_it.spec == without.spec
    assert [len(each) for each in with_it.train] == [len(each) for each in without.train]
    (note,) = with_it.notes
    assert note.line.startswith("training: 1 piece, 9 rows left out: shorter than")
    assert not without.notes


def test_a_piece_of_use_to_one_stage_is_used_there_and_said() -> None:
    """Where stages need different lengths, a note names the stage and what it leaves out."""
    config = quick(5, 6)
    longer = msgspec.structs.replace(
        config.stage[1], loss=(msgspec.structs.replace(config.stage[1].loss[0], horizon=60),)
    )
    prepared = prepare_recordings(msgspec.structs.replace(config, stage=(config.stage[0], longer)), cut([50, 200, 200]))
    assert [len(each) for each in prepared.train] == [50, 200]
    assert ["stage 'frozen encoder'" in note.line for note in prepared.notes] == [True]


@settings(max_examples=15)
@given(rows(), st.lists(st.integers(0, 199), max_size=2), st.integers(1, 60), st.integers(1, 9))
@example([30, 200], [], 50, 7)
@example([10, 10], [], 1, 1)
@example([11], [], 1, 9)
def test_evaluation_ends_in_figures_or_in_one_line(
    bundle_folder: Path, lengths: list[int], nans: list[int], horizon: int, stride: int
) -> None:
    """Whatever the lengths of the pieces: errors per horizon, residuals and a calibration, or one line."""
    bundle = Bundle.open(bundle_folder)
    trace = cut(lengths, nans)
    predictor = Predictor.load(bundle, "numpy", check=False)
    with one_line_or_success():
        whole = trace.segments(50, nan="split")
        assert evaluate(bundle, trace, horizon, stride, "numpy").forecasts > 0
        one_step(predictor, whole.episodes)
        observe(bundle, trace, horizon, stride)
    pieces = trace.segments(50, nan="split", allow_none=True).episodes
    with one_line_or_success():
        episodes = [HeldOut(each.values, each.values) for each in pieces]
        _, intervals = calibrate_predictor(predictor, episodes, "pieces", horizon=horizon)
        assert 1 <= intervals.horizon <= horizon
        assert all(note.rows < sum(lengths) for note in calibration_notes(predictor, episodes, horizon))


def test_an_export_states_why_it_is_not_calibrated(run_folder: Path, tmp_path: Path) -> None:
    """The reason is the true one: too short a validation part, trained on it, or none kept."""
    import shutil

    from export.calibration import calibration_of
    from rtsysid.train.run import state_arrays

    run = Run(shutil.copytree(run_folder, tmp_path / "run"))
    weights = state_arrays(run.weights())
    short = {"true": LONG.values[:12], "rows": np.array([6, 6])}
    run.save_arrays("validation.npz", short)
    with pytest.raises(TraceError, match="the longest of 2 pieces without a gap has 6 rows, 10 are needed"):
        calibration_of(run.result(), weights)
    (run.folder / "validation.npz").unlink()
    with pytest.raises(TraceError, match="kept no validation part"):
        calibration_of(run.result(), weights)


@pytest.mark.parametrize("loss", [1e9, float("inf"), float("nan")])
def test_a_hopeless_loss_is_said(loss: float) -> None:
    """A validation loss that no usable model has deserves a line."""
    assert "of no use (the linear model has 1)" in poor_loss(loss)


def test_a_loss_above_that_of_the_linear_model_is_said() -> None:
    """A loss is compared with that of the linear model, and what the check found comes first among the reasons."""
    assert poor_loss(0.5) == poor_loss(1.9, linear=2.0) == poor_loss(30.0, linear=float("inf")) == ""
    line = poor_loss(1.1, likely=["vx: sign flip"])
    assert "WORSE THAN THE LINEAR MODEL (the linear model has 1); likely reasons: vx: sign flip" in line
