"""A recorded session in which bundles took over is computed again, with the sessions that took turns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.integrator import plant_spec
from support.offered_models import Biased, FakeBundle, Watch, arrivals, made, run

from firmware_bridge.recorder import Recorder
from rtsysid.live.feeder import SessionFeeder
from rtsysid.live.reproduce import Reproduction, reproduce
from rtsysid.live.session import Session
from rtsysid.live.succession import Succession, takeovers_in
from rtsysid.live.updates import Newcomer
from rtsysid.recordings.bag import Bag

COUNT, SPEC = 126, plant_spec()
BREAKS_AT = 35  # step at which a model that took over gives no number any more


def old() -> SessionFeeder:
    return SessionFeeder(Session(Biased(0.0015)))


def newer(breaks: bool) -> SessionFeeder:
    return SessionFeeder(Session(Biased(0.001, BREAKS_AT if breaks else 10**9)))


def live(path: Path, batch: int, breaks: bool) -> dict[str, int]:
    """Record a session in which a model takes over; where it breaks, the one before is back. Return the counts."""
    watch = Watch(Newcomer(FakeBundle("new"), newer(breaks).session))  # type: ignore[arg-type]
    with Recorder.open(path, channels=SPEC.channels, outputs=SPEC.outputs) as recorder:
        updates, _ = made(Biased(), watch, recorder=recorder)
        run(updates, old().session, COUNT, batch, recorder)
    return updates.counts


def replayed(path: Path, session_of: Callable[[str], SessionFeeder | None]) -> tuple[Reproduction, Succession]:
    bag = Bag(path)
    succession = Succession(old(), takeovers_in(bag), session_of)
    return reproduce(bag, arrivals(COUNT), succession), succession


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("breaks", [False, True])
def test_a_takeover_replays_to_equal_predictions(tmp_path: Path, batch: int, breaks: bool) -> None:
    """Whether the new model stays or is taken back, and however the samples came, every prediction is that of then."""
    counts = live(tmp_path / "a.mcap", batch, breaks)
    assert counts == {"taken": 1, "refused": 0, "taken back": int(breaks)}
    found, _ = replayed(tmp_path / "a.mcap", lambda _: newer(breaks))
    assert found.equal, found
    assert found.predictions.compared == COUNT


def test_without_the_new_bundle_the_comparison_ends_where_it_took_over(tmp_path: Path) -> None:
    """What the first model answered is compared, the rest is counted, and the bundle that is missing is named."""
    live(tmp_path / "a.mcap", 1, breaks=False)
    found, succession = replayed(tmp_path / "a.mcap", lambda _: None)
    assert succession.ended_by is not None
    assert (succession.ended_by.bundle, succession.ended_by.model) == ("new", "model")
    assert found.predictions.equal
    assert not found.equal
    assert found.predictions.compared == succession.ended_by.last.seq + 1
    assert found.predictions.compared + found.not_compared == COUNT


def test_another_model_in_its_place_is_noticed(tmp_path: Path) -> None:
    """The sessions of a succession are compared to the last bit, from the first answer of the new one on."""
    live(tmp_path / "a.mcap", 1, breaks=False)
    found, _ = replayed(tmp_path / "a.mcap", lambda _: old())
    (taken,) = takeovers_in(Bag(tmp_path / "a.mcap"))
    assert found.predictions.first_tick == taken.last.seq + 1
