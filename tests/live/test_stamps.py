"""Test that a session says once, in words, what is wrong with the times of a stream."""

import logging

import numpy as np
import pytest
from support.integrator import Integrator, plant_spec

from rtsysid.live.session import Session
from rtsysid.live.stamps import StampWatch
from rtsysid.spec import Sample, SpecError


def remark_of(times, caplog) -> tuple[str, int]:
    session = Session(Integrator(), novelty=None)
    with caplog.at_level(logging.WARNING):
        for t in times:
            session.feed(Sample(float(t), np.zeros(3, np.float32)))
    return session.stamps.remark, len(caplog.records)


K = np.arange(400)
STREAMS = {
    "nanoseconds": (K * 1e7, "the times look like nanoseconds: give seconds"),
    "microseconds": (K * 1e4, "the times look like microseconds"),
    "milliseconds": (K * 10.0, "the times look like milliseconds"),
    "half the rate": (K * 0.02, "samples come at 50 Hz, and the model wants 100 Hz: align them"),
    "twice the rate": (K * 0.005, "samples come at 200 Hz, and the model wants 100 Hz: align them"),
    "jitter": (K * 0.01 + np.random.default_rng(0).normal(0, 0.004, 400), "of the intervals are not one tick of 10 ms"),
}


@pytest.mark.parametrize("stream", STREAMS)
def test_wrong_times_are_said_once_in_words(stream, caplog):
    """Another unit, another rate and jitter have words of their own, in one line of the log."""
    times, words = STREAMS[stream]
    remark, lines = remark_of(times, caplog)
    assert words in remark
    assert lines == 1


@pytest.mark.parametrize("times", [K * 0.01, np.delete(K, range(50, 400, 40)) * 0.01, [0.0, 50.0, 50.01]])
def test_good_times_and_a_few_gaps_are_no_reason(times, caplog):
    """An even stream, rare gaps, and one long pause leave the log empty."""
    assert remark_of(times, caplog) == ("", 0)


def test_stamps_that_are_not_finite_are_passed_over():
    """A stamp that is not finite is counted elsewhere."""
    watch = StampWatch(100.0)
    for k in range(100):
        watch.add(float("nan"), k)
    assert watch.remark == ""


def test_a_sample_by_name():
    """Values by name come into the order of the channels; the time is among them or given apart."""
    spec = plant_spec()
    assert spec.sample({"x": 2.0, "u": 1.0, "v": 3.0}, 0.5).values.tolist() == [1.0, 2.0, 3.0]
    assert spec.sample({"x": 2.0, "t": 0.25, "u": 1.0, "v": 3.0}).t == 0.25


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"u": 1.0, "x": 1.0, "t": 0.0}, "missing v"),
        ({"u": 1, "x": 2, "v": 3, "z": 4, "t": 0.0}, "unknown z"),
        ({"u": 1, "x": 2, "v": 3}, "no time"),
    ],
)
def test_a_sample_that_lacks_something(values, words):
    """A missing channel, an unknown name and a missing time are one line."""
    with pytest.raises(SpecError, match=words):
        plant_spec().sample(values)
