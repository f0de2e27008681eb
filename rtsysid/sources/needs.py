"""Import a package of the extra ``live``, or say in one line how to install it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from rtsysid.errors import LinkError


def live_package(module: str, what: str) -> Any:
    """Import a module that `what` needs. Raises LinkError where its package is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        raise LinkError(what, f"{module} cannot be imported ({error})", 'pip install "rtsysid[live]"') from None
