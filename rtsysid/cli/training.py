"""Train under the eyes of a user: progress, what was chosen, and how the training ended."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rtsysid.cli import check, console
from rtsysid.cli.progress import duration_text

if TYPE_CHECKING:
    from rtsysid.config import Config
    from rtsysid.recordings.trace import Trace
    from rtsysid.train.auto.trainer import AutoTrainer
    from rtsysid.train.loop import Epoch, Trainer
    from rtsysid.train.outcome import TrainingEnd

BETWEEN = 3.0  # seconds between two lines of a default training


def read_resolved_config(config: Config, paths: Sequence[Path]) -> tuple[Config, Trace]:
    """Read the recordings; return the configuration with what alignment chose. Raises the errors of reading."""
    from rtsysid.recordings.reading import read_resolved

    data, trace = read_resolved(paths, config.data)
    return msgspec.structs.replace(config, data=data), trace


def train_to_end(
    config: Config,
    data: Sequence[Path],
    out: Path,
    text: str,
    *,
    restart: bool = False,
    linear: bool = False,
    minutes: float | None = None,
    force: bool | None = None,
) -> dict[str, Any]:
    """Train to the end and show the progress; return the last epoch, if any, and notes on the recordings.

    ``finished_before``: there was nothing to train. `force`: train in spite of grave findings; None: no check. Raises
    the errors of `rtsysid.train.fit.begin`.
    """
    from rtsysid.recordings.pieces import texts

    config, recordings = read_resolved_config(config, data)
    unchecked = force is None or (out / "run.json").exists()
    likely = [] if unchecked else check.before_training(data, config, recordings, bool(force))
    console.stage("loading torch")
    from rtsysid.train.auto.trainer import AutoTrainer
    from rtsysid.train.fit import begin

    trainer = begin(config, recordings, out, text, restart=restart, linear=linear, minutes=minutes)
    console.notes(trainer.notes)
    finished_before = trainer.run.complete and not restart
    if trainer.done and not finished_before:
        console.say(f"continuing the run in {out}: {trainer.done} of {trainer.total} epochs were done before")
    last = _show_default(trainer) if isinstance(trainer, AutoTrainer) else _show_epochs(trainer, likely)
    return {**last, "notes": texts(trainer.notes), "finished_before": finished_before}


def show_outcome(outcome: TrainingEnd, seconds: float) -> None:
    """Print the epoch that was kept, the time, and the errors next to hold and the linear model."""
    console.report({"kept": outcome.kept, "time": duration_text(seconds)}, False)
    if outcome.evaluation is not None:
        console.echo("on the validation recordings:")
        console.block(console.evaluation(outcome.evaluation))


def data_text(data: Sequence[Path]) -> str:
    """Write recordings as a user would: many files of one folder as a pattern."""
    if len(data) > 3 and len({(path.parent, path.suffix) for path in data}) == 1:
        return f"{shlex.quote(str(data[0].parent))}/*{data[0].suffix}"
    return " ".join(shlex.quote(str(path)) for path in data)


def _show_epochs(trainer: Trainer, likely: Sequence[str]) -> dict[str, Any]:
    """Show the epochs of a schedule by a progress bar; return the last one."""
    from rtsysid.train.loop import linear_loss, poor_loss

    last: dict[str, Any] = {}
    reached: list[float] = []  # in the last stage
    with console.progress(trainer.total, "training: epoch") as bar:
        bar.update(trainer.done)
        for epoch in trainer.epochs():
            before = last.get("stage", epoch.stage)
            if before != epoch.stage and last["epoch"] < last["epochs"]:
                console.say(f"stage {before} stopped early, at epoch {last['epoch']} of {last['epochs']}")
                bar.update(last["epochs"] - last["epoch"])
            reached = [*(reached if before == epoch.stage else []), epoch.validation]
            last = vars(epoch)
            bar.update(1, f"stage {epoch.stage} {epoch.epoch}/{epoch.epochs}, loss {epoch.validation:.3f}")
    if last and (warning := poor_loss(min(reached), linear_loss(trainer.stages[-1]), likely)):
        console.echo(warning, err=True, colour="yellow")
    return last


def _show_default(trainer: AutoTrainer) -> dict[str, Any]:
    """Print what a default training finds, line by line; return the last epoch of the network that judges.

    An interrupt keeps the best network so far.
    """
    console.say(*trainer.findings())
    last: dict[str, Any] = {}
    try:
        for epoch, line in _timed(trainer):
            last = vars(epoch)
            console.say(*([line] if line else []))
    except KeyboardInterrupt:
        if trainer.keep_best():
            console.say("stopped: the run holds the best so far", *trainer.conclusions())
            console.say(f"next: rtsysid export {trainer.run.folder} -o BUNDLE")
        raise
    console.say(*trainer.conclusions())
    return last


def _timed(trainer: AutoTrainer) -> Iterator[tuple[Epoch, str]]:
    """Yield each epoch, with a line where one is due: time left, and error of the judge by ticks ahead.

    Between two lines lie `BETWEEN` seconds or more.
    """
    first = shown = time.monotonic()
    left = trainer.total - trainer.done
    for count, epoch in enumerate(trainer.epochs()):
        now = time.monotonic()
        first = first if count else now  # the short runs come before the first epoch
        console.stage("training: epoch", count + 1, left)
        seconds = (now - first) / max(count, 1) * max(0, left - count - 1)
        line = f"{_time_left(seconds):>21}   {'  '.join(f'{each:5.3f}' for each in epoch.ahead)}"
        due = now - shown > BETWEEN and bool(epoch.ahead)
        shown = now if due else shown
        yield epoch, line if due else ""


def _time_left(seconds: float) -> str:
    return f"about {duration_text(seconds)} left" if seconds else ""
