"""The options of a live session that show it: ``--view``, ``--web``, ``--view-host``; and the views that they open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import click

if TYPE_CHECKING:
    from rtsysid.live.loop import LiveLoop
    from rtsysid.model.bundle import Bundle
    from rtsysid.model.predictor import Predictor

VIEW_PORT, WEB_PORT = 8765, 8766
_PORT = click.IntRange(0, 65_535)


class ViewOptions(NamedTuple):
    """What the user asked for: ports, None for no view."""

    view: int | None
    web: int | None
    host: str


def view_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command gets them as one argument ``views``."""

    @click.option(
        "--view", "view_", type=_PORT, is_flag=False, flag_value=VIEW_PORT, metavar="[PORT]",
        help=f"Serve the session to Foxglove, Lichtblick and PlotJuggler.  [default port: {VIEW_PORT}]",
    )  # fmt: skip
    @click.option(
        "--web", "web_", type=_PORT, is_flag=False, flag_value=WEB_PORT, metavar="[PORT]",
        help=f"Serve a page that shows the session in any browser.  [default port: {WEB_PORT}]",
    )  # fmt: skip
    @click.option(
        "--view-host", "view_host", default="127.0.0.1", show_default=True, metavar="ADDRESS",
        help="Address to listen on for viewers; 0.0.0.0 is all of this machine.",
    )  # fmt: skip
    @wraps(command)
    def with_views(*args: Any, view_: int | None, web_: int | None, view_host: str, **options: Any) -> Any:
        return command(*args, views=ViewOptions(view_, web_, view_host), **options)

    return with_views


@contextmanager
def opened_views(
    views: ViewOptions, loop: LiveLoop, bundle: Bundle, port: str, say: Callable[..., None]
) -> Iterator[None]:
    """Open the views that were asked for, and let the loop feed them. Raises LinkError where one cannot listen."""
    if views.view is None and views.web is None:
        yield
        return
    from rtsysid.view.foxglove import FoxgloveView
    from rtsysid.view.snapshot import SessionAbout
    from rtsysid.view.viewer import View, Viewer, open_views
    from rtsysid.view.web import WebView

    makers: list[Callable[[SessionAbout], View]] = []
    if views.view is not None:
        foxglove_port = views.view
        makers.append(lambda about: FoxgloveView(about, views.host, foxglove_port))
    if views.web is not None:
        web_port = views.web
        makers.append(lambda about: WebView(about, views.host, web_port))
    about = SessionAbout.of(bundle.spec, port, bundle.id[:12], loop.session.novelty is not None)
    opened = open_views(makers, about)
    say(*(f"view: {getattr(each, 'url', '')}" for each in opened))
    with Viewer(opened, lambda: loop.session, cast("Predictor", loop.session.predictor)) as viewer:
        loop.add_sink(viewer.feed)
        yield


def viewer_layout(bundle: Path) -> dict[str, Any]:
    """Return a layout for Foxglove and Lichtblick for sessions of a bundle. Raises BundleError for no bundle."""
    from rtsysid.model.bundle import Bundle
    from rtsysid.view.layout import layout
    from rtsysid.view.snapshot import SessionAbout

    return layout(SessionAbout.of(Bundle.open(bundle).spec, "", "", True))
