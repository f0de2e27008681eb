"""Every source: what a bad line loses, doubles and exchanges is counted, bridged as on the wire, and replays equal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.sender import Sender
from support.senders import SENDERS
from support.streams import faulty, live, sending


@pytest.fixture(params=list(SENDERS))
def sender(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sender]:
    made = SENDERS[request.param](tmp_path)
    yield made
    made.close()


def test_losses_duplicates_and_late_samples_are_counted_and_bridged(sender: Sender, tmp_path: Path) -> None:
    """Of a bad line, samples lost, doubled and late are those that were made; short gaps are held, a long one resets,
    nothing else changes an answer, and the recording replays to equal predictions."""
    faults = faulty(300)
    sender.prepare(faults.rows)
    found = live(
        tmp_path / "f.mcap", len(faults.rows), sender.url, lambda source: sending(source, sender, faults.rows),
        **sender.options,
    )  # fmt: skip
    health, statuses = found.health, Counter(found.statuses)
    assert (health.gaps, health.duplicates, health.late) == (faults.lost, faults.twice, faults.late)
    assert health.samples == faults.captured - faults.lost
    assert (health.dropped, health.corrupt, health.refused, health.jumps, health.overflowed) == (0, 0, 0, 0, 0)
    assert statuses["late"] == faults.late
    assert statuses["reset"] == 1
    assert statuses["held"] == 3 + faults.late  # three short gaps, and the ticks of the samples that came late
    assert found.again.equal
    assert found.again.decoded == health.samples
