"""Parity: run the golden trace on every backend of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import msgspec

from rtsysid.errors import BackendError
from rtsysid.guards.stages import with_progress
from rtsysid.model.bundle import Bundle
from rtsysid.model.golden import Row, measure
from rtsysid.model.loading import BackendName, backends_of, reason_against
from rtsysid.model.predictor import Predictor


class NotLoaded(msgspec.Struct, frozen=True):
    """One backend that was not run, and why."""

    backend: str
    reason: str


def verify(bundle: Bundle, *, trusted: bool = False) -> list[Row | NotLoaded]:
    """Run the golden trace on the backends of this machine; see `Row.passed` for the results.

    A backend that does not load here, or whose library no trusted maker signed, is not run; its row says why.
    `trusted`: the caller trusts the maker. Raises BundleError where the bundle is not one.
    """
    names = backends_of(bundle)
    each = with_progress(names, "verifying backends", len(names))
    return [_row(bundle, cast(BackendName, name), trusted) for name in each]


def measure_each(bundle: Bundle, backends: Sequence[BackendName] | None = None) -> list[Row]:
    """Run the golden trace on these backends, or on all of this machine: to ask for C is to trust it.

    Raises BundleError where a backend is not available here.
    """
    names = backends or cast(Sequence[BackendName], backends_of(bundle))
    each = with_progress(names, "verifying backends", len(names))
    return [measure(Predictor.load(bundle, name, check=False), name, bundle) for name in each]


def _row(bundle: Bundle, name: BackendName, trusted: bool) -> Row | NotLoaded:
    if not trusted and (reason := reason_against(bundle, name)):
        return NotLoaded(name, reason)
    try:
        (row,) = measure_each(bundle, [name])
    except BackendError as error:
        return NotLoaded(name, error.found)
    return row
