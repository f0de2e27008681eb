"""Import packages that a plain installation leaves out."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from rtsysid.errors import RtsysidError

PLOT = "pip install 'rtsysid[plot]'"


def extra_module(name: str, remedy: str) -> Any:
    """Import a module, or raise RtsysidError with the command that installs it."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package = (error.name or name).partition(".")[0]
        raise RtsysidError(f"package {package}", "it is not installed", remedy) from None
