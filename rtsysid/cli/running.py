"""What `rtsysid run` does around its loop: which bundle it opens, where it records, and how it takes updates."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from rtsysid.cli.options import within
from rtsysid.guards import ranges

if TYPE_CHECKING:
    from firmware_bridge.recorder import Recorder
    from firmware_bridge.rotation import Rotation
    from rtsysid.live.loop import LiveLoop
    from rtsysid.live.session import Session
    from rtsysid.live.settings import Settings
    from rtsysid.live.updates import BundleUpdates, BundleWatch, NoteSink
    from rtsysid.model.bundle import Bundle
    from rtsysid.source import Source, SourceHealth


class RunOptions(NamedTuple):
    """Options of `rtsysid run` on bundles, memory and recordings. ``rotation``: None for one file, or none."""

    expect: str | None
    watch: bool
    trial: float
    margin: float
    no_mlock: bool
    rotation: Rotation | None


_OPTIONS = (
    click.option("--expect", metavar="MODEL_ID", help="Run this model alone, or refuse: the model id of rtsysid info."),
    click.option("--watch", is_flag=True, help="Let a new bundle at BUNDLE take over, where it proves itself."),
    click.option("--trial", type=within(ranges.SomeSeconds), default=2.0, show_default=True, metavar="SECONDS",
                 help="Compare a new model for so long before it answers, and keep the one before ready as long."),
    click.option("--margin", type=within(ranges.Weight), default=1.5, show_default=True, metavar="FACTOR",
                 help="Refuse a new model with more than so many times the error of the running one."),
    click.option("--no-mlock", is_flag=True, help="Do not lock the memory of the process."),
    click.option("--rotate-mb", type=within(ranges.Positive), default=1000.0, show_default=True, metavar="MB",
                 help="Begin another file of --record DIR at this size."),
    click.option("--rotate-minutes", type=within(ranges.Minutes), default=60.0, show_default=True, metavar="MINUTES",
                 help="Begin another file of --record DIR after this time."),
)  # fmt: skip


def run_options(command: Callable[..., Any]) -> Any:
    """Add the options of `RunOptions`, and hand them to the command as ``more``; a folder to record to gets a name."""

    @wraps(command)
    def gathered(*args: Any, rotate_mb: float, rotate_minutes: float, **values: Any) -> Any:
        rotation = None
        if values["record"] is not None and _is_folder(values["record"]):
            from firmware_bridge.rotation import Rotation, first_part

            rotation = Rotation(rotate_mb * 1e6, rotate_minutes * 60)
            values["record"] = first_part(values["record"], time.time())
        own = {name: values.pop(name) for name in RunOptions._fields if name != "rotation"}
        return command(*args, more=RunOptions(**own, rotation=rotation), **values)

    for option in reversed(_OPTIONS):
        gathered = option(gathered)
    return gathered


def _is_folder(path: Path) -> bool:
    """Tell whether a place to record to is a folder: one that exists, or a name without a suffix."""
    return path.is_dir() or (not path.suffix and not path.exists())


class Begun(NamedTuple):
    """What a session runs. ``seen``: state of the bundle's folder before it was opened; empty without --watch."""

    bundle: Bundle
    settings: Settings
    session: Session
    seen: str


def begun(path: Path, more: RunOptions, backend: Any, budget_ms: float | None, max_gap: int) -> Begun:
    """Open the bundle to run, and make its session. Raises BundleError as `open_bundle` and the backend do."""
    from rtsysid.live.session import Session
    from rtsysid.live.settings import Settings
    from rtsysid.model.predictor import Predictor

    seen = state_before(path, more)
    bundle = open_bundle(path, more)
    predictor = Predictor.load(bundle, backend)
    budget_s = 1 / bundle.spec.rate_hz if budget_ms is None else budget_ms * 1e-3
    settings = Settings(bundle=bundle.id, backend=predictor.backend.name, budget_s=budget_s, max_gap=max_gap)
    return Begun(bundle, settings, Session(predictor, settings), seen)


def open_bundle(path: Path, more: RunOptions) -> Bundle:
    """Open the bundle to run, and check that it is the expected model.

    With --watch a link to a bundle that is refused gives way to the bundle before, in one logged line. Raises
    BundleError where neither is one, and where it is another model.
    """
    from rtsysid.errors import BundleError
    from rtsysid.model.bundle import Bundle
    from rtsysid.model.linked import previous

    place = Path(os.path.realpath(path)) if more.watch else path  # the link will lead elsewhere one day
    try:
        return _opened(Bundle, place, more.expect)
    except BundleError as error:
        before = previous(path) if more.watch else None
        if before is None:
            raise
        bundle = _opened(Bundle, before, more.expect)
        logging.getLogger(__name__).warning("%s; the bundle before runs: %s", error, before)
        return bundle


