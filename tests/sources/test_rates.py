"""Sources hold 500 Hz with 13 channels: `make soak` runs them for ten minutes, this for two seconds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.integrator import Integrator
from support.rates import RATES, SETTINGS, SPEC, measured

from rtsysid.cli import reproducing
from rtsysid.live.loop import SessionFeeder
from rtsysid.live.reproduce import reproduce
from rtsysid.live.session import Session
from rtsysid.recordings.bag import Bag

SECONDS = float(os.environ.get("RTSYSID_SOAK_SECONDS", "2"))


@pytest.mark.parametrize("name", list(RATES))
@pytest.mark.timeout(SECONDS * 3 + 300)
def test_a_source_holds_500_hz_and_replays(name: str, tmp_path: Path) -> None:
    """Every row that was sent is a sample or a counted gap, none is dropped, and the session replays equal."""
    found = measured(name, SECONDS, tmp_path, path=tmp_path / "f.mcap")
    health = found.health
    assert found.sent == health.samples + health.gaps, health
    assert (health.dropped, health.corrupt, health.refused, health.duplicates, health.jumps) == (0, 0, 0, 0, 0)
    bag = Bag(tmp_path / "f.mcap")
    again = reproduce(bag, reproducing.arrivals_of(bag, SPEC), SessionFeeder(Session(Integrator(SPEC), SETTINGS)))
    assert (again.equal, again.decoded) == (True, health.samples)
    print(f"{name}: {found.sent} sent, {health.gaps} gaps, {len(found.ages)} answered, reader {found.reader:.1%}")
