"""Compute a recorded live session again: from its bytes, with the bundles that answered in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rtsysid.errors import BundleError, TraceError

if TYPE_CHECKING:
    from rtsysid.live.reproduce import Reproduction
    from rtsysid.live.settings import Settings
    from rtsysid.live.succession import Succession, Takeover
    from rtsysid.model.bundle import Bundle
    from rtsysid.recordings.bag import Bag
    from rtsysid.spec import Arrival, ModelSpec


class Reproduced(NamedTuple):
    """A session that was computed again: what to print, and why the comparison is of little use, if it is."""

    shown: dict[str, Any]
    fault: BundleError | TraceError | None

    @property
    def equal(self) -> bool:
        """Whether every prediction equals the recorded one."""
        return bool(self.shown["equal"])


def reproduced(bundle: Bundle, then: Sequence[Path], path: Path, backend: Any) -> Reproduced | None:
    """Compute a recorded live session again, from its bytes to its predictions, and compare; None for other files.

    `then`: folders of bundles that took over in it; those next to `bundle` are looked for by their ids. Raises
    TraceError where the recording cannot be read, or is not what a live session writes, and BundleError for a bundle in
    `then` that did not run.
    """
    import msgspec

    from rtsysid.live.reproduce import reproduce
    from rtsysid.live.settings import Settings
    from rtsysid.live.succession import takeovers_in
    from rtsysid.recordings.series import BagSeries

    bag: Any = BagSeries(path)
    settings = Settings.of(bag)
    if settings is None:
        return None
    takeovers = takeovers_in(bag)
    bundles = _bundles(bundle, then, settings.bundle, takeovers, path)
    first = bundles.get(settings.bundle, bundle)
    succession = _succession(first, bundles, settings, takeovers, backend)
    found = reproduce(bag, arrivals_of(bag, first.spec), succession)
    other = {"recorded_with_bundle": settings.bundle} if settings.bundle != first.id else {}
    taken = {"took_over": [each.bundle for each in takeovers], "not_compared": found.not_compared} if takeovers else {}
    counts = {name: getattr(found, name) for name in ("decoded", "dropped_live", "missing", "changed")}
    shown = {**counts, **other, **taken, **msgspec.to_builtins(found.predictions)}
    shown["equal"] = found.equal and found.predictions.finite > 0
    return Reproduced(shown, _what_failed(found, succession.ended_by, path))


def _bundles(
    bundle: Bundle, then: Sequence[Path], first: str, takeovers: Sequence[Takeover], path: Path
) -> dict[str, Bundle]:
    """Return the bundles of a session that are at hand, by id. Raises BundleError for one in `then` that never ran."""
    from rtsysid.model.bundle import Bundle as Opened
    from rtsysid.model.linked import neighbours

    ids = {each.bundle for each in takeovers}
    given = {each.id: each for each in map(Opened.open, then)}
    for each in given.values():
        if each.id not in {*ids, first}:
            ran = ", ".join([first, *dict.fromkeys(each.bundle for each in takeovers)])
            raise BundleError(f"bundle {each.folder}", f"{each.id} did not run in {path.name}", f"give one of {ran}")
    if not takeovers:
        return {bundle.id: bundle}
    known = {**given, bundle.id: bundle}
    return {**neighbours(bundle.folder, {*ids, first} - set(known)), **known}


def _succession(
    first: Bundle, bundles: dict[str, Bundle], settings: Settings, takeovers: Sequence[Takeover], backend: Any
) -> Succession:
    """Return the sessions that took turns, with the recorded settings."""
    from rtsysid.live.feeder import SessionFeeder
    from rtsysid.live.session import Session
    from rtsysid.live.succession import Succession
    from rtsysid.model.predictor import Predictor

    chosen: Any = settings.backend if backend == "auto" and settings.backend != "c" else backend

    def session_of(bundle: Bundle | None) -> SessionFeeder | None:
        return None if bundle is None else SessionFeeder(Session(Predictor.load(bundle, chosen), settings))

    begun = SessionFeeder(Session(Predictor.load(first, chosen), settings))
    return Succession(begun, takeovers, lambda name: session_of(bundles.get(name)))


def _what_failed(found: Reproduction, ended_by: Takeover | None, path: Path) -> BundleError | TraceError | None:
    compared = found.predictions
    if ended_by is not None:
        unknown = f"bundle {ended_by.bundle} of model {ended_by.model} took over, and is not at hand"
        total = compared.compared + found.not_compared
        so_far = f"{compared.compared} of {total} predictions were compared, {_equal_or_not(compared.equal)}"
        return BundleError(f"recording {path.name}", f"{unknown}: {so_far}", "give its folder, too: --then BUNDLE")
    if not compared.finite:
        none = f"none of {compared.compared} predictions is finite on both sides"
        return TraceError(f"recording {path.name}", none, "record a session that outlasts the warm-up of the model")
    return None


def _equal_or_not(equal: bool) -> str:
    return "and are equal" if equal else "and differ"


def _taps(bag: Bag) -> Iterator[tuple[str, int, bytes]]:
    """Yield direction, host time in ns and data of the bytes on the wire. Raises TraceError where they are none."""
    from firmware_bridge.session_file import DIRECTIONS  # noqa: TID251
    from rtsysid.live.recorded import read_topic

    for message, each in read_topic(bag, "/wire", {"direction": int, "data": bytes}):
        number, data = each["direction"], each["data"]
        if not 0 <= number < len(DIRECTIONS) or (DIRECTIONS[number] == "open" and not data):
            found = f"/wire with direction {number} and {len(data)} bytes"
            raise TraceError(f"recording {bag.path.name}", found, "name a file that rtsysid run wrote")
        yield DIRECTIONS[number], message.log_ns, data


def arrivals_of(bag: Bag, spec: ModelSpec) -> Iterator[Arrival]:
    """Yield the samples in the recorded bytes, by the decoder that took them live; the recorded samples without bytes.

    Raises TraceError as the decoder does.
    """
    from rtsysid.live.recorded import recorded_arrivals
    from rtsysid.sources import playback

    taps = _taps(bag)
    first = next(taps, None)
    if first is None:  # a source of the user's own
        yield from recorded_arrivals(bag)
        return
    taps = chain((first,), taps)
    if playback.is_stream(first[2]):
        yield from playback.stream_arrivals(taps, bag.path.name)
        return
    from firmware_bridge.conversation import Conversation  # noqa: TID251
    from firmware_bridge.peer import Requirements  # noqa: TID251
    from firmware_bridge.playback import arrivals  # noqa: TID251

    yield from arrivals(Conversation(Requirements(spec)), taps)
