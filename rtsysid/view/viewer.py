"""Viewer: the thread that makes a snapshot ten times a second and hands it to the views."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol, Self

from rtsysid.live.session import Session
from rtsysid.model.predictor import Predictor
from rtsysid.view.feed import LiveFeed
from rtsysid.view.forecasts import PeriodicForecast
from rtsysid.view.snapshot import SessionAbout, ViewSnapshot

EVERY_S = 0.1
_PARTING_S = 1.0
_log = logging.getLogger(__name__)


class View(Protocol):
    """One way to show a session. Methods are called by the viewer's thread and may take their time."""

    @property
    def watched(self) -> bool:
        """Whether anybody looks."""

    def show(self, snapshot: ViewSnapshot) -> None:
        """Show what came."""

    def close(self) -> None:
        """End it."""


class Viewer:
    """`with Viewer(views, session_of, predictor) as viewer`: ``viewer.feed`` is the sink for the loop.

    `session_of` returns the session that answers now.
    A view that fails is closed, with a line of log; the session goes on. ``cpu_s``: processor time of the thread.
    """

    def __init__(self, views: Sequence[View], session_of: Callable[[], Session], predictor: Predictor | None) -> None:
        self._views = list(views)
        forecasts = None if predictor is None else PeriodicForecast(predictor)
        self.feed = LiveFeed(session_of, forecasts, lambda: any(view.watched for view in self._views))
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="viewer", daemon=True)
        self._spent_s = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join(_PARTING_S)
        for view in self._views:
            view.close()

    @property
    def cpu_s(self) -> float:
        """Processor time of the thread so far in s."""
        if self._thread.ident is None or not self._thread.is_alive():
            return self._spent_s
        return time.clock_gettime(time.pthread_getcpuclockid(self._thread.ident))

    def _run(self) -> None:
        while not self._closing.wait(EVERY_S):
            self._show()
        self._show()
        self._spent_s = time.thread_time()

    def _show(self) -> None:
        snapshot = ViewSnapshot.of(self.feed)
        for view in list(self._views):
            try:
                if view.watched:
                    view.show(snapshot)
            except Exception as error:  # no fault of a view ends the session
                _log.warning("a view ended: %r", error)
                self._views.remove(view)
                view.close()


def open_views(makers: Sequence[Callable[[SessionAbout], View]], about: SessionAbout) -> list[View]:
    """Open views; where one cannot be opened those before it are closed. Raises what the maker raises."""
    views: list[View] = []
    try:
        views.extend(make(about) for make in makers)
    except BaseException:
        for view in views:
            view.close()
        raise
    return views
