"""Samples that a board captured are samples received and counted losses, exactly, whatever the line does."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
from support.counting_board import FAULTS, Cable, CountingBoard
from support.fake_board import STEP_S

from firmware_bridge.conversation import Conversation, LinkState
from firmware_bridge.peer import Requirements

STEPS = 500


class Trial:
    """A host and a counting board, the cable between them, and what else goes wrong."""

    def __init__(self, seed: int, faults: Sequence[object]) -> None:
        self.chance, self.now_s = random.Random(seed), 10.0
        self.board, self.talk = CountingBoard(), Conversation(Requirements())
        self.board.started_s = 3.0
        self.cable, self.fed = Cable(self.chance, faults, share=0.1), 0
        self.talk.open(self.now_s)

    def step(self, carry: Callable[[bytes], bytes]) -> None:
        said = b"".join(self.talk.encoder.encode(each, round(self.now_s * 1e6)) for each in self.talk.due(self.now_s))
        self.board.receive(said, self.now_s + STEP_S / 2)
        data = carry(self.board.poll(self.now_s + STEP_S / 2))
        self.now_s += STEP_S
        self.fed += len(self.talk.feed(data, self.now_s))

    def unplug(self) -> None:
        """Pull the cable, for no time or for long."""
        self.talk.lose("the cable")
        self.board.poll(self.now_s)
        self.now_s += self.chance.choice((0.0, self.chance.uniform(0, 2)))
        self.board.poll(self.now_s)
        self.talk.open(self.now_s)

    def restart(self) -> None:
        """Reset the board, perhaps in the middle of a frame."""
        half = self.board.poll(self.now_s)
        self.board.boot(self.now_s, self.board.ack["boot_id"] + 1)
        self.board.out = half[: self.chance.randrange(len(half) + 1)] + self.board.out

    def run(self, upsets: Sequence[Callable[[], None]]) -> None:
        for _ in range(STEPS):
            self.step(self.cable.carry)
            if (upsets and self.chance.random() < 0.005) or self.talk.state is LinkState.LOST:
                self.chance.choice(tuple(upsets) or (self.unplug,))()
            if self.talk.state is LinkState.LOST:
                self.unplug()
        fed = self.fed
        self.step(lambda data: b"".join(self.cable.waiting) + data)
        while self.fed < fed + 5:  # a stream that is back: else its end would be unknown
            self.step(bytes)
        self.talk.close(self.now_s)
        while self.talk.state is LinkState.STOPPING:
            self.step(bytes)

    def accounted(self) -> int:
        intake, lost = self.talk.intake, self.talk.intake.losses
        assert intake.samples == self.fed
        assert 0 <= lost.at_start + lost.at_end <= lost.gaps
        return intake.samples + intake.refused + lost.gaps - lost.paused


@pytest.mark.parametrize("faults", [(), *([each] for each in FAULTS), FAULTS], ids=lambda faults: str(len(faults)))
def test_what_a_line_does_is_counted_exactly(faults: Sequence[object]) -> None:
    """Frames lost, repeated at once or later, exchanged, flipped and cut, alone and together; a cable that is pulled.
    Over all streams of the boot every sample that the board captured was fed once, or is counted."""
    for seed in range(6):
        trial = Trial(seed, faults)
        trial.run([trial.unplug] if seed % 2 else [])
        assert (trial.accounted(), trial.talk.intake.losses.unknown_ends) == (trial.board.captured, 0), seed


def test_what_a_restart_leaves_unknown_is_the_only_thing_unknown() -> None:
    """A board that restarts again and again, also in the middle of a frame: nothing is counted that it did not capture,
    and what is not counted came at the ends that are said to be unknown."""
    for seed in range(6):
        trial = Trial(seed, ())
        trial.run([trial.restart])
        unknown = trial.talk.intake.losses.unknown_ends
        assert trial.accounted() <= trial.board.captured, seed
        assert trial.board.captured - trial.accounted() <= 3 * STEPS * unknown
        assert unknown <= trial.talk.intake.reboots + 1
