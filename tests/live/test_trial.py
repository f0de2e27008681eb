"""A new model answers only after it has been compared with the running one, and the one before can take back over."""

from __future__ import annotations

import pytest
from support.integrator import GAIN, Integrator, plant_spec
from support.offered_models import Biased, Watch, arrivals, made, run

from rtsysid.live.session import Session
from rtsysid.live.trial import Trial
from rtsysid.live.updates import Note


@pytest.mark.parametrize("batch", [1, 7])
def test_a_good_model_takes_over_between_two_ticks(batch: int) -> None:
    """It settles and is compared on 20 ticks next to the running one, then answers; no answer is a warm-up again."""
    updates, watch = made(Biased(0.001))
    answers = run(updates, Session(Biased(0.0015)), 350, batch)
    assert updates.counts == {"taken": 1, "refused": 0, "taken back": 0}
    assert watch.taken == [("old", "new")]
    assert updates.bundle.id == "new"
    biases = [each.prediction.y[1] - GAIN * each.arrival.sample.values[0] - each.arrival.sample.values[2]
              for each in answers if each.prediction.usable]  # fmt: skip
    change = next(k for k, bias in enumerate(biases) if bias < 0.00125)
    assert 20 <= change <= 40 + 2 * batch
    assert all(bias < 0.00125 for bias in biases[change:])
    usable = [each.prediction.usable for each in answers]
    assert all(usable[usable.index(True) :])
    first, second = updates.events()
    assert "new name of new is verified and on trial" in first
    assert "has taken over, with 0.667 times the error" in second


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        (Biased(0.01), "its error is 2 times that of the running model"),
        (Biased(breaks_at=15), "it diverged"),
        (Biased(breaks_at=1), "it diverged"),
    ],
)
def test_a_bad_model_never_answers(new: Biased, reason: str) -> None:
    """A model that is worse by the margin, or diverges, is refused with the reason; the running one goes on."""
    updates, watch = made(new)
    answers = run(updates, Session(Biased(0.005)), 200)
    assert updates.counts == {"taken": 0, "refused": 1, "taken back": 0}
    assert not watch.taken
    assert reason in updates.events()[-1]
    assert all(each.prediction.usable for each in answers[6:])


def test_a_model_that_never_settles_is_refused() -> None:
    """A model whose answers are of no use, where those of the running one are, does not stay on trial for ever."""
    new = Integrator(warmup=10**6)
    updates, _ = made(new)
    run(updates, Session(Biased()), 200)
    assert updates.counts["refused"] == 1
    assert "were of no use" in updates.events()[-1]


def test_the_one_before_takes_back_over() -> None:
    """A model that diverges in its first seconds hands back to the one before, which has seen every sample."""
    updates, _ = made(Biased(0.001, breaks_at=35))
    answers = run(updates, Session(Biased(0.0015)), 100)
    assert updates.counts == {"taken": 1, "refused": 0, "taken back": 1}
    assert updates.bundle.id == "old"
    assert "diverged; old name of old runs again" in updates.events()[-1]
    lost = [k for k, each in enumerate(answers) if not each.prediction.usable and k > 5]
    assert len(lost) == 1


def test_small_errors_are_no_reason() -> None:
    """Below a thousandth of a standard deviation neither model is better."""
    trial = Trial(plant_spec(), 3, 1.5)
    running, new = Session(Biased(1e-6)), Session(Biased(4e-4))
    verdicts = [trial.add(each.sample, running.feed(each.sample), new.feed(each.sample)) for each in arrivals(20)]
    assert "" in verdicts
    assert trial.ratio == pytest.approx(1.0)


def test_a_gap_is_not_compared() -> None:
    """After missing ticks the prediction was for another tick, and says nothing of the model."""
    trial = Trial(plant_spec(), 100, 1.5)
    running, new = Session(Biased()), Session(Biased(0.3))
    for each in [*arrivals(6), *arrivals(1, 8), *arrivals(1, 11)]:
        assert trial.add(each.sample, running.feed(each.sample), new.feed(each.sample)) is None
    assert trial._compared == 1


def test_refusals_are_told_and_recorded() -> None:
    """What the other process refused is one line, a count, and a note in the recording."""

    class NoteSink:
        notes: list[Note] = []  # noqa: RUF012

        def update(self, note: Note) -> None:
            self.notes.append(note)

    watch = Watch(refused=(Note("refused", "b", "", "update refused: damaged"),))
    updates, _ = made(Biased(), watch, recorder=NoteSink())
    assert updates.events() == ["update refused: damaged"]
    assert updates.counts["refused"] == 1
    assert [note.outcome for note in NoteSink.notes] == ["refused"]
