"""Test what a comparison trains on and is judged by."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.robots import DATA_ALONE, TINY, plant

from rtsysid.cli.compare import _compared
from rtsysid.config import parse_config
from rtsysid.recordings.trace import Trace


@pytest.mark.parametrize(("text", "trained"), [(DATA_ALONE, 4), (TINY, 5)], ids=["default", "schedule"])
def test_without_test_recordings_nothing_that_trains_is_the_test(text: str, trained: int, tmp_path: Path) -> None:
    """A default training uses all that it is given in its last stage; one by stages keeps its own part."""
    for episode in plant(5, 150).episodes:
        Trace(plant().channels, (episode,)).write(tmp_path / "logs" / f"{episode.name}.csv")
    job = _compared(parse_config(text), (tmp_path / "logs",), ())
    assert len(job.training.episodes) == trained
    assert len(job.test.episodes) == 1
    known = _compared(parse_config(text), (tmp_path / "logs",), (tmp_path / "logs",))
    assert (len(known.training.episodes), len(known.test.episodes)) == (5, 5)
