"""Sources hold 500 Hz with 13 channels: `make soak` runs them for ten minutes, this for ten seconds."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from support.integrator import Integrator
from support.rates import RATES, SETTINGS, SPEC, measured

from rtsysid.cli import reproducing
from rtsysid.live.loop import SessionFeeder
from rtsysid.live.reproduce import reproduce
from rtsysid.live.session import Session
from rtsysid.recordings.bag import Bag

SECONDS = float(os.environ.get("RTSYSID_SOAK_SECONDS", "10"))
FAULTS = ("dropped", "corrupt", "refused", "reboots", "duplicates", "jumps", "clock_jumps")


@pytest.mark.slow
@pytest.mark.parametrize("name", list(RATES))
@pytest.mark.timeout(SECONDS * 3 + 300)
def test_a_source_holds_500_hz_and_replays(name: str, tmp_path: Path) -> None:
    """Every row that was sent is a sample or a counted gap, none is dropped, each sample is answered or counted, and
    the session replays equal."""
    found = measured(name, SECONDS, tmp_path, path=tmp_path / "f.mcap")
    health, stats, answered = found.health, found.stats, len(found.ages)
    reported = max(health.gaps, getattr(health, "overflowed", 0))  # a gap in the middle is both
    unreported = found.sent - health.samples - reported
    p99_ms = np.quantile(found.ages, 0.99) * 1e3
    lost = f"{reported} lost and counted, {unreported} lost unreported"
    fed = f"{answered} answered, {stats.skipped} skipped, {stats.undated} undated"
    print(f"\n{name}: {found.sent} sent, {fed}, {lost}, p99 {p99_ms:.2f} ms, reader {found.reader:.1%}")
    assert unreported == 0, health
    assert not {fault: count for fault in FAULTS if (count := getattr(health, fault, 0))}, health
    assert answered + stats.skipped + stats.undated == stats.samples == health.samples
    bag = Bag(tmp_path / "f.mcap")
    again = reproduce(bag, reproducing.arrivals_of(bag, SPEC), SessionFeeder(Session(Integrator(SPEC), SETTINGS)))
    assert (again.equal, again.decoded) == (True, health.samples)
    print(f"{name}: {again.predictions.compared} predictions replayed, equal: {again.equal}")
