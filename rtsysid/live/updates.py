"""BundleUpdates: let a new bundle take over from the running one between two ticks, where it proves itself.

`BundleWatch` verifies new bundles in another process and makes a session of each. `BundleUpdates` feeds it the live
samples next to the running session. Where it is as good, it answers from the next tick on. The session before goes on
next to it for a while, and takes back over where the new one diverges.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Protocol, Self

import msgspec

from rtsysid.errors import RtsysidError, StorageError
from rtsysid.live.bundle_watch import Verified, Wanted, state_of
from rtsysid.live.feeder import SessionFeeder
from rtsysid.live.recorded import Key
from rtsysid.live.session import Session, SessionSettings
from rtsysid.live.trial import Trial
from rtsysid.model import linked
from rtsysid.model.bundle import Bundle
from rtsysid.model.predictor import Predictor
from rtsysid.statuses import Status

if TYPE_CHECKING:
    from rtsysid.live.loop import Answer

_WARM_STEPS = 20  # touch the memory of a new model before it computes in time
_CRASHES = 5  # of the process that verifies, before nothing is watched any more


class Newcomer(NamedTuple):
    """A bundle that was verified, and its session, which has seen no sample yet."""

    bundle: Bundle
    session: Session


class Note(msgspec.Struct, frozen=True):
    """What became of a bundle. ``outcome``: ``trial``, ``taken``, ``refused`` or ``taken back``. ``text``: one line.

    ``at``: the sample at which it happened: the first one that a bundle on trial was fed, or the last one that was
    answered before another bundle took over. A replay needs it (`rtsysid.live.succession`).
    """

    outcome: str
    bundle: str
    model: str
    text: str
    at: Key = Key(0, 0, 0)


class NoteSink(Protocol):
    """A recorder of what became of updates; must not wait."""

    def update(self, note: Any) -> None:
        """Record a note."""


class BundleWatch:
    """`with BundleWatch(path, bundle, backend, settings) as watch`: make a session of each new bundle at `path`.

    `bundle`: the one that runs, on `backend`. `settings`: of the sessions. `expect`: id of the model, or empty.
    """

    def __init__(
        self, path: Path, bundle: Bundle, backend: str, settings: SessionSettings, *, expect: str = "",
        seen: str | None = None, poll_s: float = 0.2,
    ) -> None:  # fmt: skip
        self._path, self._backend, self._settings = path, backend, settings
        cpus = tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()
        self._wanted = Wanted(
            str(path), state_of(path) if seen is None else seen, bundle.manifest.digest, bundle.spec.schema_hash,
            backend, expect, poll_s, cpus,
        )  # fmt: skip
        self._found: deque[Newcomer] = deque(maxlen=1)  # a newer one replaces it
        self._refused: deque[Note] = deque(maxlen=100)
        self._closing = False

    def __enter__(self) -> Self:
        self._process = self._start(self._wanted)
        self._thread = threading.Thread(target=self._read_for_ever, name="bundle watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        _end(self._process)
        self._thread.join(1.0)

    def take(self) -> Newcomer | None:
        """Return the newest bundle that was verified, once; None where there is none. Does not wait."""
        with suppress(IndexError):
            return self._found.pop()
        return None

    def refusals(self) -> list[Note]:
        """Return the bundles that were refused since the last call."""
        return [self._refused.popleft() for _ in range(len(self._refused))]

    def note_taken(self, former: Bundle, new: Bundle) -> None:
        """Note the bundle before next to the link, for `rtsysid rollback`, without waiting for the disk."""
        if self._path.is_symlink() and former.folder != new.folder:
            threading.Thread(target=self._note, args=(former,), daemon=True).start()

    def _note(self, former: Bundle) -> None:
        try:
            linked.note_previous(self._path, Path(os.path.realpath(former.folder)))
        except StorageError as error:
            self._refused.append(Note("unnoted", former.id, former.model_id, f"rollback: {error}"))

    def _start(self, wanted: Wanted) -> subprocess.Popen[bytes]:
        text = msgspec.json.encode(wanted).decode()
        command = [sys.executable, "-m", "rtsysid.live.bundle_watch", text]
        pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nothing, start_new_session=True)

    def _read_for_ever(self) -> None:
        """Read what the process finds; start it again where it ends, after the bundle that ended it."""
        for _ in range(_CRASHES):
            with self._process.stdout or nullcontext() as stream:
                wanted = self._read(stream)
            if self._closing:
                return
            ended = f"the process that verifies it ended with status {self._process.wait()}"
            self._refuse("-", f"{ended}; export it again")
            _end(self._process)
            self._process = self._start(wanted)
        self._refuse("-", f"{_CRASHES} such bundles: no more updates are looked for; start the session again")
        _end(self._process)

    def _read(self, stream: IO[bytes] | None) -> Wanted:
        wanted = self._wanted
        for line in stream or ():
            finding = msgspec.json.decode(line, type=Verified)
            wanted = msgspec.structs.replace(wanted, seen=finding.seen)
            if finding.refused:
                self._refuse(os.path.basename(finding.folder), finding.refused)
            elif finding.digest:
                self._open(finding)
        return wanted

    def _open(self, finding: Verified) -> None:
        """Make a session of a verified bundle: of the very bytes, by their digest."""
        name: Any = self._backend
        try:
            bundle = Bundle.open(finding.folder)
            if bundle.manifest.digest != finding.digest:
                return  # it has changed again, and will be looked at again
            predictor = Predictor.load(bundle, name, check=False)
            _ = bundle.model_id
            for _ in range(_WARM_STEPS):
                predictor.step(predictor.backend.window[-1])
            self._found.append(Newcomer(bundle, Session(predictor, self._settings)))
        except RtsysidError as error:
            self._refuse(os.path.basename(finding.folder), str(error))

    def _refuse(self, bundle: str, reason: str) -> None:
        self._refused.append(Note("refused", bundle, "", f"update refused: {reason}"))


class BundleUpdates:
    """Try candidates next to the running session. `recorder` gets every note; `events` returns them as lines.

    `trial_s`: seconds of samples on which a new model is compared, and for which the one before goes on after that.
    `margin`: times the error of the running model that a new one may have. ``counts``: notes by their outcome.
    """

    def __init__(
        self, watch: BundleWatch, bundle: Bundle, *, trial_s: float = 2.0, margin: float = 1.5,
        recorder: NoteSink | None = None,
    ) -> None:  # fmt: skip
        self.counts: dict[str, int] = {"taken": 0, "refused": 0, "taken back": 0}
        self._watch, self._recorder, self._margin = watch, recorder, margin
        self.bundle = bundle
        self._ticks = max(1, round(trial_s * bundle.spec.rate_hz))
        self._lines: deque[str] = deque(maxlen=100)
        self._aside: SessionFeeder | None = None  # the new one in its trial; after that, the one before
        self._trial: Trial | None = None
        self._other = bundle  # the bundle of the session aside
        self._left = 0  # ticks for which the one before goes on
        self._at = Key(0, 0, 0)  # the sample of the next note

    def events(self) -> list[str]:
        """Return what became of bundles since the last call, one line each."""
        for note in self._watch.refusals():
            self._tell(note)
        return [self._lines.popleft() for _ in range(len(self._lines))]

    def follow(self, answers: Sequence[Answer], running: SessionFeeder) -> SessionFeeder:
        """Feed what the running session has answered to the one aside; return the feeder of the next tick."""
        if self._aside is None:
            candidate = self._watch.take()
            if candidate is None:
                return running
            self._at = Key.of(answers[0].arrival)
            self._begin(candidate, running)
        assert self._aside is not None
        self._at = Key.of(answers[-1].arrival)
        predictions = [self._aside.feed(answer.arrival) for answer in answers]  # all of them, before anything changes
        if self._trial is None:
            return self._guard(answers, running, self._aside)
        added = (self._trial.add(a.arrival.sample, a.prediction, p) for a, p in zip(answers, predictions, strict=True))
        verdict = next((each for each in added if each is not None), None)
        return running if verdict is None else self._conclude(verdict, running, self._aside, self._trial.ratio)

    def _begin(self, candidate: Newcomer, running: SessionFeeder) -> None:
        self._aside, self._other = SessionFeeder(candidate.session), candidate.bundle
        self._trial, self._left = Trial(running.session.spec, self._ticks, self._margin), 0
        self._note("trial", self._other, f"update: bundle {_bundle_name(self._other)} is verified and on trial")

    def _conclude(self, verdict: str, running: SessionFeeder, new: SessionFeeder, ratio: float) -> SessionFeeder:
        if not verdict:
            return self._take_over(running, new, ratio)
        self._note("refused", self._other, f"update refused: bundle {_bundle_name(self._other)}: {verdict}")
        self._aside = self._trial = None
        return running

    def _take_over(self, running: SessionFeeder, new: SessionFeeder, ratio: float) -> SessionFeeder:
        text = f"update: bundle {_bundle_name(self._other)} has taken over, with {ratio:.3g} times the error"
        self._note("taken", self._other, text)
        self._watch.note_taken(self.bundle, self._other)
        self.bundle, self._other = self._other, self.bundle
        self._aside, self._trial, self._left = running, None, self._ticks
        return new

    def _guard(self, answers: Sequence[Answer], running: SessionFeeder, before: SessionFeeder) -> SessionFeeder:
        """Take back where the new model diverges in its first seconds; the session before has seen every sample."""
        self._left -= len(answers)
        if any(Status.diverged in answer.prediction.flags for answer in answers):
            names = f"bundle {_bundle_name(self.bundle)} diverged; {_bundle_name(self._other)} runs again"
            self._note("taken back", self.bundle, f"update taken back: {names}")
            self.bundle, self._aside = self._other, None
            return before
        if self._left <= 0:
            self._aside = None
        return running

    def _note(self, outcome: str, bundle: Bundle, text: str) -> None:
        self._tell(Note(outcome, bundle.id, bundle.model_id, text, self._at))

    def _tell(self, note: Note) -> None:
        if note.outcome in self.counts:
            self.counts[note.outcome] += 1
        self._lines.append(note.text)
        if self._recorder is not None:
            self._recorder.update(note)


def _bundle_name(bundle: Bundle) -> str:
    about = bundle.manifest.about
    return " ".join(filter(None, (bundle.id, about.name, about.version)))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let the process end by the end of its input; kill it where it does not."""
    with suppress(OSError):
        if process.stdin is not None:
            process.stdin.close()
    try:
        process.wait(2.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
