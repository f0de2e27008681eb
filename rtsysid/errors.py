"""Define one error class per subsystem. Every message is one line: what, found, remedy.

The command line prints that line to stderr and ends with the ``exit_code`` of the error. The library raises the error.

===== ==========================================================
code  class
===== ==========================================================
1     usage, specification, configuration, schedule, recording
2     bundle or parity: the model to run is not the verified one
3     link to a device
4     deadline
5     storage: an output was refused or could not be written
===== ==========================================================
"""

from __future__ import annotations

from rtsysid.guards.text import for_terminal


class RtsysidError(Exception):
    """Report an error that a user can correct: what is wrong, what was found there, and the remedy."""

    exit_code = 1

    def __init__(self, what: str, found: str, remedy: str) -> None:
        super().__init__(what, found, remedy)
        self.what, self.found, self.remedy = what, found, remedy

    def __str__(self) -> str:
        what, found, remedy = (for_terminal(" ".join(part.split())) for part in (self.what, self.found, self.remedy))
        return f"{what}: {found}; {remedy}"


class SpecError(RtsysidError):
    """Report a contradictory model specification."""


class ConfigError(RtsysidError):
    """Report an invalid configuration file."""


class ScheduleError(RtsysidError):
    """Report an impossible training stage."""


class TraceError(RtsysidError):
    """Report a recording that cannot be read or lacks requested data."""


class BundleError(RtsysidError):
    """Report a bundle that is incomplete, changed, or made for other channels."""

    exit_code = 2


class BackendError(BundleError):
    """Report a backend that cannot run on this machine, though its bundle is whole."""


class ParityError(BundleError):
    """Report that two implementations of one model disagree."""


class LinkError(RtsysidError):
    """Report a device that does not respond, or uses another protocol."""

    exit_code = 3


class DeadlineError(RtsysidError):
    """Report a requested time budget that was exceeded."""

    exit_code = 4


class StorageError(RtsysidError):
    """Report an output that was refused or could not be written. The older file is unchanged."""

    exit_code = 5