def _opened(kind: type[Bundle], path: Path, expect: str | None) -> Bundle:
    bundle = kind.open(path)
    bundle.require_live()
    if expect is not None:
        bundle.require_model(expect)
    return bundle


def recording(
    path: Path | None, session: Begun, overwrite: bool, more: RunOptions
) -> AbstractContextManager[Recorder | None]:
    """Begin the recording of a session, where the user asked for it; it gives None otherwise.

    Raises StorageError where the file cannot be made.
    """
    if path is None:
        return nullcontext()
    from firmware_bridge.recorder import Recorder
    from firmware_bridge.rotation import first_part

    if more.rotation is not None:  # the source was waited for: another session may have the name by now
        path = first_part(path.parent, time.time())

    bundle, spec = session.bundle, session.bundle.spec
    names = {"id": bundle.id, "model_id": bundle.model_id, **bundle.manifest.about.given()}
    return Recorder.open(
        path, channels=spec.channels, outputs=spec.outputs, overwrite=overwrite, rotation=more.rotation,
        metadata={**session.settings.metadata(), "rtsysid.bundle": names},
    )  # fmt: skip


def bundle_watch(path: Path, session: Begun, more: RunOptions) -> AbstractContextManager[BundleWatch | None]:
    """Watch the place of the bundle, where the user asked for it; it gives None otherwise."""
    if not more.watch:
        return nullcontext()
    from rtsysid.live.updates import BundleWatch

    settings = session.settings
    return BundleWatch(path, session.bundle, settings.backend, settings, expect=more.expect or "", seen=session.seen)


def updates_of(watch: BundleWatch | None, bundle: Bundle, recorder: NoteSink, more: RunOptions) -> BundleUpdates | None:
    """Make what tries new bundles next to the running one; None without a watch."""
    if watch is None:
        return None
    from rtsysid.live.updates import BundleUpdates

    return BundleUpdates(watch, bundle, trial_s=more.trial, margin=more.margin, recorder=recorder)


def events(source: Source, updates: BundleUpdates | None) -> list[str]:
    """Return what happened to source and bundles since the last call, one line each."""
    return [*source.events(), *([] if updates is None else updates.events())]


def state_before(path: Path, more: RunOptions) -> str:
    """Return the state of the bundle's folder, where it is watched."""
    if not more.watch:
        return ""
    from rtsysid.live.bundle_watch import state_of

    return state_of(os.fspath(path))


def session_summary(
    loop: LiveLoop, recorder: Recorder | None, updates: BundleUpdates | None, json_: bool
) -> dict[str, Any]:
    """Summarise a whole session: every figure as JSON, the important ones as text."""
    report = loop.summary()
    recorded = {} if recorder is None else _where_recorded(recorder)
    recorded |= {} if updates is None else {"updates": dict(updates.counts), "bundle": updates.bundle.id}
    if json_:
        return {**report.plain(), "session": loop.session.summary(), **recorded}
    undated = {"undated": report.undated} if report.undated else {}
    ages = {f"age_{name}_ms": getattr(report, name) * 1e3 for name in ("p50", "p99", "worst")}
    return {
        "samples": report.samples, "rate_hz": report.rate_hz, **ages, "stale": report.stale,
        "skipped": report.skipped, **undated, **losses(report.link), "answers": report.statuses, **recorded,
    }  # fmt: skip


def answered(loop: LiveLoop) -> int:
    """Return how many predictions a session made; 0 where none was sent, since no age of a sample was known."""
    return loop.session.health.predictions if loop.summary().statuses else 0


def _where_recorded(recorder: Recorder) -> dict[str, Any]:
    """Say where a session was recorded, and how much is missing."""
    parts = {} if recorder.parts == 1 else {"files": recorder.parts}
    return {"to": str(recorder.path), **parts, "not_recorded": recorder.dropped}


def losses(counts: SourceHealth) -> dict[str, Any]:
    """Say what was lost, and where."""
    refused = {"refused": counts.refused} if counts.refused else {}
    return {
        "dropped": counts.dropped, "gaps": counts.gaps, "lost_at_start": counts.lost_at_start,
        "lost_at_end": counts.ends(), "corrupt": counts.corrupt, **refused, "losses": counts.losses,
        "reboots": counts.reboots, **counts.own_losses(),
    }  # fmt: skip
