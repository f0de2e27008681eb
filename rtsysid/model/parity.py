"""Parity: run the golden trace on every backend of this machine."""

from __future__ import annotations

from typing import cast

from rtsysid.model.bundle import Bundle
from rtsysid.model.golden import Row, measure
from rtsysid.model.predictor import BackendName, Predictor, backends_of


def verify(bundle: Bundle, backends: tuple[BackendName, ...] | None = None) -> list[Row]:
    """Run the golden trace on every backend of this machine, or on those named; see `Row.passed` for the result.

    Raises BundleError where a backend is not available here.
    """
    names = backends or cast(tuple[BackendName, ...], backends_of(bundle))
    return [measure(Predictor.load(bundle, name, check=False), name, bundle) for name in names]
