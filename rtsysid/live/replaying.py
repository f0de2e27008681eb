"""One recording through the live path: its predictions, what happened to its samples, a file, a comparison."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rtsysid.errors import TraceError
from rtsysid.guards.stages import with_progress
from rtsysid.live.predictions import read_predictions, write_predictions
from rtsysid.live.replay import Comparison, Matcher, replay
from rtsysid.live.replay_checks import require_answers
from rtsysid.live.session import Prediction, Session
from rtsysid.recordings.trace import Trace
from rtsysid.spec import Sample

SHOWN = 500  # samples between two messages


class ReplayEnd(NamedTuple):
    """Hold the end of a replay: how many predictions were ``written``, and how they compare; None for not asked."""

    written: int | None
    comparison: Comparison | None


class Replay:
    """Stream samples of a recording through a session: iterate over it once, for one `Prediction` per sample.

    ``session`` counts what happened to the samples. Raises TraceError at the end where none was answered.
    """

    def __init__(
        self, session: Session, samples: Iterable[Sample], name: str, speed: float | Literal["max"] = "max"
    ) -> None:
        """`name`: of the recording. `speed`: of the recorded pace, or "max"."""
        self.session, self._name = session, name
        answers = require_answers(replay(session, samples, speed=speed), session, name)
        self._answers = with_progress(answers, "replaying", every=SHOWN)

    def __iter__(self) -> Iterator[Prediction]:
        """Return the rest of the predictions."""
        return self._answers

    def run(
        self,
        out: Path | str | None = None,
        *,
        against: Path | str | None = None,
        inputs: Sequence[Path | str] = (),
        overwrite: bool = False,
    ) -> ReplayEnd:
        """Let the rest of the samples pass, in constant memory.

        `out`: a file for the predictions. `against`: a file of an earlier replay to compare with. `inputs` and
        `overwrite` are those of `rtsysid.storage.replacing`. Raises TraceError where `against` cannot be read, or has
        another number of outputs, StorageError where `out` is refused.
        """
        matcher = None if against is None else Matcher(read_predictions(against))
        passing = self._answers if matcher is None else map(matcher.pass_on, self._answers)
        outputs, written = self.session.spec.outputs, None
        if out is not None:
            written = write_predictions(out, outputs, passing, inputs=inputs, overwrite=overwrite)
        for _ in passing:
            pass
        return ReplayEnd(written, None if matcher is None else matcher.result())

    @property
    def summary(self) -> dict[str, Any]:
        """Return what happened so far; see `rtsysid.live.session.Session.summary`."""
        return self.session.summary()

    def __repr__(self) -> str:
        health = self.session.health
        return f"Replay({self._name}: {health.samples} samples, {health.predictions} predictions)"


def recorded_samples(trace: Trace) -> tuple[Iterator[Sample], str]:
    """Return the samples of one recording, and its name. Raises TraceError where there are several."""
    names = list(dict.fromkeys(episode.recording for episode in trace.episodes))
    if len(names) != 1:
        raise TraceError("replay", f"{len(names)} recordings", "give one of them")
    return (Sample(t, row) for e in trace.episodes for t, row in zip(e.t.tolist(), e.values, strict=True)), names[0]
