"""Train under the eyes of a user: a check before it, its progress, and how it ended."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rtsysid.cli import check, console
from rtsysid.guards.stages import duration_text

if TYPE_CHECKING:
    from rtsysid.config import Config
    from rtsysid.recordings.trace import Trace
    from rtsysid.train.outcome import TrainingEnd


def read_resolved_config(config: Config, paths: Sequence[Path]) -> tuple[Config, Trace]:
    """Read the recordings; return the configuration with what alignment chose. Raises the errors of reading."""
    from rtsysid.recordings.reading import read_resolved

    data, trace = read_resolved(paths, config.data)
    return msgspec.structs.replace(config, data=data), trace


def train_paths(
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
    """Read recordings, and train to the end; return the last epoch, if any, and notes on the recordings.

    ``finished_before``: there was nothing to train. `force`: train in spite of grave findings; None: no check. Raises
    the errors of `rtsysid.train.fit.begin`.
    """
    from rtsysid.recordings.pieces import texts

    config, recordings = read_resolved_config(config, data)
    unchecked = force is None or (out / "run.json").exists()
    likely = [] if unchecked else check.before_training(data, config, recordings, bool(force))
    console.stage("loading torch")
    from rtsysid.train.run import Run
    from rtsysid.train.to_end import train_to_end

    try:
        done = train_to_end(
            config, recordings, out, text, restart=restart, linear=linear, minutes=minutes, likely=likely
        )
    except KeyboardInterrupt:
        if Run(out).complete:  # a default training keeps the best so far
            console.say(f"next: rtsysid export {shlex.quote(str(out))} -o BUNDLE")
        raise
    return {**done.last, "notes": texts(done.notes), "finished_before": done.finished_before}


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
