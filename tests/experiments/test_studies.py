"""Test the studies of novelty and intervals, on a simulated plant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.robots import plant

from rtsysid.benchmarks.coverage import coverages, own_coverages, unseen_coverages
from rtsysid.benchmarks.faults import FAULTS, SensorFault, broken
from rtsysid.benchmarks.novelty import alarms, false_alarms, fault_detections, subject_calibration, unseen_novelty
from rtsysid.benchmarks.studies import Subject
from rtsysid.evaluation.calibrate import HeldOut, calibrate_predictor, calibration_files
from rtsysid.live.calibration import novelty_scores
from rtsysid.live.novelty import Novelty
from rtsysid.live.session import Session
from rtsysid.model.bundle import Bundle
from rtsysid.model.predictor import Predictor
from rtsysid.spec import Sample


@pytest.fixture
def subject(calibrated_folder: Path) -> Subject:
    """Return the tiny plant. The unseen kind is the same plant at twice the speed."""
    calibration, measured = plant(4, 500, seed=9).episodes, plant(4, 500, seed=21).episodes
    unseen = tuple(e.piece(0, 400, e.name) for e in plant(2, 500, seed=22).episodes)
    for each in unseen:
        each.values[:, 2] *= 2
    return Subject("plant", Bundle.open(calibrated_folder), calibration, measured, unseen)


@given(st.sampled_from(FAULTS), st.integers(1, 19), st.integers(0, 3))
def test_a_fault_begins_where_it_should(fault: SensorFault, start: int, column: int) -> None:
    """Rows before the onset and channels without a fault are unchanged, as is the recording itself."""
    values = np.random.default_rng(0).uniform(1, 2, (20, 4)).astype(np.float32)
    before = values.copy()
    faulty = broken(values, fault, column, (column + 1) % 4, start, 1.0, 10.0)
    np.testing.assert_array_equal(values, before)
    np.testing.assert_array_equal(faulty[:start], values[:start])
    touched = {column, (column + 1) % 4} if fault.kind == "swap" else {column}
    others = [k for k in range(4) if k not in touched]
    np.testing.assert_array_equal(faulty[:, others], values[:, others])


def test_counted_alarms_are_those_of_a_session(subject: Subject) -> None:
    """Counting over scores gives the alarms of live sessions."""
    predictor, calibration = Predictor.load(subject.bundle), subject_calibration(subject).with_rate(600.0)
    counted, live = [], []
    for episode in (*subject.measured, *subject.unseen):
        novelty = Novelty(calibration, predictor)
        session = Session(predictor, novelty=novelty, reject_margin=100.0)
        for k, row in enumerate(episode.values):
            session.feed(Sample(k / 50, row))
        live.append(novelty.alarms)
        counted.append(alarms(calibration, predictor.spec, [novelty_scores(predictor, episode.values)]))
    assert counted == live
    assert sum(live) > 2


def test_the_tables_say_what_is_so(subject: Subject) -> None:
    """A bias of one standard deviation is detected at once in 90 % of cases. Unseen kinds have more novel ticks. Rates
    that the recordings do not support are omitted."""
    detections = {row.fault: row for row in fault_detections(subject, onsets=2)}
    assert detections["bias 1"].noticed >= 0.9 * detections["bias 1"].injected
    assert detections["bias 1"].p50 < 0.1
    like, unlike = unseen_novelty(subject)
    assert unlike.share > 0.2 > 10 * like.share
    rates = [row.nominal for row in false_alarms(subject)]
    assert max(rates) == 60.0
    assert min(rates) > 1.0


def test_coverage_is_measured_on_recordings_left_out(subject: Subject) -> None:
    """Recordings of the training kinds are covered about as stated; recordings of unseen kinds are covered worse."""
    like = {(row.group, row.stated): row.measured[-1] for row in coverages(subject)}
    unlike = {(row.group, row.stated): row.measured[-1] for row in unseen_coverages(subject)}
    assert abs(like["motion", 0.9] - 0.9) < 0.1
    assert unlike["v", 0.9] < like["v", 0.9] - 0.1


def test_coverage_of_a_bundles_own_intervals(subject: Subject, tmp_path: Path) -> None:
    """Held-out recordings are covered about as stated. Intervals ten times as wide cover nearly all errors."""
    episodes = [HeldOut(e.values, e.values) for e in subject.calibration]
    calibration, intervals = calibrate_predictor(Predictor.load(subject.bundle, "numpy"), episodes, "the plant")
    shares = []
    for factor in (1, 10):
        wide = replace(intervals, quantiles=factor * intervals.quantiles)
        bundle = subject.bundle.rewritten(tmp_path / str(factor), calibration_files(calibration, wide))
        rows = own_coverages(replace(subject, bundle=bundle))
        shares.append({(row.group, row.stated): row.measured[-1] for row in rows})
    assert abs(shares[0]["motion", 0.9] - 0.9) < 0.1
    assert shares[1]["motion", 0.9] > 0.99
