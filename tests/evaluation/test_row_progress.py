"""Test that one long recording shows progress: the stages of `evaluate` and of a report count rows, not recordings."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.robots import plant

from rtsysid.evaluation.horizon import evaluate
from rtsysid.evaluation.report.observed import observe
from rtsysid.guards.stages import BLOCK, NAME, RowCount
from rtsysid.model.bundle import Bundle
from rtsysid.recordings.trace import Trace

ROWS = 3 * BLOCK


def counts(caplog: pytest.LogCaptureFixture, label: str) -> list[tuple[int, int]]:
    """How many rows were done, of how many, each time that this stage said so."""
    return [(r.done, r.total) for r in caplog.records if r.name == NAME and r.getMessage() == label]  # type: ignore[attr-defined]


@pytest.mark.torch
@pytest.mark.parametrize(
    ("label", "work"),
    [
        ("evaluating", lambda *given: evaluate(*given, 10, 100)),
        ("judging x", lambda *given: observe(*given, 10, 100, "judging x")),
    ],
)
def test_the_rows_of_one_recording_are_counted(
    bundle_folder: Path, caplog: pytest.LogCaptureFixture, label: str, work: Callable[[Bundle, Trace], object]
) -> None:
    """From 0 to all of its rows in several steps, which never go back."""
    bundle, long = Bundle.open(bundle_folder), plant(1, ROWS)
    with caplog.at_level(logging.INFO, NAME):
        work(bundle, replace(long, channels=bundle.spec.channels))
    done = [each for each, _ in counts(caplog, label)]
    assert {total for _, total in counts(caplog, label)} == {ROWS}
    assert done == sorted(done)
    assert done[0] == 0
    assert done[-1] == ROWS
    assert len({each for each in done if 0 < each < ROWS}) >= 1


def test_a_block_counts_when_the_next_one_begins(caplog: pytest.LogCaptureFixture) -> None:
    """While the last block is under way the stage is not complete: what follows from its rows may take long."""
    rows = np.zeros((2 * BLOCK + 5, 1), np.float32)
    with caplog.at_level(logging.INFO, NAME):
        count = RowCount("rows", len(rows))
        assert sum(1 for _ in count.over(rows)) == len(rows)
        assert counts(caplog, "rows")[-1] == (2 * BLOCK, len(rows))
        count.end()
    assert counts(caplog, "rows")[-1] == (len(rows), len(rows))
