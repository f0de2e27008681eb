"""Train to the end, for a command and for `rtsysid.fit` alike: progress as stages, what is found as log lines."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rtsysid.config import Config
from rtsysid.guards.stages import duration_text, say_stage
from rtsysid.recordings.pieces import Note
from rtsysid.recordings.trace import Trace
from rtsysid.train.auto.trainer import AutoTrainer
from rtsysid.train.fit import begin
from rtsysid.train.loop import Epoch, Trainer, linear_loss, poor_loss
from rtsysid.train.run import Run

BETWEEN = 3.0  # seconds between two lines of a default training
_log = logging.getLogger(__name__)


class Trained(NamedTuple):
    """Hold how a training ended. ``last``: its last epoch, by field; empty where none was trained.

    ``notes``: on the recordings. ``finished_before``: there was nothing to train.
    """

    run: Run
    last: dict[str, Any]
    notes: tuple[Note, ...]
    finished_before: bool


def train_to_end(
    config: Config,
    recordings: Trace,
    folder: Path | str,
    text: str = "",
    *,
    restart: bool = False,
    linear: bool = False,
    minutes: float | None = None,
    likely: Sequence[str] = (),
) -> Trained:
    """Begin a run in a folder, or continue the one that is there, and train it to the end.

    `likely`: what a check of the recordings has found, for a warning where the model is poor. An interrupt of a default
    training keeps the best network so far. Raises the errors of `rtsysid.train.fit.begin`.
    """
    say_stage("reading what a training needs")
    trainer = begin(config, recordings, folder, text, restart=restart, linear=linear, minutes=minutes)
    for note in trainer.notes:
        _log.warning("%s", note.line)
    finished_before = trainer.run.complete and not restart
    if trainer.done and not finished_before:
        _log.info("continuing the run in %s: %d of %d epochs were done before", folder, trainer.done, trainer.total)
    last = _default_training(trainer) if isinstance(trainer, AutoTrainer) else _schedule(trainer, likely)
    return Trained(trainer.run, last, trainer.notes, finished_before)


def _schedule(trainer: Trainer, likely: Sequence[str]) -> dict[str, Any]:
    """Train the stages of a schedule, and count their epochs; return the last one."""
    last: dict[str, Any] = {}
    reached: list[float] = []  # in the last stage
    done = trainer.done
    for epoch in trainer.epochs():
        before = last.get("stage", epoch.stage)
        if before != epoch.stage and last["epoch"] < last["epochs"]:
            _log.info("stage %s stopped early, at epoch %d of %d", before, last["epoch"], last["epochs"])
            done += last["epochs"] - last["epoch"]
        reached = [*(reached if before == epoch.stage else []), epoch.validation]
        last, done = vars(epoch), done + 1
        shown = f"stage {epoch.stage} {epoch.epoch}/{epoch.epochs}, loss {epoch.validation:.3f}"
        say_stage("training: epoch", done, trainer.total, shown)
    if last and (warning := poor_loss(min(reached), linear_loss(trainer.stages[-1]), likely)):
        _log.warning("%s", warning)
    return last


def _default_training(trainer: AutoTrainer) -> dict[str, Any]:
    """Train by default, and log what is found line by line; return the last epoch of the network that judges."""
    _say(trainer.findings())
    last: dict[str, Any] = {}
    try:
        for epoch, line in _timed(trainer):
            last = vars(epoch)
            _say([line] if line else [])
    except KeyboardInterrupt:
        if trainer.keep_best():
            _say(["stopped: the run holds the best so far", *trainer.conclusions()])
        raise
    _say(trainer.conclusions())
    return last


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        _log.info("%s", line)


def _timed(trainer: AutoTrainer) -> Iterator[tuple[Epoch, str]]:
    """Yield each epoch, with a line where one is due: time left, and error of the judge by ticks ahead.

    Between two lines lie `BETWEEN` seconds or more.
    """
    first = shown = time.monotonic()
    done, left = trainer.done, 0
    for count, epoch in enumerate(trainer.epochs()):
        now = time.monotonic()
        if not count:  # the short runs are over, which say how many updates fit into --minutes
            first, left = now, trainer.total - done
        say_stage("training: epoch", count + 1, left)
        seconds = (now - first) / max(count, 1) * max(0, left - count - 1)
        line = f"{_time_left(seconds):>21}   {'  '.join(f'{each:5.3f}' for each in epoch.ahead)}"
        due = now - shown > BETWEEN and bool(epoch.ahead)
        shown = now if due else shown
        yield epoch, line if due else ""


def _time_left(seconds: float) -> str:
    return f"about {duration_text(seconds)} left" if seconds else ""
