"""The loop never waits for a view: what nobody fetches is dropped, and a view that hangs or fails holds nobody up."""

from __future__ import annotations

import json
import logging
import socket
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from support.live_parts import until
from support.views import about, answers, calibrated, feeder

from rtsysid.errors import LinkError
from rtsysid.model.predictor import Predictor
from rtsysid.view.feed import LiveFeed
from rtsysid.view.forecasts import PeriodicForecast
from rtsysid.view.snapshot import ViewSnapshot
from rtsysid.view.viewer import Viewer
from rtsysid.view.web import WebView


class Stuck:
    """A view that hangs in its first snapshot."""

    watched = True

    def __init__(self) -> None:
        self.entered, self.gate = threading.Event(), threading.Event()

    def show(self, snapshot: ViewSnapshot) -> None:
        self.entered.set()
        self.gate.wait(30)

    def close(self) -> None:
        self.gate.set()


class Failing(Stuck):
    """A view whose first snapshot fails."""

    def show(self, snapshot: ViewSnapshot) -> None:
        self.entered.set()
        raise OSError("no display")


def test_a_stuck_view_holds_no_answer_up() -> None:
    """While a view hangs, the loop's answers all pass; those that nobody fetched are counted."""
    session, view = feeder(), Stuck()
    with Viewer([view], lambda: session.session, None) as viewer:
        assert view.entered.wait(30)
        for answer in answers(session, 5000):
            viewer.feed.prediction(answer)
        assert not view.gate.is_set()
        assert viewer.feed.dropped + len(viewer.feed.take()) == 2500  # every second one is shown
        assert viewer.feed.dropped > 1000
        assert sum(viewer.feed.statuses.values()) == sum(viewer.feed.ages) == 5000
        view.gate.set()


def test_a_failing_view_is_closed_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """A view that fails is closed with one line; the other goes on."""
    session, bad, good = feeder(), Failing(), Stuck()
    good.gate.set()
    with caplog.at_level(logging.WARNING), Viewer([bad, good], lambda: session.session, None):
        until(lambda: bad.gate.is_set() and good.entered.is_set(), "both views")
    assert [record.message for record in caplog.records] == ["a view ended: OSError('no display')"]


def test_a_web_client_that_takes_nothing_loses_snapshots_only() -> None:
    """A page that stops reading costs neither the view nor another page anything: its oldest snapshots go."""
    session = feeder()
    view = WebView(about(), port=0)
    try:
        address = ("127.0.0.1", int(view.url.rsplit(":", 1)[1].strip("/")))
        with socket.create_connection(address) as stuck:
            stuck.sendall(b"GET /events HTTP/1.0\r\nHost: localhost\r\n\r\n")
            until(lambda: view.watched, "the client")
            feed = LiveFeed(lambda: session.session)
            for batch in range(400):
                for answer in answers(session, 50, 50 * batch):
                    feed.prediction(answer)
                view.show(ViewSnapshot.of(feed))
            assert len(view.clients) == 1
            assert view.clients[0].qsize() <= 50
    finally:
        view.close()


def test_the_page_serves_what_it_should_and_nothing_else() -> None:
    """The page is one file with its policy; another path, another site's name and a ninth client are refused."""
    view = WebView(about(), port=0)
    held: list[socket.socket] = []
    try:
        page = urlopen(view.url)
        text = page.read().decode()
        assert "uPlot" in text
        assert "udp://:9000" in text
        assert "src=" not in text
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
        for path, host, code in (("secret", "localhost", 404), ("", "evil.example:80", 403)):
            with pytest.raises(HTTPError) as refused:
                urlopen(Request(view.url + path, headers={"Host": host}))
            assert refused.value.code == code
            refused.value.close()
        for _ in range(8):
            held.append(socket.create_connection(("127.0.0.1", int(view.url.rsplit(":", 1)[1].strip("/")))))
            held[-1].sendall(b"GET /events HTTP/1.0\r\nHost: localhost\r\n\r\n")
        until(lambda: len(view.clients) == 8, "eight clients")
        with pytest.raises(HTTPError) as refused:
            urlopen(view.url + "events")
        assert refused.value.code == 503
        refused.value.close()
        page.close()
    finally:
        view.close()
        for each in held:
            each.close()


def test_a_port_that_is_taken_is_one_line() -> None:
    """Two views cannot share a port, and the second one says so."""
    view = WebView(about(), port=0)
    try:
        with pytest.raises(LinkError, match="give another port"):
            WebView(about(), port=int(view.url.rsplit(":", 1)[1].strip("/")))
    finally:
        view.close()


def test_a_snapshot_is_json_without_nan() -> None:
    """Snapshots are valid JSON, also where predictions and scores are NaN, and each answer is in its place."""
    session, shown = feeder(), feeder().session
    feed = LiveFeed(lambda: shown)
    kept = [answer for number, answer in enumerate(answers(session, 40), 1) if number % 2 == 0]
    session = feeder()
    for answer in answers(session, 40):
        feed.prediction(answer)
    plain = ViewSnapshot.of(feed).plain(about())
    text = json.dumps(plain, allow_nan=False)
    assert json.loads(text)["t"] == [round(each.arrival.sample.t, 6) for each in kept]
    assert plain["predicted"][0] == [None, None]
    assert plain["measured"][-1] == kept[-1].arrival.sample.values[1:].tolist()


def test_a_view_follows_the_session_that_answers(calibrated_folder: Path) -> None:
    """Where a new bundle has taken over, forecasts are those of its predictor."""
    old, new = (Predictor.load(calibrated_folder, "numpy", check=False) for _ in range(2))
    first, second = calibrated(old), calibrated(new)
    running = [first.session]
    feed = LiveFeed(lambda: running[0], PeriodicForecast(old, every_s=0.1))
    running[0] = second.session
    for answer in answers(second, 100):
        feed.prediction(answer)
    assert feed.forecast() is not None  # the old predictor has no sample, and could not forecast


def test_forecasts_come_now_and_then_with_their_interval(calibrated_folder: Path) -> None:
    """A calibrated model forecasts at the chosen pace, inside its interval, and only while somebody looks."""
    predictor = Predictor.load(calibrated_folder, "numpy", check=False)
    session, looks = calibrated(predictor), list[bool]()
    forecasts = PeriodicForecast(predictor, every_s=1.0)
    feed = LiveFeed(lambda: session.session, forecasts, lambda: bool(looks))
    for answer in answers(session, 100):
        feed.prediction(answer)
    assert feed.forecast() is None
    looks.append(True)
    found: list[Any] = []
    for answer in answers(session, 200, 100):
        feed.prediction(answer)
        shown = feed.forecast()
        found += [] if shown is None else [shown]
    assert [round(b.t - a.t, 6) for a, b in pairwise(found)] == [1.0] * (len(found) - 1)
    assert len(found) >= 3
    assert found[0].y.shape == (forecasts.horizon, predictor.spec.n_outputs)
    assert bool(((found[0].low <= found[0].y) & (found[0].y <= found[0].high)).all())
