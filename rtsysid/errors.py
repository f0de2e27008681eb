"""One error class per subsystem. Every message is one line: what, what was found, what to do.

The command line turns an error into its one line on stderr and its ``exit_code``; the library raises it as is.

===== ==========================================================
code  class
===== ==========================================================
1     usage, specification, configuration, schedule, recording
2     bundle or parity: what would run is not what was verified
3     link to a device
4     deadline
5     storage: a result could not be written
===== ==========================================================
"""

from __future__ import annotations


class RtsysidError(Exception):
    """Base of every error that a user can cause and mend."""

    exit_code = 1

    def __init__(self, what: str, found: str, remedy: str) -> None:
        super().__init__(what, found, remedy)
        self.what, self.found, self.remedy = what, found, remedy

    def __str__(self) -> str:
        return " ".join(f"{self.what}: {self.found}; {self.remedy}".split())


class SpecError(RtsysidError):
    """A model specification that contradicts itself."""


class ConfigError(RtsysidError):
    """A configuration file that cannot be understood."""


class ScheduleError(RtsysidError):
    """A training stage that cannot do what it says."""


class TraceError(RtsysidError):
    """A recording that cannot be read, or does not hold what is asked of it."""


class BundleError(RtsysidError):
    """A bundle that is incomplete, changed, or made for other channels."""

    exit_code = 2


class ParityError(BundleError):
    """Two implementations of one model disagree."""


class LinkError(RtsysidError):
    """A device that does not answer, or speaks another protocol."""

    exit_code = 3


class DeadlineError(RtsysidError):
    """A time budget that was asked for and not held."""

    exit_code = 4


class StorageError(RtsysidError):
    """A file that could not be written; what stood there before is untouched."""

    exit_code = 5
