"""Recordings of no known kind are named, and scored apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.robots import make_spec, plant

from rtsysid.evaluation.probabilistic.evaluate import (
    Deviations,
    evaluate_samples,
    sample_lines,
    scores_of,
    strange_recordings,
)
from rtsysid.model.bundle import Bundle
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Trace


def test_a_recording_mostly_beyond_the_trained_range_is_strange(bundle_folder: Path) -> None:
    """Its share of rows decides, over all its pieces: half of them is not yet strange, and no forecast matters."""
    spec = Bundle.open(bundle_folder).spec
    low, high = (np.asarray(each, np.float32) for each in (spec.scaling.low, spec.scaling.high))
    inside = np.clip(plant(1, 100, seed=8).episodes[0].values, low, high)
    outside = inside + 100
    recordings = {"known": [inside], "half": [inside, outside], "strange": [inside[:10], outside]}
    found = strange_recordings(spec, recordings)
    assert found == {"strange": pytest.approx(100 / 110)}


def test_scores_are_given_with_and_without_strange_recordings(bundle_folder: Path) -> None:
    """The scores without are those of the other recordings alone, and a sentence names each that is left out."""
    bundle, flights = Bundle.open(bundle_folder), plant(4, 90, seed=8).episodes
    strange = replace(flights[0], values=flights[0].values + np.float32(100))
    others = Trace(plant(1, 90, seed=8).channels, flights[1:])
    every = Trace(others.channels, (strange, *flights[1:]))
    found, alone = (evaluate_samples(bundle, trace, 10, futures=20) for trace in (every, others))
    assert list(found.strange) == [strange.name]
    assert found.known is not None
    assert found.known.recordings == alone.recordings == found.recordings - 1
    assert f"{strange.name}: 100 % of its rows are beyond the trained range" in sample_lines(found)
    assert (alone.strange, alone.known) == ({}, None)


def test_what_few_recordings_and_futures_that_diverged_say() -> None:
    """A score that is no number is no verdict, and a ratio from three recordings is said to be uncertain."""
    rng = np.random.default_rng(0)
    every = [Deviations(rng.standard_normal((4, 10, 3, 3)), rng.standard_normal((4, 3, 3))) for _ in range(3)]
    predictor = Predictor(make_spec(distribution="gaussian"), None)  # type: ignore[arg-type]
    few = sample_lines(scores_of(predictor, every, 10))
    assert any("3 recordings are few" in line for line in few)
    assert not any("no numbers" in line for line in few)
    every[1].futures[0, 0, 2] = np.inf  # type: ignore[index]
    lines = sample_lines(scores_of(predictor, every, 10))
    assert any("some futures of the model are no numbers" in line for line in lines)
    assert not any("not surely different" in line for line in lines)
    assert not any("are few" in line for line in sample_lines(scores_of(predictor, every * 2, 10)))
