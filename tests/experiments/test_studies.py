"""The studies of novelty and intervals measure what they say, on a plant made by code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.robots import plant

from rtsysid.benchmarks.coverage import coverages, own_coverages, strange_coverages
from rtsysid.benchmarks.faults import FAULTS, SensorFault, broken
from rtsysid.benchmarks.novelty import alarms, false_alarms, noticing, of, strangeness
from rtsysid.benchmarks.studies import Subject
from rtsysid.evaluation.calibrate import HeldOut, calibrate_predictor, novelty_scores, recalibrated
from rtsysid.live.novelty import Novelty
from rtsysid.live.session import Session
from rtsysid.model.bundle import Bundle
from rtsysid.model.predictor import Predictor
from rtsysid.spec import Sample


@pytest.fixture
def subject(calibrated_folder: Path) -> Subject:
    """The tiny plant; what is unlike it is the same plant, twice as fast."""
    calibration, measured = plant(4, 500, seed=9).episodes, plant(4, 500, seed=21).episodes
    strange = tuple(e.piece(0, 400, e.name) for e in plant(2, 500, seed=22).episodes)
    for each in strange:
        each.values[:, 2] *= 2
    return Subject("plant", Bundle.open(calibrated_folder), calibration, measured, strange)


@given(st.sampled_from(FAULTS), st.integers(1, 19), st.integers(0, 3))
def test_a_fault_begins_where_it_should(fault: SensorFault, start: int, column: int) -> None:
    """Rows before the onset and channels without a fault are as recorded, and the recording itself stays as it was."""
    values = np.random.default_rng(0).uniform(1, 2, (20, 4)).astype(np.float32)
    before = values.copy()
    found = broken(values, fault, column, (column + 1) % 4, start, 1.0, 10.0)
    np.testing.assert_array_equal(values, before)
    np.testing.assert_array_equal(found[:start], values[:start])
    touched = {column, (column + 1) % 4} if fault.kind == "swap" else {column}
    others = [k for k in range(4) if k not in touched]
    np.testing.assert_array_equal(found[:, others], values[:, others])


def test_counted_alarms_are_those_of_a_session(subject: Subject) -> None:
    """Counting over scores gives the alarms that sessions would have raised, one by one."""
    predictor, calibration = Predictor.load(subject.bundle), of(subject).with_rate(600.0)
    counted, live = [], []
    for episode in (*subject.measured, *subject.strange):
        novelty = Novelty(calibration, predictor)
        session = Session(predictor, novelty=novelty, reject_margin=100.0)
        for k, row in enumerate(episode.values):
            session.feed(Sample(k / 50, row))
        live.append(novelty.alarms)
        counted.append(alarms(calibration, predictor.spec, [novelty_scores(predictor, episode.values)]))
    assert counted == live
    assert sum(live) > 2


def test_the_tables_say_what_is_so(subject: Subject) -> None:
    """A jump of a whole spread is noticed nearly always and at once, what is unlike training is more novel than what is
    like it, and rates that the recordings do not support are left out."""
    noticed = {row.fault: row for row in noticing(subject, onsets=2)}
    assert noticed["bias 1"].noticed >= 0.9 * noticed["bias 1"].injected
    assert noticed["bias 1"].p50 < 0.1
    like, unlike = strangeness(subject)
    assert unlike.share > 0.2 > 10 * like.share
    rates = [row.nominal for row in false_alarms(subject)]
    assert max(rates) == 60.0
    assert min(rates) > 1.0


def test_coverage_is_measured_on_recordings_left_out(subject: Subject) -> None:
    """Recordings like the others are covered about as stated; those unlike them are not, and the table shows it."""
    like = {(row.group, row.stated): row.measured[-1] for row in coverages(subject)}
    unlike = {(row.group, row.stated): row.measured[-1] for row in strange_coverages(subject)}
    assert abs(like["motion", 0.9] - 0.9) < 0.1
    assert unlike["v", 0.9] < like["v", 0.9] - 0.1


def test_coverage_of_a_bundles_own_intervals(subject: Subject, tmp_path: Path) -> None:
    """Recordings that the bundle was not calibrated on are covered about as stated; where its errors were taken for ten
    times as large, nearly all of them are."""
    episodes = [HeldOut(e.values, e.values) for e in subject.calibration]
    found, intervals = calibrate_predictor(Predictor.load(subject.bundle, "numpy"), episodes, "the plant")
    shares = []
    for factor in (1, 10):
        wide = replace(intervals, quantiles=factor * intervals.quantiles)
        bundle = recalibrated(subject.bundle, found, wide, tmp_path / str(factor))
        rows = own_coverages(replace(subject, bundle=bundle))
        shares.append({(row.group, row.stated): row.measured[-1] for row in rows})
    assert abs(shares[0]["motion", 0.9] - 0.9) < 0.1
    assert shares[1]["motion", 0.9] > 0.99
